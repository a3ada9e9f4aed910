// Pods as controllers see them: which are alive, ready and available, and what to make and remove
// (pkg/controller/controller_utils.go).
import type { PodTemplateSpec } from '../../api/apps.ts';
import { type KubeObject, objectName } from '../../api/meta.ts';
import { isTerminalPhase, type Pod } from '../../api/pod.ts';
import { apiVersionOf, type ResourceType } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isNotFound } from '../../client/errors.ts';

export function isActivePod(pod: Pod): boolean {
  return !isTerminalPhase(pod.status?.phase) && pod.metadata?.deletionTimestamp === undefined;
}

export function readyCondition(pod: Pod): { ready: boolean; sinceMs: number } {
  const condition = pod.status?.conditions?.find((c) => c.type === 'Ready');
  return { ready: condition?.status === 'True', sinceMs: Date.parse(condition?.lastTransitionTime ?? '') || 0 };
}

export function isPodReady(pod: Pod): boolean {
  return readyCondition(pod).ready;
}

/** Ready for at least `minReadySeconds` at wall time `nowMs`. */
export function isPodAvailable(pod: Pod, minReadySeconds: number, nowMs: number): boolean {
  const { ready, sinceMs } = readyCondition(pod);
  return ready && (minReadySeconds === 0 || sinceMs + minReadySeconds * 1000 <= nowMs);
}

/** A pod from a template, owned by `owner`, whose name the server completes. */
export function podFromTemplate(template: PodTemplateSpec, owner: KubeObject, type: ResourceType): Pod {
  const { labels, annotations, finalizers } = template.metadata ?? {};
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      // A name longer than the limit loses its end, not its random suffix: the server cuts the prefix.
      generateName: `${owner.metadata?.name ?? ''}-`,
      namespace: owner.metadata?.namespace ?? '',
      ...(labels === undefined ? {} : { labels }),
      ...(annotations === undefined ? {} : { annotations }),
      ...(finalizers === undefined ? {} : { finalizers }),
      ownerReferences: [controllerReference(owner, type)],
    },
    ...(template.spec === undefined ? {} : { spec: template.spec }),
  };
}

export function controllerReference(
  owner: KubeObject,
  type: ResourceType,
): {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller: true;
  blockOwnerDeletion: true;
} {
  return {
    apiVersion: apiVersionOf(type),
    kind: type.kind,
    name: owner.metadata?.name ?? '',
    uid: owner.metadata?.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** Makes `owner` the controller of an orphan; returns it as stored. */
export async function adopt<T extends KubeObject>(
  client: ApiClient,
  type: ResourceType<T>,
  orphan: T,
  owner: { readonly object: KubeObject; readonly type: ResourceType },
): Promise<T> {
  const ownerReferences = [controllerReference(owner.object, owner.type)];
  const body = { metadata: { uid: orphan.metadata?.uid, ownerReferences } };
  return await client.patch(type, objectName(orphan), { type: 'strategic', body });
}

/** Lets go of a dependent that its controller no longer selects. */
export async function release<T extends KubeObject>(
  client: ApiClient,
  type: ResourceType<T>,
  dependent: T,
  ownerUid: string,
): Promise<void> {
  const ownerReferences = [{ $patch: 'delete', uid: ownerUid }];
  const body = { metadata: { uid: dependent.metadata?.uid, ownerReferences } };
  try {
    await client.patch(type, objectName(dependent), { type: 'strategic', body });
  } catch (err) {
    if (!isNotFound(err)) throw err;
  }
}

/**
 * Asks the server, not the cache, whether `object` still lives: an owner that is being deleted with its dependents
 * orphaned would take them back, and lose them to the garbage collector.
 */
export async function mayAdopt<T extends KubeObject>(
  client: ApiClient,
  type: ResourceType<T>,
  object: T,
): Promise<boolean> {
  try {
    const live = await client.get(type, objectName(object));
    return live.metadata?.uid === object.metadata?.uid && live.metadata?.deletionTimestamp === undefined;
  } catch (err) {
    if (isNotFound(err)) return false;
    throw err;
  }
}

const PHASE_RANK: Readonly<Record<string, number>> = { Pending: 0, Unknown: 1, Running: 2 };
const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost';

/**
 * Pods in the order in which they are to be removed: what serves least goes first. `replicasOnNode` counts the
 * owner's active pods per node, so that crowded nodes lose theirs first.
 */
export function rankForDeletion(pods: readonly Pod[], nowMs: number): Pod[] {
  const perNode = new Map<string, number>();
  for (const pod of pods) {
    const node = pod.spec?.nodeName ?? '';
    perNode.set(node, (perNode.get(node) ?? 0) + 1);
  }
  const rank = (pod: Pod): readonly number[] => {
    const { ready, sinceMs } = readyCondition(pod);
    const restarts = (pod.status?.containerStatuses ?? []).reduce((max, c) => Math.max(max, c.restartCount), 0);
    const createdMs = Date.parse(pod.metadata?.creationTimestamp ?? '') || 0;
    return [
      pod.spec?.nodeName ? 1 : 0,
      PHASE_RANK[pod.status?.phase ?? 'Pending'] ?? 1,
      ready ? 1 : 0,
      Number(pod.metadata?.annotations?.[DELETION_COST] ?? 0) || 0,
      -(perNode.get(pod.spec?.nodeName ?? '') ?? 0),
      ready ? ageBucket(nowMs - sinceMs) : 0,
      -restarts,
      ageBucket(nowMs - createdMs),
    ];
  };
  const ranked = pods.map((pod) => ({ pod, rank: rank(pod) }));
  ranked.sort((a, b) => compareRanks(a.rank, b.rank));
  return ranked.map((r) => r.pod);
}

/** Ages are compared by magnitude, so that pods of about the same age are chosen by the other marks. */
function ageBucket(ms: number): number {
  return Math.floor(Math.log2(Math.max(1, ms / 1000)));
}

function compareRanks(a: readonly number[], b: readonly number[]): number {
  for (const [i, value] of a.entries()) {
    const difference = value - b[i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}
