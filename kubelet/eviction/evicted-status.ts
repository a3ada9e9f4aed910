// What the status of a pod says that the node has ended before its time.
import { formatTime } from '../../api/meta.ts';
import type { Pod, PodCondition, PodStatus } from '../../api/pod.ts';

export const EVICTED = 'Evicted';

export interface EndedByNode {
  readonly reason: string;
  readonly message: string;
  /** Of the condition that tells controllers that the pod itself is not to blame; undefined for one that is. */
  readonly disruption: string | undefined;
}

/** Applied to each status that the pod gets while it ends. */
export function endedByNode(
  pod: Pod,
  { reason, message, disruption }: EndedByNode,
  nowMs: number,
): (status: PodStatus) => PodStatus {
  return (status) => ({
    ...status,
    phase: 'Failed',
    reason,
    message,
    ...(disruption === undefined
      ? {}
      : { conditions: withDisruption(status.conditions ?? [], disrupted(pod, disruption, nowMs)) }),
  });
}

function disrupted(pod: Pod, message: string, nowMs: number): PodCondition {
  const { generation } = pod.metadata ?? {};
  return {
    type: 'DisruptionTarget',
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    status: 'True',
    reason: 'TerminationByKubelet',
    message,
    lastTransitionTime: formatTime(nowMs),
  };
}

function withDisruption(conditions: readonly PodCondition[], added: PodCondition): PodCondition[] {
  const before = conditions.find((c) => c.type === added.type && c.status === 'True');
  const others = conditions.filter((c) => c.type !== added.type);
  const since = before?.lastTransitionTime === undefined ? {} : { lastTransitionTime: before.lastTransitionTime };
  return [...others, { ...added, ...since }];
}
