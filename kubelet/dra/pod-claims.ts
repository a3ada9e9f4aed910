// What dynamic resources are to the lifecycle of pods: claims are prepared by their drivers before the sandbox is made,
// and unprepared when nothing of the pod runs any more, before anybody hears that it is over.
import type { Pod } from '../../api/pod.ts';
import type { AnyContainer } from '../runtime/labels.ts';
import type { ClaimRecord } from './claim-checkpoint.ts';

export interface PodClaims {
  /** Idempotent; after a failure it may be called again at any time. @throws with a text for users. */
  prepare(pod: Pod, signal: AbortSignal): Promise<void>;
  /** True when what the pod's containers need is known: it was prepared, by this agent or the one before. */
  isKnown(pod: Pod): boolean;
  /** Idempotent; does nothing for a pod that holds no claims. @throws when a driver has not let go of one yet. */
  unprepare(pod: Pod, signal: AbortSignal): Promise<void>;
  /** Qualified CDI names for one container, none twice. @throws when a claim of it has not been prepared. */
  cdiDevices(pod: Pod, container: AnyContainer): readonly string[];
  /** The claims that the container uses, with all that was prepared of them. @throws as `cdiDevices` does. */
  usedBy(pod: Pod, container: AnyContainer): readonly ClaimRecord[];
  /** A driver may still hold something for the pod, which must not be said to be over until then. */
  holds(podUid: string): boolean;
  /** Pods that hold claims. */
  uids(): Iterable<string>;
  /** The pod is gone and nothing of it runs: its claims are let go in the background. Call again until it holds none. */
  forget(podUid: string): void;
}
