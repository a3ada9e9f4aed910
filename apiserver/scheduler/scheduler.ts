// Binds pods to nodes, one at a time, the most important first (pkg/scheduler). A pod that fits nowhere waits until
// something changes that may make it fit, at least its back-off and at most five minutes.
import { setImmediate } from 'node:timers/promises';
import type { Node } from '../../api/kinds.ts';
import { matchesLabels, type Selector, selectorOf, selectorOfMap } from '../../api/labels.ts';
import { controllerOf, formatTime, objectKey } from '../../api/meta.ts';
import { isTerminalPhase, type Pod } from '../../api/pod.ts';
import { pods as podResource } from '../../api/resources.ts';
import { isConflict, isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { DueQueue } from '../../core/due-queue.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { type Controller, type ControllerContext, referenceTo, waitForStores } from '../controllers/context.ts';
import { ClusterView } from './cluster-view.ts';
import { refusals, unschedulableMessage } from './filters.ts';
import { NodeInfo, type PodFacts, podFacts } from './node-info.ts';
import { amountsVersion } from './pod-in-resize.ts';
import { bestNode } from './scores.ts';

const SCHEDULER_NAME = 'default-scheduler';

const BACKOFF_INITIAL_MS = 1_000;
const BACKOFF_MAX_MS = 10_000;
/** A pod that was overlooked is looked at again after this, whatever happened. */
const FLUSH_MS = 5 * 60_000;
/** Longest stretch of work without a turn for others. */
const MAX_TURN_MS = 10;
/** Bindings under way at the same time: the next pod is placed while the API server stores the last ones. */
const MAX_BINDINGS = 16;

interface Waiting {
  readonly facts: PodFacts;
  readonly queuedAt: number;
  attempts: number;
  /** Monotonic ms of the last attempt. */
  triedAtMs: number;
}

export class Scheduler implements Controller {
  readonly name = 'scheduler';
  readonly #ctx: ControllerContext;
  readonly #events: EventRecorder;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly #nodes = new Map<string, NodeInfo>();
  /** Where each counted pod is, by uid: bound, or assumed while its binding is under way. */
  readonly #placed = new Map<string, string>();
  readonly #active = new Map<string, Waiting>();
  readonly #unschedulable = new Map<string, Waiting>();
  readonly #backoff: DueQueue<string>;
  #sequence = 0;
  #turnStartMs = 0;
  /** Bindings under way. */
  readonly #bindings = new Set<Promise<void>>();
  #wake: (() => void) | undefined;

  constructor(ctx: ControllerContext, random: () => number = Math.random) {
    this.#ctx = ctx;
    this.#events = ctx.recorder(SCHEDULER_NAME);
    this.#log = ctx.log.child({ component: this.name });
    this.#random = random;
    this.#backoff = new DueQueue(ctx.clock, (uid) => this.#activate(uid));
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    const needed = [stores.nodes, stores.pods, stores.services, stores.replicaSets, stores.namespaces];
    await waitForStores(needed, signal);
    using _nodes = stores.nodes.subscribe({
      onAdd: (node) => this.#setNode(objectKey(node), node),
      onUpdate: (old, node) => this.#setNode(objectKey(node), node, offerOf(old) !== offerOf(node)),
      onDelete: (node) => this.#setNode(objectKey(node), undefined),
    });
    using _pods = stores.pods.subscribe({
      onAdd: (pod) => this.#onPod(pod),
      onUpdate: (_old, pod) => this.#onPod(pod),
      onDelete: (pod) => this.#onPodGone(pod),
    });
    signal.addEventListener('abort', () => this.#wake?.(), { once: true });
    while (!signal.aborted) {
      const next = this.#bindings.size < MAX_BINDINGS ? this.#takeNext() : undefined;
      if (next !== undefined) this.#schedule(next);
      else await this.#waitForWork(signal);
      await this.#giveWay(signal);
    }
    await Promise.all(this.#bindings);
    this.#backoff[Symbol.dispose](); // last: a binding that failed has put its pod there
  }

  /** Placing thousands of pods in one go would keep the API server in this process from answering. */
  async #giveWay(signal: AbortSignal): Promise<void> {
    if (this.#ctx.clock.monotonicMs() - this.#turnStartMs < MAX_TURN_MS || signal.aborted) return;
    await setImmediate();
    this.#turnStartMs = this.#ctx.clock.monotonicMs();
  }

  async #waitForWork(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }

  #setNode(name: string, node: Parameters<NodeInfo['setNode']>[0], offersMore = true): void {
    const info = this.#infoOf(name);
    info.setNode(node);
    if (node === undefined && info.pods.size === 0) this.#nodes.delete(name);
    if (node !== undefined && offersMore) this.#retryUnschedulable();
  }

  #infoOf(name: string): NodeInfo {
    let info = this.#nodes.get(name);
    if (info === undefined) {
      info = new NodeInfo(name);
      this.#nodes.set(name, info);
    }
    return info;
  }

  #onPod(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const node = pod.spec?.nodeName;
    if (isTerminalPhase(pod.status?.phase)) {
      this.#onPodGone(pod);
      return;
    }
    if (node) {
      this.#forget(uid);
      const placed = this.#placed.get(uid) === node ? this.#nodes.get(node)?.pods.get(uid) : undefined;
      // Status changes of running pods, by far the most, change no amounts.
      const facts = placed?.version === amountsVersion(pod) ? { ...placed, pod } : podFacts(pod);
      this.#place(facts, node);
      if (placed !== undefined && takesLess(facts, placed)) this.#retryUnschedulable();
    } else if (isOurs(pod)) {
      if (!this.#placed.has(uid)) this.#enqueue(pod);
    } else {
      this.#forget(uid);
    }
  }

  #onPodGone(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    this.#forget(uid);
    if (this.#unplace(uid)) this.#retryUnschedulable();
  }

  #place(facts: PodFacts, node: string): void {
    const before = this.#placed.get(facts.uid);
    if (before !== undefined && before !== node) this.#unplace(facts.uid);
    this.#placed.set(facts.uid, node);
    this.#infoOf(node).add(facts);
  }

  #unplace(uid: string): boolean {
    const node = this.#placed.get(uid);
    if (node === undefined) return false;
    this.#placed.delete(uid);
    const info = this.#nodes.get(node);
    info?.remove(uid);
    if (info?.node === undefined && info?.pods.size === 0) this.#nodes.delete(node);
    return true;
  }

  #forget(uid: string): void {
    this.#active.delete(uid);
    this.#unschedulable.delete(uid);
    this.#backoff.delete(uid);
  }

  #enqueue(pod: Pod): void {
    const facts = podFacts(pod);
    const known = this.#active.get(facts.uid) ?? this.#unschedulable.get(facts.uid);
    const changed = known === undefined || wishOf(known.facts.pod) !== wishOf(pod);
    const entry: Waiting = {
      facts,
      queuedAt: known?.queuedAt ?? this.#sequence++,
      attempts: changed ? 0 : known.attempts,
      triedAtMs: known?.triedAtMs ?? 0,
    };
    if (!changed && this.#unschedulable.has(facts.uid)) {
      this.#unschedulable.set(facts.uid, entry); // our own status write: no reason to try again
      return;
    }
    this.#forget(facts.uid);
    this.#active.set(facts.uid, entry);
    this.#wake?.();
  }

  /** Something changed that may make room: pods that fitted nowhere get another try after their back-off. */
  #retryUnschedulable(): void {
    const nowMs = this.#ctx.clock.monotonicMs();
    for (const [uid, entry] of this.#unschedulable) {
      this.#backoff.setEarlier(uid, entry.triedAtMs + backoffMs(entry.attempts) - nowMs);
    }
  }

  #activate(uid: string): void {
    const entry = this.#unschedulable.get(uid);
    if (entry === undefined) return;
    this.#unschedulable.delete(uid);
    this.#active.set(uid, entry);
    this.#wake?.();
  }

  #takeNext(): Waiting | undefined {
    let best: Waiting | undefined;
    for (const entry of this.#active.values()) {
      if (best === undefined || comesBefore(entry, best)) best = entry;
    }
    if (best !== undefined) this.#active.delete(best.facts.uid);
    return best;
  }

  #schedule(entry: Waiting): void {
    const nodes = [...this.#nodes.values()].filter((n) => n.node !== undefined);
    const cluster = new ClusterView(nodes, (ns) => this.#ctx.stores.namespaces.get(ns)?.metadata?.labels);
    const verdicts = nodes.map((info) => ({ info, reasons: refusals(entry.facts, info, cluster) }));
    const candidates = verdicts.filter((v) => v.reasons.length === 0).map((v) => v.info);
    if (candidates.length === 0) {
      const message = unschedulableMessage(
        nodes.length,
        verdicts.map((v) => v.reasons),
      );
      this.#setAside(entry);
      void this.#reportUnschedulable(entry.facts.pod, message); // catches everything itself
      return;
    }
    const ownerSelector = this.#ownerSelector(entry.facts.pod);
    const chosen = bestNode({ facts: entry.facts, candidates, ownerSelector, cluster }, this.#random);
    this.#place(entry.facts, chosen.name); // assumed: the next pod must see it, before the API server knows
    const binding = this.#bind(entry, chosen.name); // catches everything itself
    this.#bindings.add(binding);
    void binding.finally(() => {
      this.#bindings.delete(binding);
      this.#wake?.();
    });
  }

  #setAside(entry: Waiting): void {
    entry.attempts++;
    entry.triedAtMs = this.#ctx.clock.monotonicMs();
    this.#unschedulable.set(entry.facts.uid, entry);
    this.#backoff.setEarlier(entry.facts.uid, FLUSH_MS);
  }

  async #bind(entry: Waiting, node: string): Promise<void> {
    const { pod, key, uid } = entry.facts;
    const { name = '', namespace = '' } = pod.metadata ?? {};
    const binding = {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata: { name, namespace, uid },
      target: { kind: 'Node', name: node },
    };
    try {
      await this.#ctx.client.create(podResource, { name, namespace }, binding, { subresource: 'binding' });
      this.#events.event(
        referenceTo(pod, podResource),
        'Normal',
        'Scheduled',
        `Successfully assigned ${key} to ${node}`,
      );
    } catch (err) {
      await this.#unbind(entry, node, err);
    }
  }

  async #unbind(entry: Waiting, node: string, err: unknown): Promise<void> {
    const { pod, key, uid } = entry.facts;
    const current = this.#ctx.stores.pods.get(key);
    if (current?.metadata?.uid === uid && current.spec?.nodeName) return; // bound after all, here or elsewhere: counted
    if (this.#unplace(uid)) this.#retryUnschedulable();
    if (current?.metadata?.uid !== uid || !isOurs(current) || isNotFound(err)) return;
    this.#setAside(entry);
    // Deleted or bound by somebody else meanwhile: the cache will show it, and forget the pod. The rest is tried again.
    if (isConflict(err)) return;
    this.#log.warn({ err, pod: key, node }, 'binding failed, will retry');
    this.#backoff.setEarlier(uid, backoffMs(entry.attempts));
    // The answer may have been lost on the way: a pod that has changed since is not said to wait.
    await this.#reportUnschedulable(pod, errorMessage(err), 'SchedulerError', current.metadata?.resourceVersion);
  }

  /** Says in the pod's status and in an Event why it waits; only when that is news. */
  async #reportUnschedulable(
    pod: Pod,
    message: string,
    reason = 'Unschedulable',
    resourceVersion?: string,
  ): Promise<void> {
    this.#events.event(referenceTo(pod, podResource), 'Warning', 'FailedScheduling', message);
    const current = this.#ctx.stores.pods.get(objectKey(pod));
    const old = current?.status?.conditions?.find((c) => c.type === 'PodScheduled');
    const observedGeneration = pod.metadata?.generation;
    const isTold = old?.status === 'False' && old.message === message && old.observedGeneration === observedGeneration;
    if (isTold) return;
    const now = formatTime(this.#ctx.clock.now());
    const lastTransitionTime = old?.status === 'False' ? (old.lastTransitionTime ?? now) : now;
    const told = { type: 'PodScheduled', status: 'False', reason, message, lastTransitionTime };
    const condition = { ...told, ...(observedGeneration === undefined ? {} : { observedGeneration }) };
    const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
    try {
      const body = {
        metadata: { uid, ...(resourceVersion && { resourceVersion }) },
        status: { conditions: [condition] },
      };
      await this.#ctx.client.patch(
        podResource,
        { name, namespace },
        { type: 'strategic', body },
        { subresource: 'status' },
      );
    } catch (err) {
      if (!isNotFound(err)) this.#log.debug({ err, pod: objectKey(pod) }, 'condition not written');
    }
  }

  #ownerSelector(pod: Pod): Selector {
    const namespace = pod.metadata?.namespace ?? '';
    const owner = controllerOf(pod);
    if (owner?.kind === 'ReplicaSet') {
      const set = this.#ctx.stores.replicaSets.get(`${namespace}/${owner.name}`);
      if (set !== undefined) return selectorOf(set.spec?.selector);
    }
    for (const service of this.#ctx.stores.services.byIndex('namespace', namespace)) {
      const selector = service.spec?.selector;
      if (selector === undefined || Object.keys(selector).length === 0) continue;
      if (matchesLabels(selectorOfMap(selector), pod.metadata?.labels)) return selectorOfMap(selector);
    }
    return undefined;
  }
}

