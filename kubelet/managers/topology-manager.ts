// Pods whose resources shall come from the same NUMA nodes: asks every manager where it could serve a container (or all of
// a pod's), merges what they say, and lets them allocate by it, or refuses the pod. After pkg/kubelet/cm/topologymanager.
import type { Pod } from '../../api/pod.ts';
import type { Clock } from '../../core/clock.ts';
import type { AllocationRefusal, ResourceManager, TopologyHint } from './hint-provider.ts';
import type { ManagerMetrics } from './manager-metrics.ts';
import { type MergeOptions, mergeHints, type TopologyPolicy } from './merge-hints.ts';
import { admittedContainers, type TopologyAligner } from './pod-resources.ts';

export interface TopologyManagerOptions extends MergeOptions {
  /** Whether the containers of a pod are looked at one by one or together. */
  readonly scope: 'container' | 'pod';
}

const REFUSED: AllocationRefusal = Object.freeze({
  reason: 'TopologyAffinityError',
  message: 'Resources cannot be allocated with Topology locality',
});

type Allocate = Parameters<TopologyAligner['admit']>[2];

export class TopologyManager implements TopologyAligner {
  readonly asksAll = true;
  readonly #opts: TopologyManagerOptions;
  readonly #metrics: ManagerMetrics;
  readonly #clock: Clock;

  constructor(opts: TopologyManagerOptions, deps: { readonly metrics: ManagerMetrics; readonly clock: Clock }) {
    this.#opts = opts;
    this.#metrics = deps.metrics;
    this.#clock = deps.clock;
  }

  async admit(
    pod: Pod,
    managers: readonly ResourceManager[],
    allocate: Allocate,
  ): Promise<AllocationRefusal | undefined> {
    const startMs = this.#clock.monotonicMs();
    try {
      const refusal = await this.#admit(pod, managers, allocate);
      this.#metrics.topologyAdmission(this.#clock.monotonicMs() - startMs, refusal === undefined);
      return refusal;
    } catch (err) {
      this.#metrics.topologyAdmission(this.#clock.monotonicMs() - startMs, false);
      throw err;
    }
  }

  async #admit(
    pod: Pod,
    managers: readonly ResourceManager[],
    allocate: Allocate,
  ): Promise<AllocationRefusal | undefined> {
    const { scope } = this.#opts;
    const ofPod = scope === 'pod' ? this.#affinity(managers.map((m) => m.podHints(pod))) : undefined;
    if (ofPod === 'refused') return REFUSED;
    for (const container of admittedContainers(pod)) {
      const hint = ofPod ?? this.#affinity(managers.map((m) => m.containerHints(pod, container)));
      if (hint === 'refused') return REFUSED;
      const refusal = await allocate(container, hint);
      if (refusal !== undefined) return refusal;
      if (scope === 'container') this.#count(true);
    }
    if (scope === 'pod') this.#count(true);
    return undefined;
  }

  #affinity(hints: Parameters<typeof mergeHints>[0]): TopologyHint | 'refused' {
    const { hint, admitted } = mergeHints(hints, this.#opts);
    if (admitted) return hint;
    this.#count(false);
    return 'refused';
  }

  #count(aligned: boolean): void {
    if (GUARANTEED.has(this.#opts.policy)) this.#metrics.aligned(this.#opts.scope, 'numa_node', aligned);
  }
}

/** What they admit is aligned for certain. */
const GUARANTEED: ReadonlySet<TopologyPolicy> = new Set(['single-numa-node']);
