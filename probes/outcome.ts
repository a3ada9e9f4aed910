// What one attempt of a probe says, whatever its kind (pkg/probe). `error` means that the probe itself could not be
// made: it is retried and then discarded, and says nothing about the container; `state` is named in the Event.

export type ProbeOutcome =
  | { readonly kind: 'success' | 'failure' | 'warning'; readonly output: string }
  | { readonly kind: 'error'; readonly message: string; readonly state?: 'failure' | 'unknown' };

/** Bytes of a response body or of a command's output that are looked at. */
export const MAX_OUTPUT_BYTES = 10 * 1024;

/** What HTTP and gRPC probes call themselves. */
export const PROBE_USER_AGENT = 'kube-probe/1.36';

/** A duration as Go prints it, for the whole seconds and milliseconds that occur in probe texts: `1s`, `1m30s`, `500ms`. */
export function formatGoDuration(ms: number): string {
  if (ms < 1000) return ms === 0 ? '0s' : `${ms}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor(ms / 60_000) % 60;
  const seconds = (ms % 60_000) / 1000;
  if (hours > 0) return `${hours}h${minutes}m${seconds}s`;
  return minutes > 0 ? `${minutes}m${seconds}s` : `${seconds}s`;
}
