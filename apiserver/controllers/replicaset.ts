// ReplicaSets: as many pods as asked for (pkg/controller/replicaset).
import type { ReplicaSet, ReplicaSetCondition, ReplicaSetStatus } from '../../api/apps.ts';
import { matchesLabels, selectorOf } from '../../api/labels.ts';
import { controllerOf, formatTime, objectKey, objectName } from '../../api/meta.ts';
import { isTerminalPhase, type Pod } from '../../api/pod.ts';
import { pods as podResource, replicaSets } from '../../api/resources.ts';
import { isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { errorMessage } from '../../core/errors.ts';
import { type Controller, type ControllerContext, referenceTo, waitForStores } from './context.ts';
import { Expectations } from './expectations.ts';
import { OwnWrites } from './own-writes.ts';
import {
  adopt,
  isActivePod,
  isPodAvailable,
  isPodReady,
  mayAdopt,
  podFromTemplate,
  rankForDeletion,
  readyCondition,
  release,
} from './pod-control.ts';
import { Reconciler } from './reconciler.ts';

/** Pods made or removed for one ReplicaSet in one go. */
const BURST = 500;

export class ReplicaSetController implements Controller {
  readonly name = 'replicaset-controller';
  readonly #ctx: ControllerContext;
  readonly #events: EventRecorder;
  readonly #expectations: Expectations;
  readonly #written = new OwnWrites<ReplicaSet>();
  readonly #work: Reconciler;

  constructor(ctx: ControllerContext) {
    this.#ctx = ctx;
    this.#events = ctx.recorder(this.name);
    this.#expectations = new Expectations(ctx.clock);
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: this.name }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    await waitForStores([stores.replicaSets, stores.pods], signal);
    using _sets = stores.replicaSets.subscribe({
      onAdd: (rs) => this.#work.request(objectKey(rs)),
      onUpdate: (old, rs) => {
        if (isNewWork(old, rs)) this.#work.request(objectKey(rs));
      },
      onDelete: (rs) => this.#forget(objectKey(rs)),
    });
    using _pods = stores.pods.subscribe({
      onAdd: (pod) => this.#onPod(pod, 'added'),
      onUpdate: (old, pod) => this.#onPodUpdate(old, pod),
      onDelete: (pod) => this.#onPod(pod, 'deleted'),
    });
    await this.#work.run(signal);
  }

  #forget(key: string): void {
    this.#expectations.forget(key);
    this.#written.forget(key);
  }

  #onPod(pod: Pod, what: 'added' | 'deleted'): void {
    const key = this.#ownerKey(pod);
    if (key === undefined) {
      if (what === 'added' && controllerOf(pod) === undefined) this.#requestMatching(pod);
      return;
    }
    if (what === 'added') this.#expectations.observedCreation(key);
    if (what === 'deleted' || pod.metadata?.deletionTimestamp !== undefined) {
      this.#expectations.observedDeletion(key, pod.metadata?.uid ?? '');
    }
    this.#work.request(key);
  }

  #onPodUpdate(old: Pod, pod: Pod): void {
    const before = this.#ownerKey(old);
    const key = this.#ownerKey(pod);
    if (before !== undefined && before !== key) this.#work.request(before);
    if (key === undefined) {
      if (controllerOf(pod) === undefined) this.#requestMatching(pod);
      return;
    }
    if (pod.metadata?.deletionTimestamp !== undefined) this.#expectations.observedDeletion(key, pod.metadata.uid ?? '');
    this.#work.request(key);
  }

  #ownerKey(pod: Pod): string | undefined {
    const owner = controllerOf(pod);
    return owner?.kind === 'ReplicaSet' ? `${pod.metadata?.namespace ?? ''}/${owner.name}` : undefined;
  }

  #requestMatching(pod: Pod): void {
    for (const rs of this.#ctx.stores.replicaSets.byIndex('namespace', pod.metadata?.namespace ?? '')) {
      if (matchesLabels(selectorOf(rs.spec?.selector), pod.metadata?.labels)) this.#work.request(objectKey(rs));
    }
  }

  async #reconcile(key: string): Promise<void> {
    const cached = this.#ctx.stores.replicaSets.get(key);
    if (cached === undefined) {
      this.#forget(key);
      return;
    }
    const rs = this.#written.newest(cached);
    // Asked before the pods are counted: what arrives in between must not make an older count look complete.
    const mayScale = rs.metadata?.deletionTimestamp === undefined && this.#expectations.waitMs(key) === 0;
    const pods = await this.#claimPods(rs);
    const active = pods.filter(isActivePod);
    let failure: ReplicaSetCondition | undefined;
    if (mayScale) failure = await this.#scale(key, rs, active);
    const waitMs = this.#expectations.waitMs(key);
    if (waitMs > 0) this.#work.requestAfter(key, waitMs); // the event that would ask for another look may never come
    await this.#writeStatus(rs, pods, failure);
    if (failure !== undefined) throw new Error(failure.message);
  }

  /** Pods that are this set's: owned and matching. Matching orphans are adopted, owned ones that match no more let go. */
  async #claimPods(rs: ReplicaSet): Promise<Pod[]> {
    const { client, stores } = this.#ctx;
    const selector = selectorOf(rs.spec?.selector);
    const uid = rs.metadata?.uid ?? '';
    const claimed: Pod[] = [];
    const orphans: Pod[] = [];
    for (const pod of stores.pods.byIndex('namespace', rs.metadata?.namespace ?? '')) {
      const owner = controllerOf(pod);
      const matches = matchesLabels(selector, pod.metadata?.labels);
      if (owner === undefined && matches && isActivePod(pod)) orphans.push(pod);
      if (owner?.uid !== uid) continue;
      if (matches) claimed.push(pod);
      else if (rs.metadata?.deletionTimestamp === undefined) await release(client, podResource, pod, uid);
    }
    if (orphans.length === 0 || rs.metadata?.deletionTimestamp !== undefined) return claimed;
    if (!(await mayAdopt(client, replicaSets, rs))) return claimed;
    for (const pod of orphans) {
      claimed.push(await adopt(client, podResource, pod, { object: rs, type: replicaSets }));
    }
    return claimed;
  }

  async #scale(key: string, rs: ReplicaSet, active: readonly Pod[]): Promise<ReplicaSetCondition | undefined> {
    const wanted = rs.spec?.replicas ?? 1;
    if (active.length < wanted) return await this.#createPods(key, rs, Math.min(wanted - active.length, BURST));
    if (active.length > wanted) return await this.#deletePods(key, rs, active, Math.min(active.length - wanted, BURST));
    return undefined;
  }

  /** In batches of 1, 2, 4, …: a template that is refused is refused once, not five hundred times. */
  async #createPods(key: string, rs: ReplicaSet, count: number): Promise<ReplicaSetCondition | undefined> {
    this.#expectations.expectCreations(key, count);
    let left = count;
    for (let batch = 1; left > 0; batch = Math.min(batch * 2, left)) {
      const results = await Promise.allSettled(
        Array.from({ length: Math.min(batch, left) }, () => this.#createPod(rs)),
      );
      left -= results.length;
      const failed = results.filter((r) => r.status === 'rejected');
      for (const _ of failed) this.#expectations.observedCreation(key);
      if (failed.length > 0) {
        for (let i = 0; i < left; i++) this.#expectations.observedCreation(key);
        return this.#failure(rs, 'FailedCreate', `Error creating: ${errorMessage(failed[0]!.reason)}`);
      }
    }
    return undefined;
  }

  async #createPod(rs: ReplicaSet): Promise<void> {
    const pod = podFromTemplate(rs.spec?.template ?? {}, rs, replicaSets);
    const created = await this.#ctx.client.create(podResource, { namespace: rs.metadata?.namespace ?? '' }, pod);
    this.#event(rs, 'Normal', 'SuccessfulCreate', `Created pod: ${created.metadata?.name ?? ''}`);
  }

  async #deletePods(
    key: string,
    rs: ReplicaSet,
    active: readonly Pod[],
    count: number,
  ): Promise<ReplicaSetCondition | undefined> {
    const victims = rankForDeletion(active, this.#ctx.clock.now()).slice(0, count);
    this.#expectations.expectDeletions(
      key,
      victims.map((pod) => pod.metadata?.uid ?? ''),
    );
    const results = await Promise.allSettled(victims.map((pod) => this.#deletePod(key, rs, pod)));
    const failed = results.find((r) => r.status === 'rejected');
    if (failed === undefined) return undefined;
    return this.#failure(rs, 'FailedDelete', `Error deleting: ${errorMessage(failed.reason)}`);
  }

  async #deletePod(key: string, rs: ReplicaSet, pod: Pod): Promise<void> {
    const uid = pod.metadata?.uid ?? '';
    try {
      await this.#ctx.client.delete(podResource, objectName(pod), { preconditions: { uid } });
      this.#event(rs, 'Normal', 'SuccessfulDelete', `Deleted pod: ${pod.metadata?.name ?? ''}`);
    } catch (err) {
      this.#expectations.observedDeletion(key, uid);
      if (!isNotFound(err)) throw err;
    }
  }

  #failure(rs: ReplicaSet, reason: string, message: string): ReplicaSetCondition {
    this.#event(rs, 'Warning', reason, message);
    const lastTransitionTime = formatTime(this.#ctx.clock.now());
    return { type: 'ReplicaFailure', status: 'True', reason, message, lastTransitionTime };
  }

  #event(rs: ReplicaSet, type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#events.event(referenceTo(rs, replicaSets), type, reason, message);
  }

  async #writeStatus(rs: ReplicaSet, pods: readonly Pod[], failure: ReplicaSetCondition | undefined): Promise<void> {
    const nowMs = this.#ctx.clock.now();
    const status = computeReplicaSetStatus(rs, pods, failure, nowMs);
    const inMs = nextAvailableInMs(pods, rs.spec?.minReadySeconds ?? 0, nowMs);
    if (inMs !== undefined) this.#work.requestAfter(objectKey(rs), inMs); // nothing else tells that time has passed
    if (sameStatus(rs.status, status)) return;
    // resourceVersion: a status computed from an older state must not overwrite a newer one.
    const body = { metadata: { resourceVersion: rs.metadata?.resourceVersion }, status };
    const opts = { subresource: 'status' };
    this.#written.remember(await this.#ctx.client.patch(replicaSets, objectName(rs), { type: 'merge', body }, opts));
  }
}

