// What one attempt of a probe says, whatever its kind (pkg/probe). `error` means that the probe itself could not be
// made: it is retried and then discarded, and says nothing about the container; `state` is named in the Event.

export type ProbeOutcome =
  | { readonly kind: 'success' | 'failure' | 'warning'; readonly output: string }
  | { readonly kind: 'error'; readonly message: string; readonly state?: 'failure' | 'unknown' };

/** Bytes of a response body or of a command's output that are looked at. */
export const MAX_OUTPUT_BYTES = 10 * 1024;

/** What HTTP and gRPC probes call themselves. */
export const PROBE_USER_AGENT = 'kube-probe/1.36';
