// Deployments: one ReplicaSet per pod template, and the way from the old ones to the new one
// (pkg/controller/deployment).
import type { Deployment, DeploymentStatus, ReplicaSet } from '../../api/apps.ts';
import { matchesLabels, selectorOf } from '../../api/labels.ts';
import { controllerOf, objectKey, objectName } from '../../api/meta.ts';
import { isTerminalPhase } from '../../api/pod.ts';
import { deployments, replicaSets } from '../../api/resources.ts';
import { isAlreadyExists, isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { errorMessage } from '../../core/errors.ts';
import { type Controller, type ControllerContext, referenceTo, waitForStores } from './context.ts';
import * as math from './deployment-math.ts';
import { computeDeploymentStatus, isComplete, progressDeadlineInMs } from './deployment-status.ts';
import { OwnWrites } from './own-writes.ts';
import { adopt, controllerReference, mayAdopt, release } from './pod-control.ts';
import { Reconciler } from './reconciler.ts';

export class DeploymentController implements Controller {
  readonly name = 'deployment-controller';
  readonly #ctx: ControllerContext;
  readonly #events: EventRecorder;
  readonly #work: Reconciler;
  readonly #written = new OwnWrites<Deployment>();
  readonly #writtenSets = new OwnWrites<ReplicaSet>();

  constructor(ctx: ControllerContext) {
    this.#ctx = ctx;
    this.#events = ctx.recorder(this.name);
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: this.name }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    await waitForStores([stores.deployments, stores.replicaSets, stores.pods], signal);
    using _deployments = stores.deployments.subscribe({
      onAdd: (d) => this.#work.request(objectKey(d)),
      onUpdate: (_old, d) => this.#work.request(objectKey(d)),
      onDelete: (d) => this.#written.forget(objectKey(d)),
    });
    using _sets = stores.replicaSets.subscribe({
      onAdd: (rs) => this.#onSet(rs),
      onUpdate: (_old, rs) => this.#onSet(rs),
      onDelete: (rs) => {
        this.#writtenSets.forget(objectKey(rs));
        this.#onSet(rs);
      },
    });
    using _pods = stores.pods.subscribe({
      // Recreate waits for the last old pod to go.
      onDelete: (pod) => {
        const set = this.#ctx.stores.replicaSets.get(
          `${pod.metadata?.namespace ?? ''}/${controllerOf(pod)?.name ?? ''}`,
        );
        if (set !== undefined) this.#onSet(set);
      },
    });
    await this.#work.run(signal);
  }

  #onSet(rs: ReplicaSet): void {
    const owner = controllerOf(rs);
    const namespace = rs.metadata?.namespace ?? '';
    if (owner?.kind === 'Deployment') this.#work.request(`${namespace}/${owner.name}`);
    if (owner !== undefined) return;
    for (const d of this.#ctx.stores.deployments.byIndex('namespace', namespace)) {
      if (matchesLabels(selectorOf(d.spec?.selector), rs.metadata?.labels)) this.#work.request(objectKey(d));
    }
  }

  async #reconcile(key: string): Promise<void> {
    const cached = this.#ctx.stores.deployments.get(key);
    if (cached === undefined) return;
    const deployment = this.#written.newest(cached);
    const sets = await this.#claimSets(deployment);
    const newSet = math.findNewSet(deployment, sets);
    if (deployment.metadata?.deletionTimestamp !== undefined) return await this.#writeStatus(deployment, sets, newSet);
    if (deployment.spec?.paused || math.isScaling(deployment, sets)) {
      return await this.#scaleOnly(deployment, sets, newSet);
    }
    await this.#roll(deployment, sets, newSet);
  }

  async #roll(deployment: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet | undefined): Promise<void> {
    let old: readonly ReplicaSet[] = sets.filter((rs) => rs !== newSet);
    if (deployment.spec?.strategy?.type === 'Recreate') {
      const cleared = await this.#clearOld(deployment, old);
      old = cleared.sets;
      if (!cleared.isClear) {
        await this.#writeStatus(deployment, newSet === undefined ? old : [...old, newSet], newSet);
        return;
      }
    }
    const current = await this.#ensureNewSet(deployment, old, newSet);
    const marked = await this.#markRevision(deployment, current);
    const up = math.newSetReplicas(deployment, [...old, current], current);
    const [grown] = await this.#scaleSets(deployment, [current], new Map([[current.metadata?.name ?? '', up]]));
    const shrunk = await this.#scaleSets(deployment, old, math.oldSetReplicas(deployment, old, grown!));
    await this.#writeStatus(marked, [...shrunk, grown!], grown, newSet === undefined);
  }

  /** Sets that are this Deployment's: orphans that it selects are adopted, owned ones that it selects no more let go. */
  async #claimSets(deployment: Deployment): Promise<ReplicaSet[]> {
    const { client, stores } = this.#ctx;
    const selector = selectorOf(deployment.spec?.selector);
    const uid = deployment.metadata?.uid ?? '';
    const isLeaving = deployment.metadata?.deletionTimestamp !== undefined;
    const claimed: ReplicaSet[] = [];
    const orphans: ReplicaSet[] = [];
    for (const cached of stores.replicaSets.byIndex('namespace', deployment.metadata?.namespace ?? '')) {
      const rs = this.#writtenSets.newest(cached);
      const owner = controllerOf(rs);
      const matches = matchesLabels(selector, rs.metadata?.labels);
      if (owner === undefined && matches && rs.metadata?.deletionTimestamp === undefined) orphans.push(rs);
      if (owner?.uid !== uid) continue;
      if (matches) claimed.push(rs);
      else if (!isLeaving) await release(client, replicaSets, rs, uid);
    }
    if (orphans.length === 0 || isLeaving || !(await mayAdopt(client, deployments, deployment))) return claimed;
    for (const rs of orphans) {
      claimed.push(await adopt(client, replicaSets, rs, { object: deployment, type: deployments }));
    }
    return claimed;
  }

  /** Paused, or only the wanted number changed: no new set, the replicas are shared out over what is there. */
  async #scaleOnly(deployment: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet | undefined): Promise<void> {
    const active = sets.filter((rs) => math.replicasOf(rs) > 0);
    const newest = [...sets].sort((a, b) => math.revisionOf(b) - math.revisionOf(a))[0];
    const only = active.length <= 1 ? (active[0] ?? newSet ?? newest) : undefined;
    const next =
      only === undefined
        ? math.proportionalReplicas(deployment, sets)
        : new Map([[only.metadata?.name ?? '', math.replicasOf(deployment)]]);
    const scaled = await this.#scaleSets(deployment, sets, next);
    await this.#writeStatus(
      deployment,
      scaled,
      newSet && scaled.find((rs) => rs.metadata?.uid === newSet.metadata?.uid),
    );
  }

  /** The set of the current template, made or brought up to date with annotations and revision. */
  async #ensureNewSet(
    deployment: Deployment,
    old: readonly ReplicaSet[],
    existing: ReplicaSet | undefined,
  ): Promise<ReplicaSet> {
    const newest = Math.max(0, ...old.map(math.revisionOf));
    return existing === undefined
      ? await this.#createSet(deployment, old, String(newest + 1))
      : await this.#refreshSet(deployment, existing, newest);
  }

  /** Copies the set's revision to the Deployment. Returns the Deployment as it is stored now. */
  async #markRevision(deployment: Deployment, set: ReplicaSet): Promise<Deployment> {
    const revision = set.metadata?.annotations?.[math.REVISION];
    if (revision === undefined || deployment.metadata?.annotations?.[math.REVISION] === revision) return deployment;
    const body = { metadata: { annotations: { [math.REVISION]: revision } } };
    return this.#written.remember(
      await this.#ctx.client.patch(deployments, objectName(deployment), { type: 'merge', body }),
    );
  }

  async #createSet(deployment: Deployment, sets: readonly ReplicaSet[], revision: string): Promise<ReplicaSet> {
    const { metadata = {}, spec } = deployment;
    const hash = math.templateHash(spec?.template, deployment.status?.collisionCount);
    const labels = { ...spec?.template.metadata?.labels, [math.TEMPLATE_HASH]: hash };
    const draft: ReplicaSet = {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: {
        name: `${metadata.name ?? ''}-${hash}`,
        namespace: metadata.namespace ?? '',
        labels,
        annotations: { ...math.copiedAnnotations(deployment), [math.REVISION]: revision, ...this.#sizes(deployment) },
        ownerReferences: [controllerReference(deployment, deployments)],
      },
      spec: {
        replicas: 0,
        minReadySeconds: spec?.minReadySeconds ?? 0,
        selector: {
          ...spec?.selector,
          matchLabels: { ...spec?.selector.matchLabels, [math.TEMPLATE_HASH]: hash },
        },
        template: { ...spec?.template, metadata: { ...spec?.template.metadata, labels } },
      },
    };
    const replicas = math.newSetReplicas(deployment, [...sets, draft], draft);
    try {
      const created = await this.#ctx.client.create(
        replicaSets,
        { namespace: metadata.namespace ?? '' },
        { ...draft, spec: { ...draft.spec!, replicas } },
      );
      if (replicas > 0) this.#scaled(deployment, created, 0, replicas);
      return created;
    } catch (err) {
      if (isAlreadyExists(err)) return await this.#resolveCollision(deployment, draft);
      const message = `Failed to create new replica set "${draft.metadata?.name ?? ''}": ${errorMessage(err)}`;
      this.#events.event(referenceTo(deployment, deployments), 'Warning', 'ReplicaSetCreateError', message);
      throw err;
    }
  }

  /** The name is taken: by our own set that the cache does not show yet, or by another template with the same hash. */
  async #resolveCollision(deployment: Deployment, draft: ReplicaSet): Promise<ReplicaSet> {
    const taken = await this.#ctx.client.get(replicaSets, objectName(draft));
    const ours = controllerOf(taken)?.uid === deployment.metadata?.uid;
    if (ours && math.sameTemplate(taken.spec?.template, deployment.spec?.template)) return taken;
    const collisionCount = (deployment.status?.collisionCount ?? 0) + 1;
    const body = { metadata: { resourceVersion: deployment.metadata?.resourceVersion }, status: { collisionCount } };
    await this.#ctx.client.patch(
      deployments,
      objectName(deployment),
      { type: 'merge', body },
      { subresource: 'status' },
    );
    throw new Error(
      `ReplicaSet name ${draft.metadata?.name ?? ''} is taken; trying with collision count ${collisionCount}`,
    );
  }

  /** A set that becomes current again (rollback) gets the next revision; its former one is remembered. */
  async #refreshSet(deployment: Deployment, set: ReplicaSet, newestOther: number): Promise<ReplicaSet> {
    const annotations: Record<string, string> = { ...math.copiedAnnotations(deployment), ...this.#sizes(deployment) };
    const revision = math.revisionOf(set);
    if (revision <= newestOther) {
      annotations[math.REVISION] = String(newestOther + 1);
      const history = set.metadata?.annotations?.[math.REVISION_HISTORY];
      if (revision > 0) annotations[math.REVISION_HISTORY] = history ? `${history},${revision}` : String(revision);
    }
    const minReadySeconds = deployment.spec?.minReadySeconds ?? 0;
    const current = set.metadata?.annotations ?? {};
    const changed =
      Object.entries(annotations).some(([k, v]) => current[k] !== v) ||
      (set.spec?.minReadySeconds ?? 0) !== minReadySeconds;
    if (!changed) return set;
    const body = { metadata: { annotations }, spec: { minReadySeconds } };
    return this.#writtenSets.remember(
      await this.#ctx.client.patch(replicaSets, objectName(set), { type: 'merge', body }),
    );
  }

  #sizes(deployment: Deployment): Record<string, string> {
    const replicas = math.replicasOf(deployment);
    return {
      [math.DESIRED_REPLICAS]: String(replicas),
      [math.MAX_REPLICAS]: String(replicas + math.rolloutLimits(deployment.spec).surge),
    };
  }

  /** Pods of two templates never run side by side: the new set is made or grown after the last old pod has gone. */
  async #clearOld(
    deployment: Deployment,
    old: readonly ReplicaSet[],
  ): Promise<{ readonly sets: ReplicaSet[]; readonly isClear: boolean }> {
    const zero = new Map(old.map((rs) => [rs.metadata?.name ?? '', 0]));
    const sets = await this.#scaleSets(deployment, old, zero);
    const uids = new Set(old.map((rs) => rs.metadata?.uid));
    const oldPodLives = this.#ctx.stores.pods
      .byIndex('namespace', deployment.metadata?.namespace ?? '')
      .some((pod) => uids.has(controllerOf(pod)?.uid) && !isTerminalPhase(pod.status?.phase));
    const hadReplicas = old.some((rs) => math.replicasOf(rs) > 0 || (rs.status?.replicas ?? 0) > 0);
    return { sets, isClear: !oldPodLives && !hadReplicas };
  }

  async #scaleSets(
    deployment: Deployment,
    sets: readonly ReplicaSet[],
    replicasByName: ReadonlyMap<string, number>,
  ): Promise<ReplicaSet[]> {
    const sizes = this.#sizes(deployment);
    const result: ReplicaSet[] = [];
    for (const rs of sets) {
      const before = math.replicasOf(rs);
      const replicas = replicasByName.get(rs.metadata?.name ?? '') ?? before;
      const annotationsDiffer =
        replicas > 0 && Object.entries(sizes).some(([k, v]) => rs.metadata?.annotations?.[k] !== v);
      if (replicas === before && !annotationsDiffer) {
        result.push(rs);
        continue;
      }
      const body = {
        metadata: { resourceVersion: rs.metadata?.resourceVersion, annotations: sizes },
        spec: { replicas },
      };
      const scaled = await this.#ctx.client.patch(replicaSets, objectName(rs), { type: 'merge', body });
      result.push(this.#writtenSets.remember(scaled));
      if (replicas !== before) this.#scaled(deployment, rs, before, replicas);
    }
    return result;
  }

  #scaled(deployment: Deployment, rs: ReplicaSet, from: number, to: number): void {
    const message = `Scaled ${to > from ? 'up' : 'down'} replica set ${rs.metadata?.name ?? ''} from ${from} to ${to}`;
    this.#events.event(referenceTo(deployment, deployments), 'Normal', 'ScalingReplicaSet', message);
  }

  async #writeStatus(
    deployment: Deployment,
    sets: readonly ReplicaSet[],
    newSet: ReplicaSet | undefined,
    created = false,
  ): Promise<void> {
    const status = computeDeploymentStatus(deployment, sets, { newSet, created }, this.#ctx.clock.now());
    if (isComplete(deployment, status)) await this.#removeOldSets(deployment, sets, newSet);
    const deadlineInMs = progressDeadlineInMs(deployment, status, this.#ctx.clock.now());
    if (deadlineInMs !== undefined) this.#work.requestAfter(objectKey(deployment), deadlineInMs);
    if (sameStatus(deployment.status, status)) return;
    const body = { metadata: { resourceVersion: deployment.metadata?.resourceVersion }, status };
    const opts = { subresource: 'status' };
    const name = objectName(deployment);
    this.#written.remember(await this.#ctx.client.patch(deployments, name, { type: 'merge', body }, opts));
  }

  async #removeOldSets(
    deployment: Deployment,
    sets: readonly ReplicaSet[],
    newSet: ReplicaSet | undefined,
  ): Promise<void> {
    const limit = deployment.spec?.revisionHistoryLimit ?? 10;
    const old = sets
      .filter((rs) => rs !== newSet && rs.metadata?.deletionTimestamp === undefined)
      .filter((rs) => math.replicasOf(rs) === 0 && (rs.status?.replicas ?? 0) === 0)
      .sort((a, b) => math.revisionOf(a) - math.revisionOf(b));
    for (const rs of old.slice(0, Math.max(0, old.length - limit))) {
      const preconditions = { uid: rs.metadata?.uid ?? '' };
      try {
        await this.#ctx.client.delete(replicaSets, objectName(rs), { preconditions, propagationPolicy: 'Background' });
      } catch (err) {
        if (!isNotFound(err)) throw err; // the cache was late
      }
    }
  }
}

function sameStatus(a: DeploymentStatus | undefined, b: DeploymentStatus): boolean {
  const { conditions: conditionsA = [], ...countsA } = a ?? {};
  const { conditions: conditionsB = [], ...countsB } = b;
  const names = Object.keys({ ...countsA, ...countsB }) as (keyof typeof countsB)[];
  return (
    names.every((name) => (countsA[name] ?? 0) === (countsB[name] ?? 0)) &&
    JSON.stringify(conditionsA) === JSON.stringify(conditionsB)
  );
}