/** Pure: what the set's status is with these pods. Counters that are zero are null, so that a merge patch removes them. */
function computeReplicaSetStatus(
  rs: ReplicaSet,
  pods: readonly Pod[],
  failure: ReplicaSetCondition | undefined,
  nowMs: number,
): ReplicaSetStatus {
  const active = pods.filter(isActivePod);
  const templateLabels = Object.entries(rs.spec?.template?.metadata?.labels ?? {});
  const minReadySeconds = rs.spec?.minReadySeconds ?? 0;
  const known = rs.status?.conditions?.find((c) => c.type === 'ReplicaFailure');
  // Messages differ from try to try (they name pods): only another reason is news.
  const kept = failure !== undefined && known?.reason === failure.reason ? known : failure;
  return {
    replicas: active.length,
    fullyLabeledReplicas: active.filter((p) => templateLabels.every(([k, v]) => p.metadata?.labels?.[k] === v)).length,
    readyReplicas: active.filter(isPodReady).length,
    availableReplicas: active.filter((p) => isPodAvailable(p, minReadySeconds, nowMs)).length,
    terminatingReplicas: pods.filter(
      (p) => p.metadata?.deletionTimestamp !== undefined && !isTerminalPhase(p.status?.phase),
    ).length,
    observedGeneration: rs.metadata?.generation ?? 0,
    conditions: [
      ...(rs.status?.conditions ?? []).filter((c) => c.type !== 'ReplicaFailure'),
      ...(kept === undefined ? [] : [kept]),
    ],
  };
}

