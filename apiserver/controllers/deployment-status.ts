// The status of a Deployment from its sets, pure (pkg/controller/deployment/progress.go, sync.go).
import type { Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet } from '../../api/apps.ts';
import { formatTime } from '../../api/meta.ts';
import { replicasOf, rolloutLimits } from './deployment-math.ts';

export type ConditionType = 'Available' | 'Progressing' | 'ReplicaFailure';

export function computeDeploymentStatus(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
  rollout: { readonly newSet: ReplicaSet | undefined; readonly created: boolean },
  nowMs: number,
): DeploymentStatus {
  const { newSet } = rollout;
  const total = (of: (rs: ReplicaSet) => number | undefined): number => sets.reduce((n, rs) => n + (of(rs) ?? 0), 0);
  const available = total((rs) => rs.status?.availableReplicas);
  const status: DeploymentStatus = {
    observedGeneration: deployment.metadata?.generation ?? 0,
    replicas: total((rs) => rs.status?.replicas),
    updatedReplicas: newSet?.status?.replicas ?? 0,
    readyReplicas: total((rs) => rs.status?.readyReplicas),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, total(replicasOf) - available),
    terminatingReplicas: total((rs) => rs.status?.terminatingReplicas),
    ...(deployment.status?.collisionCount === undefined ? {} : { collisionCount: deployment.status.collisionCount }),
  };
  let conditions = deployment.status?.conditions ?? [];
  conditions = withCondition(conditions, availableCondition(deployment, available), nowMs);
  const failure = newSet?.status?.conditions?.find((c) => c.type === 'ReplicaFailure' && c.status === 'True');
  conditions =
    failure === undefined
      ? conditions.filter((c) => c.type !== 'ReplicaFailure')
      : withCondition(
          conditions,
          condition('ReplicaFailure', 'True', failure.reason ?? '', failure.message ?? ''),
          nowMs,
        );
  const turn = turnOfRollout(deployment, conditions, rollout);
  if (turn !== undefined) conditions = withCondition(conditions, turn, nowMs);
  const progress = progressCondition(deployment, status, newSet, conditions, nowMs);
  if (progress !== undefined) conditions = withCondition(conditions, progress, nowMs);
  return { ...status, conditions };
}

/** A rollout that starts, stops or goes on is said before how far it has come. */
function turnOfRollout(
  deployment: Deployment,
  conditions: readonly DeploymentCondition[],
  { newSet, created }: { readonly newSet: ReplicaSet | undefined; readonly created: boolean },
): DeploymentCondition | undefined {
  if (!hasDeadline(deployment)) return undefined;
  const current = conditions.find((c) => c.type === 'Progressing');
  const name = newSet?.metadata?.name ?? '';
  if (created) return condition('Progressing', 'True', 'NewReplicaSetCreated', `Created new replica set "${name}"`);
  if (deployment.spec?.paused) {
    if (current?.reason === 'DeploymentPaused' || current?.reason === 'ProgressDeadlineExceeded') return undefined;
    return condition('Progressing', 'Unknown', 'DeploymentPaused', 'Deployment is paused');
  }
  if (current?.reason === 'DeploymentPaused') {
    return condition('Progressing', 'Unknown', 'DeploymentResumed', 'Deployment is resumed');
  }
  if (current !== undefined || newSet === undefined) return undefined;
  return condition('Progressing', 'True', 'FoundNewReplicaSet', `Found new replica set "${name}"`);
}

/** 2^31 - 1 stands for none. */
function hasDeadline(deployment: Deployment): boolean {
  const seconds = deployment.spec?.progressDeadlineSeconds;
  return seconds !== undefined && seconds !== 2 ** 31 - 1;
}

/** ms until the rollout has stood still for too long; undefined when it is not under way or has no deadline. */
export function progressDeadlineInMs(
  deployment: Deployment,
  status: DeploymentStatus,
  nowMs: number,
): number | undefined {
  const current = status.conditions?.find((c) => c.type === 'Progressing');
  if (!hasDeadline(deployment) || deployment.spec?.paused || !isUnderWay(current)) return undefined;
  const sinceMs = Date.parse(current?.lastUpdateTime ?? '') || nowMs;
  return Math.max(0, sinceMs + deployment.spec!.progressDeadlineSeconds! * 1000 - nowMs) + 1;
}

