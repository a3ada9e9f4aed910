// The seam between pod workers and the container runtime: everything that makes a pod's sandbox and containers be as
// its spec says (pkg/kubelet/kuberuntime). Implemented by kube-runtime.ts.
import type { Pod } from '../../api/pod.ts';
import type { PodRuntimeStatus, RuntimePod } from './pod-runtime-status.ts';

/** Why a container does not run, as `state.waiting` shows it. */
export interface ContainerStartFailure {
  readonly container: string;
  readonly reason: string;
  readonly message: string;
  /** Wall ms when a back-off ends, so that the worker can come back right then. */
  readonly retryAtMs?: number;
}

export interface PodSyncResult {
  /** True when anything was started, killed or removed: the runtime should be looked at again. */
  readonly changed: boolean;
  /** True when nothing was killed, removed or resized: what was changed are new containers, perhaps in a new sandbox. */
  readonly onlyAdded: boolean;
  /** Containers that started, by name: their reason cache entry is cleared. */
  readonly started: readonly string[];
  readonly failures: readonly ContainerStartFailure[];
  /** Why running containers could not be given other resources; nothing else is held up by that. */
  readonly resizeError?: string;
  /** An error that ended the sync early (sandbox creation, kill). Text ready for a log and retry. */
  readonly error?: Error;
  /** Work for the pod that still goes on, of which nothing depends but its removal. Never rejects. */
  readonly unfinished?: Promise<unknown>;
}

/** Latest probe verdicts, read by container id (probes/results). */
export interface ProbeVerdicts {
  liveness(containerId: string): 'success' | 'failure' | 'unknown' | undefined;
  startup(containerId: string): 'success' | 'failure' | 'unknown' | undefined;
}

export interface SyncPodInput {
  readonly pod: Pod;
  readonly status: PodRuntimeStatus;
  readonly verdicts: ProbeVerdicts;
  /** Called as soon as a new sandbox is up: sets PodReadyToStartContainers and the pod IPs without waiting. */
  readonly onSandboxReady: (ips: readonly string[]) => void;
  /**
   * Makes the volumes be there, and is awaited before the first container is made; its rejection ends the pass. Called
   * once a new sandbox is being made, which takes the runtime longer. Absent: the volumes are there.
   */
  readonly mountVolumes?: () => Promise<void>;
  /** Aborts when the pod is to end (or its grace period got shorter): nothing further is started. */
  readonly signal?: AbortSignal;
}

export interface ReadStatusOptions {
  /** All that has happened to the pod since it was last read are additions of ours, which need no list to be found. */
  readonly onlyAdded?: boolean;
  readonly signal?: AbortSignal;
}

export interface KillPodInput {
  /** Undefined for an orphan: what is needed is read back from container labels and annotations. */
  readonly pod: Pod | undefined;
  readonly status: PodRuntimeStatus;
  /** Seconds; replaces the grace that spec and deletion say. */
  readonly graceOverrideSeconds?: number;
  /** Aborts when the grace period got shorter: the kill is to be started again with the new value. */
  readonly signal: AbortSignal;
}

export interface RuntimeManager {
  /** All pods that the runtime knows, running or not. */
  listPods(signal?: AbortSignal): Promise<RuntimePod[]>;
  getPodStatus(uid: string, name: string, namespace: string, opts?: ReadStatusOptions): Promise<PodRuntimeStatus>;
  /** The runtime told that the container ran out of memory, which its status may not show for some moments yet. */
  memoryRanOut(containerId: string): void;
  /** One pass towards the spec. Records the container events. Never throws for what a pod can cause. */
  syncPod(input: SyncPodInput): Promise<PodSyncResult>;
  /** True when another pass would change nothing: nothing follows from what the runtime shows by now. */
  isSettled(input: Pick<SyncPodInput, 'pod' | 'status' | 'verdicts'>): boolean;
  /** Stops containers (hooks, order, grace) and sandboxes. @throws when something may still run. */
  killPod(input: KillPodInput): Promise<void>;
  /**
   * Removes exited containers beyond what must be kept, and dead sandboxes, of pods for which `mayRemoveAll` holds.
   * `listed`: the last `listPods`, where it is recent; without garbage in it the runtime is not asked.
   */
  collectGarbage(
    opts: { mayRemoveAll(podUid: string): boolean; allSourcesReady: boolean },
    listed?: readonly RuntimePod[],
    signal?: AbortSignal,
  ): Promise<void>;
  /** Removes what the runtime still holds of a finished, deleted pod (containers, sandboxes, logs). */
  removePod(uid: string, signal?: AbortSignal): Promise<void>;
}
