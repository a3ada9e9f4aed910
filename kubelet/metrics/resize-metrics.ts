// What becomes of resizes of running pods, by upstream's names (pkg/kubelet/metrics/metrics.go).
import type { Container, Pod } from '../../api/pod.ts';
import { compareQuantities, isQuantity, parseQuantity } from '../../api/quantity.ts';
import { Counter, Gauge, Histogram, type Registry } from '../../core/metrics.ts';

/** What made a resize that had waited be looked at again. */
export type ResizeTrigger = 'pod_resized' | 'pod_updated' | 'pods_added' | 'pods_removed' | 'periodic_retry';

/** Why a resize can never be made, in upstream's words for it. */
export type InfeasibleDetail =
  | 'static_pod'
  | 'swap_limitation'
  | 'insufficient_node_allocatable'
  | 'guaranteed_pod_cpu_manager_static_policy'
  | 'guaranteed_pod_memory_manager_static_policy';

/** Pods whose resize waits, is impossible, or is being made. */
export interface ResizeCounts {
  readonly deferred: number;
  readonly infeasible: number;
  readonly inProgress: number;
}

/** Told of resizes. Calls are cheap and must not throw. */
export interface ResizeObserver {
  resizeCounts(counts: ResizeCounts): void;
  resizeInfeasible(detail: InfeasibleDetail): void;
  deferredResizeAccepted(trigger: ResizeTrigger): void;
  /** Containers use what they were given, or could not be made to. */
  resizeMade(tookMs: number, ok: boolean): void;
  /** A pod that runs was changed from `before` to `after`. */
  resourcesAsked(before: Pod, after: Pod): void;
}

const DURATION_BUCKETS_MS = [10, 50, 100, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 3e4, 6e4, 12e4, 3e5, 6e5];

export class ResizeMetrics implements ResizeObserver {
  readonly #pending: Gauge<'reason'>;
  readonly #inProgress: Gauge;
  readonly #infeasible: Counter<'reason_detail'>;
  readonly #accepted: Counter<'retry_trigger'>;
  readonly #durations: Histogram<'success'>;
  readonly #asked: Counter<'resource' | 'requirement' | 'operation'>;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#pending = new Gauge({
      name: 'kubelet_pod_pending_resizes',
      help: 'Pods that wait for other resources, by why',
      labelNames: ['reason'],
      registers,
    });
    this.#inProgress = new Gauge({
      name: 'kubelet_pod_in_progress_resizes',
      help: 'Pods that were given other resources and do not use them yet',
      registers,
    });
    this.#infeasible = new Counter({
      name: 'kubelet_pod_infeasible_resizes_total',
      help: 'Resizes that can never be made, by why',
      labelNames: ['reason_detail'],
      registers,
    });
    this.#accepted = new Counter({
      name: 'kubelet_pod_deferred_accepted_resizes_total',
      help: 'Resizes that had waited and could be made, by what made them be looked at again',
      labelNames: ['retry_trigger'],
      registers,
    });
    this.#durations = new Histogram({
      name: 'kubelet_pod_resize_duration_milliseconds',
      help: 'From giving a pod other resources to its containers using them, milliseconds',
      labelNames: ['success'],
      buckets: DURATION_BUCKETS_MS,
      registers,
    });
    this.#asked = new Counter({
      name: 'kubelet_container_requested_resizes_total',
      help: 'Resources that users changed on running containers',
      labelNames: ['resource', 'requirement', 'operation'],
      registers,
    });
  }

  resizeCounts({ deferred, infeasible, inProgress }: ResizeCounts): void {
    this.#pending.set({ reason: 'deferred' }, deferred);
    this.#pending.set({ reason: 'infeasible' }, infeasible);
    this.#inProgress.set(inProgress);
  }

  resizeInfeasible(detail: InfeasibleDetail): void {
    this.#infeasible.inc({ reason_detail: detail });
  }

  deferredResizeAccepted(trigger: ResizeTrigger): void {
    this.#accepted.inc({ retry_trigger: trigger });
  }

  resizeMade(tookMs: number, ok: boolean): void {
    this.#durations.observe({ success: String(ok) }, tookMs);
  }

  resourcesAsked(before: Pod, after: Pod): void {
    for (const asked of askedChanges(before, after)) this.#asked.inc({ ...asked });
  }
}

export interface AskedChange {
  readonly resource: 'cpu' | 'memory';
  readonly requirement: 'requests' | 'limits';
  readonly operation: 'add' | 'remove' | 'increase' | 'decrease';
}

/** Pure: what is asked for anew on the pod's containers. */
export function askedChanges(before: Pod, after: Pod): AskedChange[] {
  const containers = ({ spec }: Pod): Container[] => [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])];
  const old = new Map(containers(before).map((c) => [c.name, c.resources]));
  return containers(after).flatMap(({ name, resources }) => {
    const had = old.get(name);
    if (had === resources) return [];
    return (['cpu', 'memory'] as const).flatMap((resource) =>
      (['requests', 'limits'] as const).flatMap((requirement) => {
        const operation = operationOf(had?.[requirement]?.[resource], resources?.[requirement]?.[resource]);
        return operation === undefined ? [] : [{ resource, requirement, operation }];
      }),
    );
  });
}

function operationOf(before: string | undefined, after: string | undefined): AskedChange['operation'] | undefined {
  if (before === after) return undefined;
  if (before === undefined) return 'add';
  if (after === undefined) return 'remove';
  if (!isQuantity(before) || !isQuantity(after)) return undefined;
  const order = compareQuantities(parseQuantity(after), parseQuantity(before));
  return order === 0 ? undefined : order > 0 ? 'increase' : 'decrease';
}
