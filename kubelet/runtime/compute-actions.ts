// What has to happen so that a pod's sandbox and containers become what its spec says. Pure: everything is decided from
// the spec, what the runtime reports and the probe verdicts; sync-pod.ts performs it. Back-off is not looked at here,
// it only delays a start. After pkg/kubelet/kuberuntime/kuberuntime_manager.go computePodActions.
import type { Container, Pod } from '../../api/pod.ts';
import type { PodSandboxStatus } from '../../cri/gen/messages.ts';
import { RESIZABLE_RESOURCES, sameResource } from '../resize/pod-allocation.ts';
import { type ContainerResize, isPodLevelResizeDue } from '../resize/resize-progress.ts';
import { computeInitActions } from './init-actions.ts';
import {
  type ComputeActionsInput,
  type ContainerToKill,
  hasDefinitionChanged,
  type KillReason,
  killUnknown,
  type PodActions,
} from './pod-actions.ts';
import { findContainer, type PodRuntimeStatus, type RuntimeContainer } from './pod-runtime-status.ts';
import { resizeStep } from './resize-actions.ts';
import {
  effectiveRestartPolicy,
  hasNeverRun,
  matchRestartRule,
  restartsAfterProbeKill,
  shouldBeRestarted,
} from './restart-policy.ts';

const NOTHING: Omit<PodActions, 'attempt' | 'sandboxId'> = {
  killPod: false,
  createSandbox: false,
  initContainersToStart: [],
  ephemeralContainersToStart: [],
  containersToStart: [],
  containersToKill: [],
  containersToResize: [],
  resizePod: false,
  containersToReset: [],
};

export function computeActions(input: ComputeActionsInput): PodActions {
  const { pod, status } = input;
  const sandbox = decideSandbox(pod, status.sandboxes);
  const base: PodActions = { ...NOTHING, attempt: sandbox.attempt, sandboxId: sandbox.sandboxId };
  const restartingAll = pod.status?.conditions?.some(
    (c) => c.type === 'AllContainersRestarting' && c.status === 'True',
  );
  if (restartingAll) return { ...base, containersToReset: containersInResetOrder(pod, status) };
  if (sandbox.create) return actionsForNewSandbox(pod, status, base);
  return actionsInSandbox(input, base);
}

export interface SandboxDecision {
  readonly create: boolean;
  readonly attempt: number;
  readonly sandboxId: string;
}

/** Whether the newest of `sandboxes` (newest first) can be kept. */
export function decideSandbox(pod: Pod, sandboxes: readonly PodSandboxStatus[]): SandboxDecision {
  const newest = sandboxes[0];
  if (newest === undefined) return { create: true, attempt: 0, sandboxId: '' };
  const attempt = newest.metadata?.attempt ?? 0;
  const replace = (sandboxId: string): SandboxDecision => ({ create: true, attempt: attempt + 1, sandboxId });
  const ready = sandboxes.filter((s) => s.state === 'SANDBOX_READY');
  if (ready.length > 1 || newest.state !== 'SANDBOX_READY') return replace(newest.id);
  const hostNetwork = pod.spec?.hostNetwork === true;
  const isHostNetwork = (newest.linux?.namespaces?.options?.network ?? 'POD') === 'NODE';
  if (isHostNetwork !== hostNetwork) return replace('');
  if (!hostNetwork && newest.network !== undefined && newest.network.ip === '') return replace(newest.id);
  return { create: false, attempt, sandboxId: newest.id };
}

/** Everything is stopped and starts over, unless the pod has already done its work. */
function actionsForNewSandbox(pod: Pod, status: PodRuntimeStatus, base: PodActions): PodActions {
  const killOnly: PodActions = { ...base, killPod: true };
  const ranBefore = status.containers.length > 0;
  if (pod.spec?.restartPolicy === 'Never' && base.attempt !== 0 && ranBefore) return killOnly;
  const regular = pod.spec?.containers ?? [];
  const toStart = regular.filter((c) => {
    const newest = findContainer(status, c.name);
    const done = newest?.state === 'exited' && newest.exitCode === 0;
    return !(effectiveRestartPolicy(pod, c) === 'OnFailure' && done);
  });
  const anyRegularRan = regular.some((c) => {
    const newest = findContainer(status, c.name);
    return newest !== undefined && newest.state !== 'unknown';
  });
  if (toStart.length === 0 && anyRegularRan) return killOnly;
  const firstInit = pod.spec?.initContainers?.[0];
  const start: Partial<PodActions> =
    firstInit === undefined ? { containersToStart: toStart } : { initContainersToStart: [firstInit] };
  return { ...base, killPod: true, createSandbox: true, ...start };
}

