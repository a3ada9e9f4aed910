// What the dispatch of pods is given; what is absent is switched off.
import type { Node } from '../api/kinds.ts';
import type { Pod } from '../api/pod.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { PodResourceAdmission } from './managers/pod-resources.ts';
import type { KubeletObserver } from './metrics/observer.ts';
import type { ResizeObserver } from './metrics/resize-metrics.ts';
import type { PodManager } from './pod-manager.ts';
import type { PodWorkers } from './pod-worker.ts';
import type { Allocations } from './resize/allocations.ts';
import type { ResizeRefusal } from './resize/resize-admission.ts';
import type { ResizeConditions } from './resize/resize-conditions.ts';
import type { SwapSettings } from './resources/swap.ts';
import type { StatusWriter } from './status/status-writer.ts';

export interface PodDispatchDeps {
  readonly pods: PodManager;
  readonly workers: Pick<PodWorkers, 'update' | 'poke' | 'isTerminationRequested' | 'mayBeRunning' | 'state' | 'uids'>;
  readonly statuses: Pick<StatusWriter, 'get' | 'set' | 'podChanged'>;
  readonly getNode: () => Node | undefined;
  /** This node as the API server has it now. */
  readonly readNode?: () => Promise<Node>;
  readonly allowedUnsafeSysctls: readonly string[];
  readonly appArmorEnabled?: boolean;
  readonly declaredFeatures?: readonly string[];
  /** What the node is short of; nothing when absent. */
  readonly pressure?: () => readonly string[];
  /** Absent where containers cannot have a limit of swap. */
  readonly swap?: SwapSettings;
  /** The node goes down. */
  readonly shuttingDown?: () => boolean;
  /** CPUs, devices and the like that pods have for themselves; absent where nothing is managed. */
  readonly resources?: PodResourceAdmission;
  /** Why the pod can never have what it asks for now, given what it has. */
  readonly resizeRefusal?: (pod: Pod, allocated: Pod) => ResizeRefusal | undefined;
  readonly allocations: Allocations;
  readonly resizeConditions: ResizeConditions;
  /** Every source has said what its pods are. */
  readonly allPodsKnown: () => boolean;
  /** The runtime has no running container and no ready sandbox for the pod. */
  readonly nothingRuns: (podUid: string) => boolean;
  readonly observer?: Pick<KubeletObserver, 'podSeen' | 'podRejected' | 'podPreempted' | 'podGone'>;
  readonly resizes?: ResizeObserver;
  readonly events: EventRecorder;
  /** Something ended or vanished: there may be something to clean up. */
  readonly requestHousekeeping: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}
