// The last status of a pod that the worker is done with: nothing may look as if it still ran. Pure. After
// pkg/kubelet/status/status_manager.go TerminatePod.
import { type ContainerStatus, isTerminalPhase, type Pod, type PodStatus } from '../../api/pod.ts';
import { isStaticPod } from '../pod-manager.ts';
import { unknownTermination } from './container-statuses.ts';

const MESSAGE = 'The container could not be located when the pod was terminated';

export function finishedStatus(pod: Pod, status: PodStatus): PodStatus {
  const init = status.initContainerStatuses ?? [];
  const attempted = init.slice(0, attemptedCount(init));
  const finishedInit = [...attempted.map(terminated), ...init.slice(attempted.length)];
  const regular = status.containerStatuses ?? [];
  return {
    ...status,
    ...(init.length === 0 ? {} : { initContainerStatuses: finishedInit }),
    containerStatuses: hasInitialized(pod, status) ? regular.map(terminated) : regular,
    ...(isTerminalPhase(status.phase) || isStaticPod(pod) ? {} : { phase: 'Failed' }),
  };
}

function terminated(status: ContainerStatus): ContainerStatus {
  if (status.state?.terminated !== undefined) return status;
  return { ...status, state: unknownTermination(MESSAGE), ready: false, started: false };
}

/** Init containers up to the last one that ever started, at least the first. */
function attemptedCount(init: readonly ContainerStatus[]): number {
  const last = init.findLastIndex((s) => s.state?.waiting === undefined || s.lastState?.terminated !== undefined);
  return Math.max(last + 1, Math.min(1, init.length));
}

function hasInitialized(pod: Pod, status: PodStatus): boolean {
  if ((pod.spec?.initContainers?.length ?? 0) === 0) return true;
  const ran = (s: ContainerStatus) =>
    s.state?.running !== undefined || s.state?.terminated !== undefined || s.lastState?.terminated !== undefined;
  if ((status.containerStatuses ?? []).some(ran)) return true;
  const last = status.initContainerStatuses?.at(-1);
  return last?.state?.terminated?.exitCode === 0 || last?.lastState?.terminated?.exitCode === 0;
}
