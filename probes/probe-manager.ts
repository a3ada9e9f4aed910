// The seam between pod workers and probing (pkg/kubelet/prober). Implemented in this room by prober.ts.
import type { Pod, PodStatus } from '../api/pod.ts';

export type ProbeKind = 'liveness' | 'readiness' | 'startup';
export type ProbeVerdict = 'success' | 'failure' | 'unknown';

export interface ProbeChange {
  readonly kind: ProbeKind;
  readonly podUid: string;
  readonly container: string;
  readonly containerId: string;
  readonly verdict: ProbeVerdict;
}

/** Runs a command in a container; `output` is stdout, then stderr. Exec probes get this from the runtime; probes/ does not know CRI. */
export type ExecInContainer = (
  containerId: string,
  command: readonly string[],
  timeoutSeconds: number,
  signal: AbortSignal,
) => Promise<
  { readonly exitCode: number; readonly output: Buffer } | { readonly timedOut: true; readonly message: string }
>;

export interface ProbeManager {
  /**
   * Starts probing the pod's containers that have probes; existing probes are kept. Idempotent. `status`: as it was told
   * last, which may be the last word on a pod that runs as it should.
   */
  addPod(pod: Pod, status?: PodStatus): void;
  /** The newest status of the pod: container ids, started, phase. Probes look at it before each run. */
  updatePodStatus(podUid: string, status: PodStatus): void;
  /** At termination: liveness and startup probes of regular containers end, readiness goes on. */
  stopLivenessAndStartup(podUid: string): void;
  removePod(podUid: string): void;
  /** The stored verdict for a container id (not prefixed by the runtime's name). */
  verdict(kind: ProbeKind, containerId: string): ProbeVerdict | undefined;
  hasProbe(podUid: string, container: string, kind: ProbeKind): boolean;
  /** Each change of a stored verdict, in order. */
  onChange(handler: (change: ProbeChange) => void): Disposable;
  run(signal: AbortSignal): Promise<void>;
}
