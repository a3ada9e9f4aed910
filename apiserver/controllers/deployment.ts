// Deployments: one ReplicaSet per pod template, and the way from the old ones to the new one
// (pkg/controller/deployment).
import type { Deployment, DeploymentStatus, ReplicaSet } from '../../api/apps.ts';
import { matchesLabels, selectorOf } from '../../api/labels.ts';
import { controllerOf, objectKey } from '../../api/meta.ts';
import { isTerminalPhase } from '../../api/pod.ts';
import { deployments, replicaSets } from '../../api/resources.ts';
import { isAlreadyExists } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { errorMessage } from '../../core/errors.ts';
import { type Controller, type ControllerContext, referenceTo, waitForStores } from './context.ts';
import * as math from './deployment-math.ts';
import { computeDeploymentStatus, isComplete } from './deployment-status.ts';
import { controllerReference } from './pod-control.ts';
import { Reconciler } from './reconciler.ts';

export class DeploymentController implements Controller {
  readonly name = 'deployment-controller';
  readonly #ctx: ControllerContext;
  readonly #events: EventRecorder;
  readonly #work: Reconciler;

  constructor(ctx: ControllerContext) {
    this.#ctx = ctx;
    this.#events = ctx.recorder(this.name);
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: this.name }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    await waitForStores([stores.deployments as never, stores.replicaSets as never, stores.pods as never], signal);
    using _deployments = stores.deployments.subscribe({
      onAdd: (d) => this.#work.request(objectKey(d)),
      onUpdate: (_old, d) => this.#work.request(objectKey(d)),
    });
    using _sets = stores.replicaSets.subscribe({
      onAdd: (rs) => this.#onSet(rs),
      onUpdate: (_old, rs) => this.#onSet(rs),
      onDelete: (rs) => this.#onSet(rs),
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
    const deployment = this.#ctx.stores.deployments.get(key);
    if (deployment === undefined) return;
    const sets = await this.#claimSets(deployment);
    const newSet = math.findNewSet(deployment, sets);
    if (deployment.metadata?.deletionTimestamp !== undefined) return await this.#writeStatus(deployment, sets, newSet);
    if (deployment.spec?.paused || math.isScaling(deployment, sets)) {
      return await this.#scaleOnly(deployment, sets, newSet);
    }
    const current = await this.#ensureNewSet(deployment, sets, newSet);
    const marked = await this.#markRevision(deployment, current);
    const all = sets.some((rs) => rs.metadata?.uid === current.metadata?.uid)
      ? sets.map((rs) => (rs.metadata?.uid === current.metadata?.uid ? current : rs))
      : [...sets, current];
    const rolled = await this.#roll(deployment, all, current);
    const rolledNew = rolled.find((rs) => rs.metadata?.uid === current.metadata?.uid);
    await this.#writeStatus(marked, rolled, rolledNew, newSet === undefined);
  }

  async #claimSets(deployment: Deployment): Promise<ReplicaSet[]> {
    const selector = selectorOf(deployment.spec?.selector);
    const uid = deployment.metadata?.uid ?? '';
    const claimed: ReplicaSet[] = [];
    for (const rs of this.#ctx.stores.replicaSets.byIndex('namespace', deployment.metadata?.namespace ?? '')) {
      const owner = controllerOf(rs);
      if (owner?.uid === uid) claimed.push(rs);
      else if (
        owner === undefined &&
        matchesLabels(selector, rs.metadata?.labels) &&
        rs.metadata?.deletionTimestamp === undefined
      ) {
        const ownerReferences = [controllerReference(deployment, deployments)];
        const body = { metadata: { uid: rs.metadata?.uid, ownerReferences } };
        claimed.push(await this.#ctx.client.patch(replicaSets, nameOf(rs), { type: 'strategic', body }));
      }
    }
    return claimed;
  }

  /** Paused, or only the wanted number changed: no new set, the replicas are shared out over what is there. */
  async #scaleOnly(deployment: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet | undefined): Promise<void> {
    const active = sets.filter((rs) => math.replicasOf(rs) > 0);
    const only = active.length <= 1 ? (active[0] ?? newSet) : undefined;
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
    sets: readonly ReplicaSet[],
    existing: ReplicaSet | undefined,
  ): Promise<ReplicaSet> {
    const others = sets.filter((rs) => rs !== existing);
    const newest = Math.max(0, ...others.map(math.revisionOf));
    return existing === undefined
      ? await this.#createSet(deployment, sets, String(newest + 1))
      : await this.#refreshSet(deployment, existing, newest);
  }

