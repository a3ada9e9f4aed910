// Eviction: a DELETE that respects disruption budgets. After pkg/registry/core/pod/storage/eviction.go.
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import { matchesLabels, selectorOf } from '../api/labels.ts';
import { formatTime, type KubeObject } from '../api/meta.ts';
import { isTerminalPhase, type Pod, type PodCondition } from '../api/pod.ts';
import { podDisruptionBudgets, pods } from '../api/resources.ts';
import type { Clock } from '../core/clock.ts';
import type { AnyObject } from './registry/definition.ts';
import { checkPreconditions, type DeleteRequest } from './registry/deletion.ts';
import type { Registry } from './registry/registry.ts';
import type { WriteContext } from './registry/resource-store.ts';
import { badRequest, StatusError, tooManyRequests } from './status-error.ts';
import type { ObjectSubresource } from './subresource.ts';

const PODS = { group: '', resource: 'pods' };
const EVICTION_KIND = { group: 'policy', version: 'v1', kind: 'Eviction' } as const;
/** Seconds a client should wait for a budget's controller. */
const RETRY_AFTER_S = 10;

interface Eviction extends KubeObject {
  deleteOptions?: DeleteRequest & { readonly dryRun?: readonly string[] };
}

export function evictionSubresource(registry: Registry, clock: Clock): ObjectSubresource {
  return {
    type: 'object',
    group: '',
    version: 'v1',
    resource: 'pods',
    subresource: 'eviction',
    verbs: ['create'],
    responseKind: EVICTION_KIND,
    async create(body, { info, dryRun, warn }) {
      const eviction = body as Eviction;
      if (eviction.metadata?.name && eviction.metadata.name !== info.name) {
        throw badRequest(
          `name in URL does not match name in Eviction object: ${info.name} != ${eviction.metadata.name}`,
        );
      }
      const tried = dryRun || eviction.deleteOptions?.dryRun?.includes('All') === true;
      await evict(registry, clock, info.namespace, info.name, eviction, { user: info.user, dryRun: tried, warn });
      const object = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 } as KubeObject;
      return { code: 201, object };
    },
  };
}

async function evict(
  registry: Registry,
  clock: Clock,
  namespace: string,
  name: string,
  eviction: Eviction,
  context: WriteContext,
): Promise<void> {
  const { resource } = registry.endpoint(pods);
  const pod = resource.get(namespace, name).object as Pod;
  const phase = pod.status?.phase;
  const unprotected = isTerminalPhase(phase) || phase === 'Pending' || pod.metadata?.deletionTimestamp !== undefined;
  if (!unprotected) await spendBudget(registry, clock, pod, context);
  const request = eviction.deleteOptions ?? {};
  const mark = (current: AnyObject) => {
    checkPreconditions(PODS, name, current.metadata ?? {}, request);
    return withDisruptionTarget(withoutVersion(current) as Pod, clock.now()) as AnyObject;
  };
  const { item } = await resource.update(namespace, name, 'status', mark, context);
  // The mark made another version of the pod than the one that was asked for.
  await resource.delete(namespace, name, context.dryRun ? request : ofVersion(request, item.revision), context);
}

function ofVersion(request: DeleteRequest, revision: number): DeleteRequest {
  const { preconditions } = request;
  if (preconditions?.resourceVersion === undefined) return request;
  return { ...request, preconditions: { ...preconditions, resourceVersion: String(revision) } };
}

async function spendBudget(registry: Registry, clock: Clock, pod: Pod, context: WriteContext): Promise<void> {
  const namespace = pod.metadata?.namespace ?? '';
  const budgets = registry
    .list<PodDisruptionBudget>(podDisruptionBudgets, namespace)
    .filter((b) => matchesLabels(selectorOf(b.spec?.selector), pod.metadata?.labels));
  const [budget] = budgets;
  if (budget === undefined) return;
  if (budgets.length > 1) {
    const message = 'This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.';
    throw new StatusError(500, 'InternalError', message);
  }
  const ready = pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;
  if (!ready && mayEvictUnready(budget)) return;
  const { resource } = registry.endpoint(podDisruptionBudgets);
  const spend = (current: AnyObject) =>
    spent(withoutVersion(current) as PodDisruptionBudget, pod, clock.now()) as AnyObject;
  await resource.update(namespace, budget.metadata?.name ?? '', 'status', spend, context);
}

/** So that a writer who comes between is no conflict: the change is made again on what that one left. */
function withoutVersion(object: AnyObject): AnyObject {
  const { resourceVersion: _, ...metadata } = object.metadata ?? {};
  return { ...object, metadata };
}

function mayEvictUnready(budget: PodDisruptionBudget): boolean {
  const { currentHealthy = 0, desiredHealthy = 0 } = budget.status ?? {};
  const policy = (budget.spec as { unhealthyPodEvictionPolicy?: string } | undefined)?.unhealthyPodEvictionPolicy;
  return policy === 'AlwaysAllow' || (currentHealthy >= desiredHealthy && desiredHealthy > 0);
}

/** The budget with one disruption less. @throws {StatusError} 429 */
function spent(budget: PodDisruptionBudget, pod: Pod, nowMs: number): PodDisruptionBudget {
  const name = budget.metadata?.name ?? '';
  const { status } = budget;
  const refuse = (cause: string, retryAfterS: number) =>
    tooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retryAfterS, [
      { reason: 'DisruptionBudget', message: cause },
    ]);
  if ((status?.observedGeneration ?? 0) < (budget.metadata?.generation ?? 0)) {
    throw refuse(`The disruption budget ${name} is still being processed by the server.`, RETRY_AFTER_S);
  }
  if (status === undefined || status.disruptionsAllowed <= 0) {
    const { desiredHealthy = 0, currentHealthy = 0 } = status ?? {};
    throw refuse(
      `The disruption budget ${name} needs ${desiredHealthy} healthy pods and has ${currentHealthy} currently`,
      0,
    );
  }
  const disruptedPods = { ...status.disruptedPods, [pod.metadata?.name ?? '']: formatTime(nowMs) };
  return { ...budget, status: { ...status, disruptionsAllowed: status.disruptionsAllowed - 1, disruptedPods } };
}

function withDisruptionTarget(pod: Pod, nowMs: number): Pod {
  const condition: PodCondition = {
    type: 'DisruptionTarget',
    status: 'True',
    reason: 'EvictionByEvictionAPI',
    message: 'Eviction API: evicting',
    lastTransitionTime: formatTime(nowMs),
  };
  const others = (pod.status?.conditions ?? []).filter((c) => c.type !== condition.type);
  return { ...pod, status: { ...pod.status, conditions: [...others, condition] } };
}
