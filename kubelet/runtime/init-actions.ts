// Init containers and sidecars: which to start or kill, and whether the regular containers may run. Pure; part of
// computeActions. After pkg/kubelet/kuberuntime/kuberuntime_container.go computeInitContainerActions.
//
// The walk goes from last to first, because init containers that are done may have been removed from the runtime: the
// last one with a status tells how far the pod has got. Sidecars before it are looked at nevertheless.
import type { Container } from '../../api/pod.ts';
import type { ContainerResize } from '../resize/resize-progress.ts';
import { type ComputeActionsInput, type ContainerToKill, hasDefinitionChanged, killUnknown } from './pod-actions.ts';
import { findContainer, type RuntimeContainer } from './pod-runtime-status.ts';
import { resizeStep } from './resize-actions.ts';
import { effectiveRestartPolicy, hasInitFailed, isSidecar, restartsAfterExit } from './restart-policy.ts';

export interface InitActions {
  /** The regular containers may be started. */
  readonly initialized: boolean;
  /** Initialisation failed for good. */
  readonly killPod: boolean;
  /** In spec order. */
  readonly toStart: readonly Container[];
  readonly toKill: readonly ContainerToKill[];
  readonly toResize: readonly ContainerResize[];
}

/** What one init container asks for. */
interface Step {
  readonly start?: 'self' | 'next';
  readonly kill?: ContainerToKill;
  readonly resize?: ContainerResize;
  readonly failedForGood?: boolean;
  /** This container no longer holds up what comes after it. */
  readonly passed?: boolean;
}

export function computeInitActions(input: ComputeActionsInput, sandboxId: string): InitActions {
  const { pod, status } = input;
  const specs = pod.spec?.initContainers ?? [];
  if (specs.length === 0) return { initialized: true, killPod: false, toStart: [], toKill: [], toResize: [] };
  // Containers of an earlier sandbox do not count: after a reboot the pod initialises anew.
  const regularNames = new Set((pod.spec?.containers ?? []).map((c) => c.name));
  let initialized = status.containers.some(
    (c) => c.sandboxId === sandboxId && regularNames.has(c.name) && (c.state === 'running' || c.state === 'created'),
  );
  let previouslyInitialized = initialized;
  const startIndexes = new Set<number>();
  const toKill: ContainerToKill[] = [];
  const toResize: ContainerResize[] = [];
  for (let i = specs.length - 1; i >= 0; i--) {
    const spec = specs[i]!;
    const newest = findContainer(status, spec.name);
    if (newest === undefined) {
      if (previouslyInitialized && isSidecar(spec)) startIndexes.add(i);
      continue;
    }
    if (previouslyInitialized && !isSidecar(spec)) continue;
    const step = isSidecar(spec) ? sidecarStep(spec, newest, input) : initStep(spec, newest, input);
    if (step.failedForGood) return { initialized: false, killPod: true, toStart: [], toKill: [], toResize: [] };
    if (step.passed && i === specs.length - 1) initialized = true;
    else if (step.start === 'next' && !previouslyInitialized) startIndexes.add(i + 1);
    if (step.kill !== undefined) toKill.push(step.kill);
    if (step.resize !== undefined) toResize.unshift(step.resize);
    if (step.start === 'self' || step.kill !== undefined) startIndexes.add(i);
    previouslyInitialized = true;
  }
  if (!previouslyInitialized) startIndexes.add(0);
  const toStart = [...startIndexes].sort((a, b) => a - b).map((i) => specs[i]!);
  return { initialized, killPod: false, toStart, toKill, toResize };
}

function initStep(spec: Container, newest: RuntimeContainer, input: ComputeActionsInput): Step {
  const { pod } = input;
  switch (newest.state) {
    case 'created':
      return { start: 'self' };
    case 'running':
      return resizeStep(spec, newest, input);
    case 'exited':
      if (!hasInitFailed(newest)) return { passed: true, start: 'next' };
      return restartsAfterFailure(spec, newest, { pod }) ? { start: 'self' } : { failedForGood: true };
    case 'unknown':
      if (effectiveRestartPolicy(pod, spec) === 'Never') return { failedForGood: true };
      return { kill: killUnknown('Init container', newest) };
  }
}

/** An OOM kill with exit code 0 is a failure too, though a policy by exit code would call it a success. */
function restartsAfterFailure(
  spec: Container,
  newest: RuntimeContainer,
  { pod }: Pick<ComputeActionsInput, 'pod'>,
): boolean {
  if (newest.exitCode === 0) return effectiveRestartPolicy(pod, spec) !== 'Never';
  return restartsAfterExit(pod, spec, newest);
}

function sidecarStep(spec: Container, newest: RuntimeContainer, input: ComputeActionsInput): Step {
  const { verdicts } = input;
  if (newest.state === 'created' || newest.state === 'exited') return { start: 'self' };
  if (newest.state === 'unknown') return { kill: killUnknown('Init container', newest) };
  const kill = (why: string, reason: ContainerToKill['reason']): ContainerToKill => ({
    container: newest,
    message: `Init container ${spec.name} ${why}`,
    reason,
  });
  if (spec.startupProbe !== undefined) {
    const startup = verdicts.startup(newest.id);
    if (startup === 'failure') return { kill: kill('failed startup probe', 'startup-probe') };
    if (startup !== 'success') return {};
  }
  // Started: from here on it holds up nobody, even if it is about to be restarted.
  const passed: Step = { passed: true, start: 'next' };
  if (hasDefinitionChanged(spec, newest)) return { ...passed, kill: kill('definition changed', 'other') };
  if (spec.livenessProbe !== undefined && verdicts.liveness(newest.id) === 'failure') {
    return { ...passed, kill: kill('failed liveness probe', 'liveness-probe') };
  }
  return { ...passed, ...resizeStep(spec, newest, input) };
}