  /** Copies the set's revision to the Deployment. Returns the Deployment as it is stored now. */
  async #markRevision(deployment: Deployment, set: ReplicaSet): Promise<Deployment> {
    const revision = set.metadata?.annotations?.[math.REVISION];
    if (revision === undefined || deployment.metadata?.annotations?.[math.REVISION] === revision) return deployment;
    const body = { metadata: { annotations: { [math.REVISION]: revision } } };
    return await this.#ctx.client.patch(deployments, nameOf(deployment), { type: 'merge', body });
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
    const taken = await this.#ctx.client.get(replicaSets, nameOf(draft));
    const ours = controllerOf(taken)?.uid === deployment.metadata?.uid;
    if (ours && math.sameTemplate(taken.spec?.template, deployment.spec?.template)) return taken;
    const collisionCount = (deployment.status?.collisionCount ?? 0) + 1;
    const body = { metadata: { resourceVersion: deployment.metadata?.resourceVersion }, status: { collisionCount } };
    await this.#ctx.client.patch(deployments, nameOf(deployment), { type: 'merge', body }, { subresource: 'status' });
    throw new Error(
      `ReplicaSet name ${draft.metadata?.name ?? ''} is taken; trying with collision count ${collisionCount}`,
    );
  }

  /** A set that becomes current again (rollback) gets the next revision; its former one is remembered. */
  async #refreshSet(deployment: Deployment, set: ReplicaSet, newestOther: number): Promise<ReplicaSet> {
    const annotations: Record<string, string> = { ...math.copiedAnnotations(deployment), ...this.#sizes(deployment) };
    const revision = math.revisionOf(set);
    if (revision < newestOther) {
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
    return await this.#ctx.client.patch(replicaSets, nameOf(set), { type: 'merge', body });
  }

  #sizes(deployment: Deployment): Record<string, string> {
    const replicas = math.replicasOf(deployment);
    return {
      [math.DESIRED_REPLICAS]: String(replicas),
      [math.MAX_REPLICAS]: String(replicas + math.rolloutLimits(deployment.spec).surge),
    };
  }

  async #roll(deployment: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet): Promise<ReplicaSet[]> {
    const old = sets.filter((rs) => rs !== newSet);
    if (deployment.spec?.strategy?.type === 'Recreate') return await this.#recreate(deployment, old, newSet);
    const up = math.newSetReplicas(deployment, sets, newSet);
    const [grown] = await this.#scaleSets(deployment, [newSet], new Map([[newSet.metadata?.name ?? '', up]]));
    const down = math.oldSetReplicas(deployment, old, grown!);
    const shrunk = await this.#scaleSets(deployment, old, down);
    return [...shrunk, grown!];
  }

  async #recreate(deployment: Deployment, old: readonly ReplicaSet[], newSet: ReplicaSet): Promise<ReplicaSet[]> {
    const zero = new Map(old.map((rs) => [rs.metadata?.name ?? '', 0]));
    const shrunk = await this.#scaleSets(deployment, old, zero);
    const oldUids = new Set(old.map((rs) => rs.metadata?.uid));
    const oldPodLives = this.#ctx.stores.pods
      .byIndex('namespace', deployment.metadata?.namespace ?? '')
      .some((pod) => oldUids.has(controllerOf(pod)?.uid) && !isTerminalPhase(pod.status?.phase));
    if (oldPodLives) return [...shrunk, newSet];
    const all = new Map([[newSet.metadata?.name ?? '', math.replicasOf(deployment)]]);
    return [...shrunk, ...(await this.#scaleSets(deployment, [newSet], all))];
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
      result.push(await this.#ctx.client.patch(replicaSets, nameOf(rs), { type: 'merge', body }));
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
    const deadline = deployment.spec?.progressDeadlineSeconds;
    if (isComplete(deployment, status)) await this.#removeOldSets(deployment, sets, newSet);
    else if (deadline !== undefined) this.#work.requestAfter(objectKey(deployment), deadline * 1000 + 1000);
    if (sameStatus(deployment.status, status)) return;
    const body = { metadata: { resourceVersion: deployment.metadata?.resourceVersion }, status };
    await this.#ctx.client.patch(deployments, nameOf(deployment), { type: 'merge', body }, { subresource: 'status' });
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
      const uid = rs.metadata?.uid ?? '';
      await this.#ctx.client.delete(replicaSets, nameOf(rs), {
        preconditions: { uid },
        propagationPolicy: 'Background',
      });
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

function nameOf(object: { metadata?: { name?: string; namespace?: string } }): { name: string; namespace: string } {
  return { name: object.metadata?.name ?? '', namespace: object.metadata?.namespace ?? '' };
}
