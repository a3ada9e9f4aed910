// PodDisruptionBudgets: keeps in their status how many pods may be evicted now (pkg/controller/disruption).
import { isDeepStrictEqual } from 'node:util';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import { matchesLabels, selectorOf } from '../../api/labels.ts';
import { controllerOf, objectKey, objectName } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import { podDisruptionBudgets } from '../../api/resources.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { type Controller, type ControllerContext, referenceTo, waitForStores } from './context.ts';
import { budgetVerdict, needsScale } from './disruption-math.ts';
import { OwnWrites } from './own-writes.ts';
import { Reconciler } from './reconciler.ts';

export class DisruptionController implements Controller {
  readonly name = 'controllermanager'; // upstream's name for itself in Events
  readonly #ctx: ControllerContext;
  readonly #events: EventRecorder;
  readonly #written = new OwnWrites<PodDisruptionBudget>();
  readonly #work: Reconciler;

  constructor(ctx: ControllerContext) {
    this.#ctx = ctx;
    this.#events = ctx.recorder(this.name);
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: 'disruption-controller' }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    await waitForStores([stores.podDisruptionBudgets, stores.pods, stores.replicaSets, stores.deployments], signal);
    using _budgets = stores.podDisruptionBudgets.subscribe({
      onAdd: (budget) => this.#work.request(objectKey(budget)),
      onUpdate: (_old, budget) => this.#work.request(objectKey(budget)),
      onDelete: (budget) => this.#written.forget(objectKey(budget)),
    });
    using _pods = stores.pods.subscribe({
      onAdd: (pod) => this.#requestFor(pod),
      onUpdate: (old, pod) => {
        this.#requestFor(pod);
        if (!isDeepStrictEqual(old.metadata?.labels, pod.metadata?.labels)) this.#requestFor(old);
      },
      onDelete: (pod) => this.#requestFor(pod),
    });
    const onScale = (object: { metadata?: { namespace?: string } }) =>
      this.#requestAll(object.metadata?.namespace ?? '');
    using _sets = stores.replicaSets.subscribe({ onUpdate: (old, set) => void (isScaled(old, set) && onScale(set)) });
    using _deployments = stores.deployments.subscribe({
      onUpdate: (old, deployment) => void (isScaled(old, deployment) && onScale(deployment)),
    });
    await this.#work.run(signal);
  }

  #budgetsIn(namespace: string): readonly PodDisruptionBudget[] {
    return this.#ctx.stores.podDisruptionBudgets.byIndex('namespace', namespace);
  }

  #requestFor(pod: Pod): void {
    for (const budget of this.#budgetsIn(pod.metadata?.namespace ?? '')) {
      if (selects(budget, pod)) this.#work.request(objectKey(budget));
    }
  }

  #requestAll(namespace: string): void {
    for (const budget of this.#budgetsIn(namespace)) {
      if (needsScale(budget)) this.#work.request(objectKey(budget));
    }
  }

  async #reconcile(key: string): Promise<void> {
    const { stores, client, clock } = this.#ctx;
    const cached = stores.podDisruptionBudgets.get(key);
    if (cached === undefined || cached.metadata?.deletionTimestamp !== undefined) return;
    const budget = this.#written.newest(cached);
    const all = stores.pods.byIndex('namespace', budget.metadata?.namespace ?? '');
    const pods = all.filter((pod) => selects(budget, pod));
    if (pods.length === 0) this.#tell(budget, 'Normal', 'NoPods', 'No matching pods found');
    const scale = needsScale(budget) ? this.#scaleOf(pods) : 0;
    const nowMs = clock.now();
    const { status, recheckAtMs } = budgetVerdict({ budget, pods, scale, nowMs });
    if (recheckAtMs !== undefined) this.#work.requestAfter(key, recheckAtMs - nowMs);
    if (isDeepStrictEqual(status, budget.status)) return;
    // With its version: an eviction that spent of the budget meanwhile must not be forgotten.
    const next = { ...budget, status };
    const opts = { subresource: 'status' };
    this.#written.remember(await client.update(podDisruptionBudgets, objectName(budget), next, opts));
  }

  /** Pods that the owners of these are to have in all. */
  #scaleOf(pods: readonly Pod[]): number | { readonly fault: string } {
    const { stores } = this.#ctx;
    const scales = new Map<string, number>();
    for (const pod of pods) {
      const owner = controllerOf(pod);
      if (owner === undefined) continue; // nobody replaces it: it counts for nothing
      const namespace = pod.metadata?.namespace ?? '';
      const set = owner.kind === 'ReplicaSet' ? stores.replicaSets.get(`${namespace}/${owner.name}`) : undefined;
      if (set === undefined || set.metadata?.uid !== owner.uid) {
        return { fault: `found no controllers for pod "${pod.metadata?.name ?? ''}"` };
      }
      const above = controllerOf(set);
      const deployment =
        above?.kind === 'Deployment' ? stores.deployments.get(`${namespace}/${above.name}`) : undefined;
      const { metadata, spec } = deployment ?? set;
      scales.set(metadata?.uid ?? '', spec?.replicas ?? 1);
    }
    return [...scales.values()].reduce((sum, n) => sum + n, 0);
  }

  #tell(budget: PodDisruptionBudget, type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#events.event(referenceTo(budget, podDisruptionBudgets), type, reason, message);
  }
}

function selects(budget: PodDisruptionBudget, pod: Pod): boolean {
  const inNamespace = pod.metadata?.namespace === budget.metadata?.namespace;
  return inNamespace && matchesLabels(selectorOf(budget.spec?.selector), pod.metadata?.labels);
}

function isScaled(old: { spec?: { replicas?: number } }, now: { spec?: { replicas?: number } }): boolean {
  return old.spec?.replicas !== now.spec?.replicas;
}