function takesLess(now: PodFacts, before: PodFacts): boolean {
  return [...before.requests].some(([name, amount]) => (now.requests.get(name) ?? 0n) < amount);
}

function isOurs(pod: Pod): boolean {
  return (
    (pod.spec?.schedulerName ?? SCHEDULER_NAME) === SCHEDULER_NAME &&
    pod.metadata?.deletionTimestamp === undefined &&
    (pod.spec?.schedulingGates ?? []).length === 0
  );
}

/** What of a node decides whether a pod fits: a heartbeat changes none of it. */
function offerOf({ metadata, spec, status }: Node): string {
  return JSON.stringify([metadata?.labels, spec?.taints, spec?.unschedulable, status?.allocatable ?? status?.capacity]);
}

/** What of a pod decides where it fits. */
function wishOf({ metadata, spec }: Pod): string {
  return JSON.stringify([metadata?.labels, spec]);
}

function comesBefore(a: Waiting, b: Waiting): boolean {
  const priority = (w: Waiting): number => w.facts.pod.spec?.priority ?? 0;
  return priority(a) > priority(b) || (priority(a) === priority(b) && a.queuedAt < b.queuedAt);
}

function backoffMs(attempts: number): number {
  return Math.min(BACKOFF_INITIAL_MS * 2 ** Math.max(0, attempts - 1), BACKOFF_MAX_MS);
}