function isUnderWay(progressing: DeploymentCondition | undefined): boolean {
  return progressing !== undefined && progressing.reason !== 'NewReplicaSetAvailable' && progressing.status !== 'False';
}

function availableCondition(deployment: Deployment, available: number): DeploymentCondition {
  if (available >= replicasOf(deployment) - rolloutLimits(deployment.spec).unavailable) {
    return condition('Available', 'True', 'MinimumReplicasAvailable', 'Deployment has minimum availability.');
  }
  return condition(
    'Available',
    'False',
    'MinimumReplicasUnavailable',
    'Deployment does not have minimum availability.',
  );
}

export function isComplete(deployment: Deployment, status: DeploymentStatus): boolean {
  const wanted = replicasOf(deployment);
  return (
    status.updatedReplicas === wanted &&
    status.replicas === wanted &&
    status.availableReplicas === wanted &&
    (status.observedGeneration ?? 0) >= (deployment.metadata?.generation ?? 0)
  );
}

function progressCondition(
  deployment: Deployment,
  status: DeploymentStatus,
  newSet: ReplicaSet | undefined,
  conditions: readonly DeploymentCondition[],
  nowMs: number,
): DeploymentCondition | undefined {
  if (!hasDeadline(deployment) || deployment.spec?.paused) return undefined;
  const name = newSet?.metadata?.name ?? '';
  const current = conditions.find((c) => c.type === 'Progressing');
  // A finished rollout stays so: a pod that fails later, or a change of size, is no progress of it.
  if (current?.reason === 'NewReplicaSetAvailable' && status.replicas === status.updatedReplicas) return undefined;
  if (isComplete(deployment, status)) {
    return condition(
      'Progressing',
      'True',
      'NewReplicaSetAvailable',
      `ReplicaSet "${name}" has successfully progressed.`,
    );
  }
  if (hasProgressed(deployment.status, status)) {
    // lastUpdateTime restarts the deadline even when nothing else of the condition changes.
    return {
      ...condition('Progressing', 'True', 'ReplicaSetUpdated', `ReplicaSet "${name}" is progressing.`),
      lastUpdateTime: formatTime(nowMs),
    };
  }
  if (!isUnderWay(current)) return undefined;
  const sinceMs = Date.parse(current?.lastUpdateTime ?? '') || nowMs;
  if (nowMs - sinceMs <= deployment.spec!.progressDeadlineSeconds! * 1000) return undefined;
  const text = `ReplicaSet "${name}" has timed out progressing.`;
  return condition('Progressing', 'False', 'ProgressDeadlineExceeded', text);
}

function hasProgressed(before: DeploymentStatus | undefined, now: DeploymentStatus): boolean {
  const oldReplicas = (s: DeploymentStatus | undefined): number => (s?.replicas ?? 0) - (s?.updatedReplicas ?? 0);
  return (
    (now.updatedReplicas ?? 0) > (before?.updatedReplicas ?? 0) ||
    (now.readyReplicas ?? 0) > (before?.readyReplicas ?? 0) ||
    (now.availableReplicas ?? 0) > (before?.availableReplicas ?? 0) ||
    oldReplicas(now) < oldReplicas(before)
  );
}

function condition(type: ConditionType, status: string, reason: string, message: string): DeploymentCondition {
  return { type, status, reason, message };
}

/** The list with this condition in it: an equal one is kept as it is, times included. */
function withCondition(
  conditions: readonly DeploymentCondition[],
  next: DeploymentCondition,
  nowMs: number,
): DeploymentCondition[] {
  const old = conditions.find((c) => c.type === next.type);
  if (old?.status === next.status && old.reason === next.reason && next.lastUpdateTime === undefined)
    return [...conditions];
  const now = formatTime(nowMs);
  const lastTransitionTime = old?.status === next.status ? (old.lastTransitionTime ?? now) : now;
  const entry = { ...next, lastUpdateTime: next.lastUpdateTime ?? now, lastTransitionTime };
  return [...conditions.filter((c) => c.type !== next.type), entry];
}
