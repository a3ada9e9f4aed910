// Deletes pods from nodes with NoExecute taints that they do not tolerate, or tolerate for a time only
// (pkg/controller/tainteviction).
import type { Node, Taint } from '../../api/kinds.ts';
import { formatTime, objectKey } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import { pods as podResource } from '../../api/resources.ts';
import { tolerates } from '../../api/scheduling.ts';
import { isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { type Controller, type ControllerContext, referenceTo, waitForStores } from './context.ts';
import { Reconciler } from './reconciler.ts';

/**
 * When the pod has to leave: wall ms, `never`, or `now`. A taint without time counts from when it was first seen,
 * which the caller gives.
 */
export function evictionTime(pod: Pod, taints: readonly Taint[], seenMs: number): number | 'now' | 'never' {
  let earliestMs = Number.POSITIVE_INFINITY;
  for (const taint of taints) {
    if (taint.effect !== 'NoExecute') continue;
    const matching = (pod.spec?.tolerations ?? []).filter((t) => tolerates(t, taint));
    if (matching.length === 0) return 'now';
    const seconds = matching.map((t) => t.tolerationSeconds).filter((s): s is number => s !== undefined);
    if (seconds.length === 0) continue;
    const shortest = Math.min(...seconds);
    if (shortest <= 0) return 'now';
    earliestMs = Math.min(earliestMs, (Date.parse(taint.timeAdded ?? '') || seenMs) + shortest * 1000);
  }
  return Number.isFinite(earliestMs) ? earliestMs : 'never';
}

export class TaintEvictionController implements Controller {
  readonly name = 'taint-eviction-controller';
  readonly #ctx: ControllerContext;
  readonly #events: EventRecorder;
  readonly #work: Reconciler;
  /** Pods that wait for their time to leave: key → wall ms when their taint was first seen. */
  readonly #waiting = new Map<string, number>();

  constructor(ctx: ControllerContext) {
    this.#ctx = ctx;
    this.#events = ctx.recorder(this.name);
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: this.name }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    await waitForStores([stores.nodes, stores.pods], signal);
    using _nodes = stores.nodes.subscribe({
      onAdd: (node) => this.#onNode(node),
      onUpdate: (old, node) => {
        if (noExecute(old).length > 0 || noExecute(node).length > 0) this.#onNode(node);
      },
    });
    using _pods = stores.pods.subscribe({
      onAdd: (pod) => this.#onPod(pod),
      onUpdate: (old, pod) => {
        if (placementOf(old) !== placementOf(pod)) this.#onPod(pod);
      },
      onDelete: (pod) => void this.#waiting.delete(objectKey(pod)),
    });
    await this.#work.run(signal);
  }

  #onNode(node: Node): void {
    for (const pod of this.#ctx.stores.pods.byIndex('node', objectKey(node))) this.#work.request(objectKey(pod));
  }

  #onPod(pod: Pod): void {
    const node = this.#ctx.stores.nodes.get(pod.spec?.nodeName ?? '');
    if (node !== undefined && noExecute(node).length > 0) this.#work.request(objectKey(pod));
  }

  async #reconcile(key: string): Promise<void> {
    const pod = this.#ctx.stores.pods.get(key);
    const node = this.#ctx.stores.nodes.get(pod?.spec?.nodeName ?? '');
    if (pod === undefined || node === undefined || pod.metadata?.deletionTimestamp !== undefined) return;
    const nowMs = this.#ctx.clock.now();
    const seenMs = this.#waiting.get(key) ?? nowMs;
    const when = evictionTime(pod, noExecute(node), seenMs);
    if (when === 'never') {
      if (this.#waiting.delete(key)) this.#event(pod, `Cancelling deletion of Pod ${key}`);
      return;
    }
    if (when !== 'now' && when > nowMs) {
      this.#waiting.set(key, seenMs);
      this.#work.requestAfter(key, when - nowMs);
      return;
    }
    this.#waiting.delete(key);
    await this.#evict(key, pod);
  }

  async #evict(key: string, pod: Pod): Promise<void> {
    const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
    const condition = {
      type: 'DisruptionTarget',
      status: 'True',
      reason: 'DeletionByTaintManager',
      message: 'Taint manager: deleting due to NoExecute taint',
      lastTransitionTime: formatTime(this.#ctx.clock.now()),
    };
    try {
      const body = { metadata: { uid }, status: { conditions: [condition] } };
      await this.#ctx.client.patch(
        podResource,
        { name, namespace },
        { type: 'strategic', body },
        { subresource: 'status' },
      );
      this.#event(pod, `Marking for deletion Pod ${key}`);
      await this.#ctx.client.delete(podResource, { name, namespace }, { preconditions: { uid } });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  #event(pod: Pod, message: string): void {
    this.#events.event(referenceTo(pod, podResource), 'Normal', 'TaintManagerEviction', message);
  }
}

/** Where the pod is and what it bears there: nothing else of it matters here, least of all our own status writes. */
function placementOf(pod: Pod): string {
  return JSON.stringify([pod.spec?.nodeName, pod.spec?.tolerations]);
}

function noExecute(node: Node): Taint[] {
  return (node.spec?.taints ?? []).filter((t) => t.effect === 'NoExecute');
}
