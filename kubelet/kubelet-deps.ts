// What the pod side of the agent is given; what is absent is switched off, or has nobody who wants to know.
import type { Node } from '../api/kinds.ts';
import type { ApiClient } from '../client/api-client.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import type { ReadonlyStore } from '../client/store.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Rush } from '../core/rush.ts';
import type { RuntimeService } from '../cri/runtime-service.ts';
import type { ProbeManager } from '../probes/probe-manager.ts';
import type { PodClaims } from './dra/pod-claims.ts';
import type { PodResourceAdmission } from './managers/pod-resources.ts';
import type { KubeletObserver } from './metrics/observer.ts';
import type { ResizeObserver } from './metrics/resize-metrics.ts';
import type { PodDispatchDeps } from './pod-dispatch-deps.ts';
import type { PodCgroups, PodLifecycleDeps } from './pod-lifecycle.ts';
import type { Allocations } from './resize/allocations.ts';
import type { SwapSettings } from './resources/swap.ts';
import type { RuntimeManager } from './runtime/runtime-manager.ts';
import type { PodRules } from './sources/static-pod.ts';
import type { VolumeManager } from './volumes/volume-manager.ts';

export interface KubeletDeps {
  readonly client: ApiClient;
  /** There is no API server to ask or to tell: only static pods are run. */
  readonly standalone?: boolean;
  readonly runtime: RuntimeManager;
  /** For the event stream alone. */
  readonly runtimeEvents: Pick<RuntimeService, 'events'>;
  readonly volumes: VolumeManager;
  readonly probes: ProbeManager;
  readonly events: EventRecorder;
  /** Holds this node's own object, filled by whoever registers the node. */
  readonly nodes: ReadonlyStore<Node>;
  /** What this node would be registered as: stands in until the API server has said what it is. */
  readonly localNode?: () => Promise<Node>;
  readonly cgroups?: PodCgroups;
  /** CPUs, devices and the like that pods have for themselves; absent where nothing is managed. */
  readonly resources?: PodResourceAdmission;
  /** Of the devices that a container of a pod holds; undefined when it holds none. */
  readonly resourceHealth?: PodLifecycleDeps['resourceHealth'];
  /** Why the pod can never be resized here. */
  readonly resizeRefusal?: PodDispatchDeps['resizeRefusal'];
  /** Dynamic resources of pods; without it those of a pod are nobody's concern when it ends. */
  readonly claims?: PodClaims;
  /** What pods were given; kept in memory alone when absent. */
  readonly allocations?: Allocations;
  /** Whether the host enforces AppArmor profiles. */
  readonly appArmorEnabled?: boolean;
  /** Conditions of the node that it is short of something: what may be admitted depends on them. */
  readonly pressure?: () => readonly string[];
  /** Absent where containers cannot have a limit of swap. */
  readonly swap?: SwapSettings;
  /** The node goes down: no pod is begun. */
  readonly shuttingDown?: () => boolean;
  /** Makes a pod's directories; in the real file system when absent. */
  readonly ensurePodDirs?: (podUid: string) => Promise<void>;
  /** Why the runtime's network is not ready, undefined when it is (CRI Status NetworkReady). */
  readonly networkError: () => string | undefined;
  /** `containerd`, as the runtime's Version calls itself. */
  readonly runtimeName: string;
  /** Read only when there are static pods. */
  readonly staticPodRules?: () => Promise<PodRules>;
  readonly startRush?: Pick<Rush, 'isOn' | 'over'>;
  readonly observer?: KubeletObserver;
  readonly resizes?: ResizeObserver;
  readonly clock: Clock;
  readonly log: Logger;
}