/** ms until the next ready pod has been so for `minReadySeconds`; undefined when none waits for that. */
function nextAvailableInMs(pods: readonly Pod[], minReadySeconds: number, nowMs: number): number | undefined {
  const waits = pods
    .filter((p) => isActivePod(p) && isPodReady(p) && !isPodAvailable(p, minReadySeconds, nowMs))
    .map((p) => readyCondition(p).sinceMs + minReadySeconds * 1000 - nowMs);
  return waits.length === 0 ? undefined : Math.min(...waits);
}

/** Writes of status and annotations change nothing here; our own would undo the wait after a failure. */
function isNewWork(old: ReplicaSet, rs: ReplicaSet): boolean {
  return (
    old.metadata?.generation !== rs.metadata?.generation ||
    old.metadata?.deletionTimestamp !== rs.metadata?.deletionTimestamp
  );
}

function sameStatus(a: ReplicaSetStatus | undefined, b: ReplicaSetStatus): boolean {
  const counts = [
    'replicas',
    'fullyLabeledReplicas',
    'readyReplicas',
    'availableReplicas',
    'terminatingReplicas',
    'observedGeneration',
  ] as const;
  return (
    counts.every((name) => (a?.[name] ?? 0) === (b[name] ?? 0)) &&
    JSON.stringify(a?.conditions ?? []) === JSON.stringify(b.conditions ?? [])
  );
}
