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
  if (rollout.created && deployment.spec?.progressDeadlineSeconds !== undefined) {
    const text = `Created new replica set "${newSet?.metadata?.name ?? ''}"`;
    conditions = withCondition(conditions, condition('Progressing', 'True', 'NewReplicaSetCreated', text), nowMs);
  }
  const progress = progressCondition(deployment, status, newSet, conditions, nowMs);
  if (progress !== undefined) conditions = withCondition(conditions, progress, nowMs);
  return { ...status, conditions };
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
  const deadline = deployment.spec?.progressDeadlineSeconds;
  if (deadline === undefined || deadline === 2 ** 31 - 1 || deployment.spec?.paused) return undefined;
  const name = newSet?.metadata?.name ?? '';
  const current = conditions.find((c) => c.type === 'Progressing');
  const done = current?.reason === 'NewReplicaSetAvailable' && status.replicas === status.updatedReplicas;
  if (isComplete(deployment, status)) {
    if (done) return undefined;
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
  if (current !== undefined && current.reason !== 'NewReplicaSetAvailable' && current.status !== 'False') {
    const sinceMs = Date.parse(current.lastUpdateTime ?? '') || nowMs;
    if (nowMs - sinceMs > deadline * 1000) {
      return condition(
        'Progressing',
        'False',
        'ProgressDeadlineExceeded',
        `ReplicaSet "${name}" has timed out progressing.`,
      );
    }
  }
  return undefined;
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

export function condition(type: ConditionType, status: string, reason: string, message: string): DeploymentCondition {
  return { type, status, reason, message };
}

/** The list with this condition in it: an equal one is kept as it is, times included. */
export function withCondition(
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