function actionsInSandbox(input: ComputeActionsInput, base: PodActions): PodActions {
  const { pod, status } = input;
  const ephemeralContainersToStart = (pod.spec?.ephemeralContainers ?? []).filter((c) =>
    hasNeverRun(findContainer(status, c.name)),
  );
  const init = computeInitActions(input, base.sandboxId);
  const withInit: PodActions = {
    ...base,
    killPod: init.killPod,
    ephemeralContainersToStart,
    initContainersToStart: init.toStart,
    containersToKill: init.toKill,
    containersToResize: init.toResize,
    resizePod: needsPodResize(input, init.toStart),
  };
  if (init.killPod || !init.initialized) return withInit;
  const regular = regularContainerActions(input);
  const containersToKill = [...init.toKill, ...regular.toKill];
  if (regular.kept === 0 && regular.toStart.length === 0) {
    // The work is done: sidecars must not keep the pod alive, nor come back.
    return { ...withInit, killPod: true, initContainersToStart: [], containersToKill };
  }
  return {
    ...withInit,
    containersToStart: regular.toStart,
    containersToKill,
    containersToResize: [...init.toResize, ...regular.toResize],
    resizePod: withInit.resizePod || needsPodResize(input, regular.toStart),
  };
}

/** Sized for what a container used before, the pod's cgroup may be too small for what it is to be started with. */
function needsPodResize({ pod, resources }: ComputeActionsInput, toStart: readonly Container[]): boolean {
  if (resources === undefined) return false;
  const startsResized = toStart.some((c) => {
    const before = resources.container(pod.metadata?.uid ?? '', c.name);
    return before !== undefined && RESIZABLE_RESOURCES.some((r) => !sameResource(r, before, c.resources));
  });
  return startsResized || isPodLevelResizeDue(pod, resources);
}

function regularContainerActions(input: ComputeActionsInput) {
  const { pod, status } = input;
  const toStart: Container[] = [];
  const toKill: ContainerToKill[] = [];
  const toResize: ContainerResize[] = [];
  let kept = 0;
  for (const container of pod.spec?.containers ?? []) {
    const newest = findContainer(status, container.name);
    if (newest === undefined || newest.state !== 'running') {
      if (!shouldBeRestarted(pod, container, status)) continue;
      toStart.push(container);
      if (newest?.state === 'unknown') toKill.push(killUnknown('Container', newest));
      continue;
    }
    const kill = reasonToKill(pod, container, newest, input.verdicts);
    if (kill === undefined) {
      const resized = resizeStep(container, newest, input);
      if (resized.resize !== undefined) toResize.push(resized.resize);
      if (resized.kill === undefined) {
        kept++;
        continue;
      }
      toKill.push(resized.kill);
      toStart.push(container);
      continue;
    }
    if (kill.restart) toStart.push(container);
    const message = `Container ${container.name} ${kill.why}${kill.restart ? ', will be restarted' : ''}`;
    toKill.push({ container: newest, message, reason: kill.reason });
  }
  return { toStart, toKill, toResize, kept };
}

function reasonToKill(
  pod: Pod,
  container: Container,
  running: RuntimeContainer,
  verdicts: ComputeActionsInput['verdicts'],
): { why: string; reason: KillReason; restart: boolean } | undefined {
  if (hasDefinitionChanged(container, running)) return { why: 'definition changed', reason: 'other', restart: true };
  const restart = restartsAfterProbeKill(pod, container);
  if (verdicts.liveness(running.id) === 'failure')
    return { why: 'failed liveness probe', reason: 'liveness-probe', restart };
  if (verdicts.startup(running.id) === 'failure')
    return { why: 'failed startup probe', reason: 'startup-probe', restart };
  return undefined;
}

/**
 * All instances of every container; those whose exit asked for the restart come last, so that the cause is still there
 * to be seen until everything else is gone (KEP-5532).
 */
function containersInResetOrder(pod: Pod, status: PodRuntimeStatus): RuntimeContainer[] {
  const groups: [RuntimeContainer[], RuntimeContainer[], RuntimeContainer[], RuntimeContainer[]] = [[], [], [], []];
  const collect = (specs: readonly Container[], offset: 0 | 1) => {
    for (const spec of specs) {
      const newest = findContainer(status, spec.name);
      const triggering =
        newest?.state === 'exited' && matchRestartRule(spec, newest.exitCode) === 'RestartAllContainers';
      const group = groups[triggering ? (offset === 0 ? 2 : 3) : offset];
      group.push(...status.containers.filter((c) => c.name === spec.name));
    }
  };
  collect(pod.spec?.containers ?? [], 0);
  collect(pod.spec?.initContainers ?? [], 1);
  return groups.flat();
}
