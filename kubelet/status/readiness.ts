// A probe verdict put into a status at once, without waiting for the pod's worker: it may be busy for minutes with an
// image pull or a slow stop. Pure.
import type { ContainerStatus, Pod, PodPhase, PodStatus } from '../../api/pod.ts';
import { containersReadyVerdict, isOwnedCondition, readyVerdict, stampCondition } from './conditions.ts';

export type ProbedField = 'ready' | 'started';

/** The status with one field of one container set; undefined when the container is unknown or nothing changes. */
export function withContainerField(
  pod: Pod,
  status: PodStatus,
  containerId: string,
  field: ProbedField,
  value: boolean,
  nowMs: number,
): PodStatus | undefined {
  let changed = false;
  const update = (list: readonly ContainerStatus[] = []): ContainerStatus[] =>
    list.map((s) => {
      if (s.containerID !== containerId || s[field] === value) return s;
      changed = true;
      return { ...s, [field]: value };
    });
  const init = update(status.initContainerStatuses);
  const regular = update(status.containerStatuses);
  if (!changed) return undefined;
  const next: PodStatus = {
    ...status,
    ...(status.initContainerStatuses === undefined ? {} : { initContainerStatuses: init }),
    containerStatuses: regular,
  };
  return field === 'ready' ? { ...next, conditions: readyConditions(pod, next, nowMs) } : next;
}

function readyConditions(pod: Pod, status: PodStatus, nowMs: number) {
  const conditions = status.conditions ?? [];
  const containersReady = containersReadyVerdict({
    pod,
    phase: (status.phase ?? 'Pending') as PodPhase,
    init: status.initContainerStatuses ?? [],
    regular: status.containerStatuses ?? [],
  });
  const foreign = (pod.status?.conditions ?? []).filter((c) => !isOwnedCondition(c.type));
  const ready = readyVerdict(pod, containersReady, foreign);
  const at = { pod, previous: conditions, nowMs };
  return conditions.map((c) => {
    if (c.type === 'Ready') return stampCondition('Ready', ready, at);
    return c.type === 'ContainersReady' ? stampCondition('ContainersReady', containersReady, at) : c;
  });
}
