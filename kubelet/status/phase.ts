// The phase of a pod from the statuses of its containers. Pure. After pkg/kubelet/kubelet_pods.go getPhase.
import type { Container, ContainerStatus, Pod, PodPhase } from '../../api/pod.ts';
import { isStaticPod } from '../pod-manager.ts';
import { type ContainerEnd, isSidecar, restartsAfterExit } from '../runtime/restart-policy.ts';
import { RESTART_ALL } from './container-statuses.ts';

export interface PhaseInput {
  readonly pod: Pod;
  readonly init: readonly ContainerStatus[];
  readonly regular: readonly ContainerStatus[];
  /** The worker has stopped everything for good: policy Always does not keep the pod from being over. */
  readonly isTerminal: boolean;
  /** A regular container of the present sandbox has been started at some time. */
  readonly regularStarted: boolean;
}

interface Counts {
  pendingInit: number;
  failedInitForGood: number;
  pendingSidecar: number;
  waiting: number;
  running: number;
  unknown: number;
  stopped: number;
  succeeded: number;
  notRestartable: number;
}

export function computePhase(input: PhaseInput): PodPhase {
  const n = countContainers(input);
  if (n.failedInitForGood > 0) return 'Failed';
  if (n.pendingInit > 0 || (n.pendingSidecar > 0 && !input.regularStarted)) return 'Pending';
  if (n.waiting > 0) return 'Pending';
  if (n.running > 0 && n.unknown === 0) return 'Running';
  if (n.running > 0 || n.stopped === 0 || n.unknown > 0) return 'Pending';
  // Static pods are never over for the API: their source starts them anew.
  const isOver = input.isTerminal && !isStaticPod(input.pod);
  if (!isOver && n.notRestartable < n.stopped) return 'Running';
  return n.succeeded === n.stopped ? 'Succeeded' : 'Failed';
}

function countContainers({ pod, init, regular }: PhaseInput): Counts {
  const n: Counts = {
    pendingInit: 0,
    failedInitForGood: 0,
    pendingSidecar: 0,
    waiting: 0,
    running: 0,
    unknown: 0,
    stopped: 0,
    succeeded: 0,
    notRestartable: 0,
  };
  const initByName = new Map(init.map((s) => [s.name, s]));
  for (const spec of pod.spec?.initContainers ?? []) {
    if (isSidecar(spec)) countSidecar(n, initByName.get(spec.name));
    else countInit(n, pod, spec, initByName.get(spec.name));
  }
  const regularByName = new Map(regular.map((s) => [s.name, s]));
  for (const spec of pod.spec?.containers ?? []) countRegular(n, pod, spec, regularByName.get(spec.name));
  return n;
}

function countInit(n: Counts, pod: Pod, spec: Container, status: ContainerStatus | undefined): void {
  const end = endOf(status);
  if (end === undefined) n.pendingInit++;
  else if (end.exitCode !== 0 && !mayRunAgain(pod, spec, status, end)) n.failedInitForGood++;
}

function countSidecar(n: Counts, status: ContainerStatus | undefined): void {
  if (status === undefined) n.unknown++;
  else if (status.state?.running !== undefined) {
    n.running++;
    if (status.started !== true) n.pendingSidecar++;
  } else if (status.state?.waiting !== undefined && status.lastState?.terminated === undefined) {
    n.pendingSidecar++;
    n.waiting++;
  }
}

function countRegular(n: Counts, pod: Pod, spec: Container, status: ContainerStatus | undefined): void {
  const { state } = status ?? {};
  const end = endOf(status);
  if (end !== undefined) {
    n.stopped++;
    if (state?.terminated?.exitCode === 0) n.succeeded++;
    if (!mayRunAgain(pod, spec, status, end)) n.notRestartable++;
  } else if (state?.running !== undefined) n.running++;
  else if (state?.waiting !== undefined) n.waiting++;
  else n.unknown++;
}

/** How a container ended that does not run: of one that waits, the time before. */
function endOf(status: ContainerStatus | undefined): ContainerEnd | undefined {
  const { state, lastState } = status ?? {};
  return state?.terminated ?? (state?.waiting === undefined ? undefined : lastState?.terminated);
}

/** Under a policy that lets it, or because all containers of the pod are just being started anew. */
function mayRunAgain(pod: Pod, spec: Container, status: ContainerStatus | undefined, end: ContainerEnd): boolean {
  const isRestartOfAll = [status?.state?.waiting?.reason, end.reason].includes(RESTART_ALL.reason);
  return isRestartOfAll || restartsAfterExit(pod, spec, end);
}
