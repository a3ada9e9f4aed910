// Pods that ask for other resources than they were given, until they can be given them. Looked at again whenever
// something may have made room, and now and then besides while any waits. After pkg/kubelet/allocation
// allocation_manager.go RetryPendingResizes.
import { ParseError } from '../../api/parse-error.ts';
import type { Pod } from '../../api/pod.ts';
import { podRequests } from '../../api/pod-resources.ts';
import { podQosClass } from '../../api/qos.ts';
import { compareQuantities, type Quantity, ZERO_QUANTITY } from '../../api/quantity.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { ResizeObserver, ResizeTrigger } from '../metrics/resize-metrics.ts';
import type { Allocations } from './allocations.ts';
import { RESIZABLE_RESOURCES } from './pod-allocation.ts';
import type { ResizeRefusal } from './resize-admission.ts';
import type { ResizeConditions } from './resize-conditions.ts';

export interface ResizeQueueDeps {
  /** The pod as wished for; undefined when it is gone. */
  readonly getPod: (uid: string) => Pod | undefined;
  /** Why the pod cannot be given what it asks for now. */
  readonly refuse: (pod: Pod) => ResizeRefusal | undefined;
  /** All pods are known: before that there may seem to be room where there is none. */
  readonly allPodsKnown: () => boolean;
  /** The pod was given other resources, or its conditions changed: its worker has something to do. Must not throw. */
  readonly onChanged: (uid: string) => void;
  readonly allocations: Pick<Allocations, 'apply' | 'allocate' | 'isResizeWanted'>;
  readonly conditions: Pick<ResizeConditions, 'setPending' | 'clearPending' | 'pendingSinceMs' | 'started'>;
  readonly resizes?: Pick<ResizeObserver, 'deferredResizeAccepted'>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What orders the queue, of one pod. */
export interface PendingResize {
  readonly uid: string;
  /** It asks for more cpu or memory than it has. */
  readonly increases: boolean;
  readonly priority: number;
  readonly guaranteed: boolean;
  /** Wall ms; undefined for one that has not been looked at yet. */
  readonly pendingSinceMs: number | undefined;
}

/** Until waiting resizes are looked at again if nothing happens, ms. */
const RETRY_MS = 180_000;

export class ResizeQueue implements Disposable {
  readonly #deps: ResizeQueueDeps;
  readonly #log: Logger;
  #pending = new Set<string>();
  #timer: Disposable | undefined;
  #isDisposed = false;

  constructor(deps: ResizeQueueDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'resizes' });
  }

  /** The pod is new or changed. True when it asks for other resources than it has: then `retry` is to follow. */
  consider(pod: Pod): boolean {
    const uid = pod.metadata?.uid ?? '';
    if (this.#deps.allocations.isResizeWanted(pod)) {
      this.#pending.add(uid);
      return true;
    }
    if (this.#pending.delete(uid) && this.#pending.size === 0) this.#arm();
    // What was wished for was taken back.
    if (this.#deps.conditions.clearPending(uid)) this.#deps.onChanged(uid);
    return false;
  }

  /** Something may have made room. Costs nothing while no pod waits. */
  retry(trigger: ResizeTrigger = 'pod_updated'): void {
    if (this.#pending.size === 0 || !this.#deps.allPodsKnown()) return;
    const pods = [...this.#pending].flatMap((uid) => this.#deps.getPod(uid) ?? []);
    const waiting = new Set<string>();
    const ranked = pods.map((pod) => ({ pod, ...this.#rank(pod) })).sort(byUrgency);
    // One after the other: what one is given is not left for the next.
    for (const { uid, pod } of ranked) if (this.#isDeferred(uid, pod, trigger)) waiting.add(uid);
    this.#pending = waiting;
    this.#arm();
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#timer?.[Symbol.dispose]();
  }

  /** Gives the pod what it asks for, or says why not. True when it may have it later. */
  #isDeferred(uid: string, pod: Pod, trigger: ResizeTrigger): boolean {
    const { allocations, conditions, onChanged, refuse, resizes } = this.#deps;
    if (!allocations.isResizeWanted(pod)) {
      if (conditions.clearPending(uid)) onChanged(uid);
      return false;
    }
    const refusal = refuse(pod);
    if (refusal !== undefined) {
      if (conditions.setPending(pod, refusal.reason, refusal.message, refusal.detail)) onChanged(uid);
      return refusal.reason !== 'Infeasible';
    }
    if (conditions.pendingSinceMs(uid) !== undefined) resizes?.deferredResizeAccepted(trigger);
    allocations.allocate(pod);
    conditions.started(pod);
    this.#log.info({ pod: `${pod.metadata?.namespace}/${pod.metadata?.name}`, podUid: uid }, 'pod resized');
    onChanged(uid);
    return false;
  }

  #rank(pod: Pod): PendingResize {
    const uid = pod.metadata?.uid ?? '';
    const allocated = this.#deps.allocations.apply(pod);
    return {
      uid,
      increases: increasesRequests(allocated, pod),
      priority: pod.spec?.priority ?? 0,
      guaranteed: podQosClass(allocated) === 'Guaranteed',
      pendingSinceMs: this.#deps.conditions.pendingSinceMs(uid),
    };
  }

  #arm(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    if (this.#pending.size === 0 || this.#isDisposed) return;
    this.#timer = this.#deps.clock.setTimer(RETRY_MS, () => this.retry('periodic_retry'));
  }
}

/** Whose turn comes first: who gives something back, then by priority, by QoS class, and who has waited longest. */
export function byUrgency(a: PendingResize, b: PendingResize): number {
  const waited = (p: PendingResize) => p.pendingSinceMs ?? Number.POSITIVE_INFINITY;
  return (
    Number(a.increases) - Number(b.increases) ||
    b.priority - a.priority ||
    Number(b.guaranteed) - Number(a.guaranteed) ||
    (waited(a) === waited(b) ? 0 : waited(a) - waited(b))
  );
}

function increasesRequests(allocated: Pod, wanted: Pod): boolean {
  try {
    const [before, after] = [podRequests(allocated), podRequests(wanted)];
    const amount = (of: Map<string, Quantity>, name: string) => of.get(name) ?? ZERO_QUANTITY;
    return RESIZABLE_RESOURCES.some((r) => compareQuantities(amount(after, r), amount(before, r)) > 0);
  } catch (err) {
    if (err instanceof ParseError) return true; // an amount that nobody can read is refused in its turn
    throw err;
  }
}
