// What parts of the kubelet tell whoever counts and times it. Calls are cheap and must not throw; without an observer
// nothing is counted.
import type { Pod, PodStatus } from '../../api/pod.ts';
import type { Seldom } from './seldom-metrics.ts';

export type PodWork = 'create' | 'update' | 'sync';
export type ContainerKind = 'container' | 'init_container' | 'ephemeral_container';

export interface KubeletObserver {
  /** A pod was seen for the first time. */
  podSeen(pod: Pod): void;
  podRejected(reason: string): void;
  /** A pod had to make room for a critical one that lacked `resource`. */
  podPreempted(resource: string): void;
  /** A pod's worker did its work once. */
  podWorked(work: PodWork, tookSeconds: number): void;
  /** A worker began for the first time, so long after its pod was seen. */
  podWorkerStarted(afterSeconds: number): void;
  /** What the pod's status should be has changed. */
  podStatus(uid: string, status: PodStatus): void;
  /** A pod's object or its worker is gone. */
  podGone(uid: string): void;
  /** A status was written to the API server, so long after it changed. */
  statusWritten(afterSeconds: number): void;
  /** All pods of the runtime were listed; `sinceSeconds` after the list before began. */
  relisted(tookSeconds: number, sinceSeconds: number | undefined): void;
  /** `failure` is the reason that the container's status shows. */
  containerStarted(pod: Pod, container: string, failure?: string): void;
  imagePulled(podUid: string, tookSeconds: number, sizeBytes: number | undefined): void;
  imageRemoved(why: 'age' | 'space'): void;
  /** `plugin` and `operation` in upstream's words. */
  volumeOperation(plugin: string, operation: string, tookSeconds: number, ok: boolean): void;
  /** The status of one pod was asked of the runtime. */
  podRelisted(tookSeconds: number): void;
  /** A pod was ended and is begun anew under the same uid. */
  podRestarted(isStatic: boolean): void;
  /** What pods that are gone had left behind, in one pass: so many had something, of so many it could not be removed. */
  orphansCleaned(pods: number, failures: number): void;
  /** Something that is only counted happened. */
  counted(what: Seldom, times?: number): void;
}
