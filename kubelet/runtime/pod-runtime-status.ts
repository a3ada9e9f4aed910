// What the runtime knows of one pod, in the order the kubelet's decisions need it
// (pkg/kubelet/container PodStatus).
import type { ContainerStatus, PodSandboxStatus } from '../../cri/gen/messages.ts';

/** A container of any attempt, with what the kubelet wrote into its labels and annotations parsed. */
export interface RuntimeContainer {
  readonly id: string;
  readonly name: string;
  readonly sandboxId: string;
  readonly state: 'created' | 'running' | 'exited' | 'unknown';
  /** Wall ms; 0 when not yet. */
  readonly createdAtMs: number;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  readonly exitCode: number;
  readonly reason: string;
  /** Termination message: file, or the end of the log, already cut (kubelet rules), else the runtime's message. */
  readonly message: string;
  readonly restartCount: number;
  /** `io.kubernetes.container.hash`, '' when absent. */
  readonly hash: string;
  readonly cri: ContainerStatus;
}

export interface PodRuntimeStatus {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** Of the newest ready sandbox, canonical text; empty for host network. */
  readonly ips: readonly string[];
  /** Newest first: higher attempt, then newer, then id. */
  readonly sandboxes: readonly PodSandboxStatus[];
  /** All attempts in all sandboxes, newest first by creation. */
  readonly containers: readonly RuntimeContainer[];
  /** Monotonic ms just before the runtime was asked: older statuses must not replace newer ones. */
  readonly observedAtMs: number;
}

/** One pod as a plain list call shows it: enough to see that something changed, and for orphans. */
export interface RuntimePod {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly sandboxes: readonly { readonly id: string; readonly ready: boolean; readonly createdAtMs: number }[];
  readonly containers: readonly {
    readonly id: string;
    readonly name: string;
    readonly sandboxId: string;
    readonly state: RuntimeContainer['state'];
    readonly createdAtMs: number;
  }[];
}

/** The newest status of the container named `name`. */
export function findContainer(status: PodRuntimeStatus | undefined, name: string): RuntimeContainer | undefined {
  return status?.containers.find((c) => c.name === name);
}

/** No ready sandbox and no running container. Of a pod that the runtime has nothing of, too. */
export function nothingRuns(pod: PodRuntimeStatus | RuntimePod | undefined): boolean {
  if (pod === undefined) return true;
  const isReady = (s: PodRuntimeStatus['sandboxes'][number] | RuntimePod['sandboxes'][number]) =>
    'ready' in s ? s.ready : s.state === 'SANDBOX_READY';
  return !pod.sandboxes.some(isReady) && !pod.containers.some((c) => c.state === 'running');
}
