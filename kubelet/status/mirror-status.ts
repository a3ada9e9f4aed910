// What an earlier agent told of a static pod is known from its mirror alone: the manifest has no status. Pure. After
// pkg/kubelet/status/status_manager.go updateStatusInternal, which takes times from the mirror; beyond it the probes'
// last word counts as well, so that a pod that is ready does not look unready until it has been probed again.
import type { ContainerStatus, Pod, PodStatus } from '../../api/pod.ts';
import type { PodRuntimeStatus } from '../runtime/pod-runtime-status.ts';
import { isOwnedCondition } from './conditions.ts';

/**
 * The part that still holds: times, conditions, and statuses of containers that are still there. Not the phase: a pod
 * whose containers are gone, as after a reboot, runs again. Undefined when nothing was told.
 */
export function statusOfMirror(mirror: Pod | undefined, runtime: PodRuntimeStatus): PodStatus | undefined {
  const { startTime, conditions = [], containerStatuses, initContainerStatuses } = mirror?.status ?? {};
  if (startTime === undefined) return undefined;
  const isThere = ({ containerID = '' }: ContainerStatus) => runtime.containers.some((c) => containerID.endsWith(c.id));
  return {
    startTime,
    conditions: conditions.filter((c) => isOwnedCondition(c.type)),
    containerStatuses: (containerStatuses ?? []).filter(isThere),
    initContainerStatuses: (initContainerStatuses ?? []).filter(isThere),
  };
}

/** What `held`, made by this agent, is to be compared with: it may have been made before the mirror was known. */
export function afterMirror(held: PodStatus | undefined, mirror: PodStatus): PodStatus {
  return held === undefined || predates(mirror, held) ? { ...held, ...mirror } : held;
}

/** `mirror` tells of an earlier start than `held`, which was made without knowing it. */
export function predates(mirror: PodStatus, held: PodStatus): boolean {
  if (mirror.startTime === undefined || held.startTime === undefined) return false;
  return Date.parse(String(mirror.startTime)) < Date.parse(String(held.startTime));
}
