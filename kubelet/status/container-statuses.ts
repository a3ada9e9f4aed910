// What `status.containerStatuses` and its siblings say, from the runtime's newest two instances of each container, the
// status known before, and why starts failed. Pure. After pkg/kubelet/kubelet_pods.go convertToAPIContainerStatuses.
import { formatTime } from '../../api/meta.ts';
import type {
  Container,
  ContainerState,
  ContainerStatus,
  EphemeralContainer,
  Pod,
  ResourceRequirements,
} from '../../api/pod.ts';
import type { PodRuntimeStatus, RuntimeContainer } from '../runtime/pod-runtime-status.ts';
import { isSidecar, shouldBeRestarted, wasCutOff } from '../runtime/restart-policy.ts';
import { hasRestartAllRule } from './conditions.ts';
import { resourceStatus } from './container-resources.ts';

/** Why the last start of a container failed. */
export interface StartFailureReason {
  readonly reason: string;
  readonly message: string;
}

export interface ContainerStatusesInput {
  readonly pod: Pod;
  readonly runtime: PodRuntimeStatus;
  /** Statuses of this list as stored before. */
  readonly previous: readonly ContainerStatus[];
  /** `<name>://` goes before container ids: `containerd`. */
  readonly runtimeName: string;
  readonly startFailure: (container: string) => StartFailureReason | undefined;
  /** What a container was made to use. */
  readonly actuated: (container: string) => ResourceRequirements | undefined;
}

export type ContainerKind = 'init' | 'regular' | 'ephemeral';
type SpecContainer = Container | EphemeralContainer;

/** All termination messages of a pod together, bytes (pkg/kubelet/container MaxPodTerminationMessageLogLength). */
const MAX_TERMINATION_MESSAGES_BYTES = 12_288;
/** What was seen to run and is gone without an exit code. */
const STATUS_UNKNOWN_EXIT_CODE = 137;

/** Statuses of one list of the spec: init containers in spec order, the others sorted by name. */
export function containerStatuses(kind: ContainerKind, input: ContainerStatusesInput): ContainerStatus[] {
  const specs = specsOf(kind, input.pod);
  const previous = new Map(input.previous.map((s) => [s.name, s]));
  const statuses = specs.map((spec) => containerStatus(kind, spec, previous.get(spec.name), input));
  if (kind !== 'init') statuses.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  return statuses;
}

function specsOf(kind: ContainerKind, pod: Pod): readonly SpecContainer[] {
  if (kind === 'init') return pod.spec?.initContainers ?? [];
  return (kind === 'regular' ? pod.spec?.containers : pod.spec?.ephemeralContainers) ?? [];
}

function containerStatus(
  kind: ContainerKind,
  spec: SpecContainer,
  previous: ContainerStatus | undefined,
  input: ContainerStatusesInput,
): ContainerStatus {
  const [newest, older] = input.runtime.containers.filter((c) => c.name === spec.name);
  const known =
    newest === undefined
      ? statusWithoutInstance(kind, spec, previous, input)
      : statusOfInstance(spec, newest, older, previous, input);
  return waitingAfterFailure(kind, spec, newest, known, input);
}

function statusOfInstance(
  spec: SpecContainer,
  newest: RuntimeContainer,
  older: RuntimeContainer | undefined,
  previous: ContainerStatus | undefined,
  input: ContainerStatusesInput,
): ContainerStatus {
  const lost = newest.state === 'unknown' && previous?.state?.running !== undefined;
  const containerID = `${input.runtimeName}://${newest.id}`;
  const user = newest.cri.user?.linux;
  return {
    name: spec.name,
    state: stateOf(newest, lost, input),
    lastState: older === undefined ? lastStateKnown(containerID, previous) : stateOf(older, false, input),
    ready: false,
    restartCount: lost ? (previous.restartCount ?? 0) + 1 : Math.max(newest.restartCount, previous?.restartCount ?? 0),
    image: newest.cri.image?.image || spec.image || '',
    imageID: newest.cri.imageRef,
    containerID,
    ...(user === undefined
      ? {}
      : { user: { linux: { uid: user.uid, gid: user.gid, supplementalGroups: user.supplementalGroups } } }),
    ...volumeMountStatuses(spec, newest),
    ...resourceStatus(spec, newest, input.actuated(spec.name)),
  };
}

/** Once the instance before has been removed, only the status still knows how it ended. */
function lastStateKnown(containerID: string, previous: ContainerStatus | undefined): ContainerState {
  const { terminated } = previous?.state ?? {};
  if (terminated !== undefined && previous?.containerID !== containerID) return { terminated };
  return previous?.lastState ?? {};
}

function volumeMountStatuses(spec: SpecContainer, made?: RuntimeContainer): Pick<ContainerStatus, 'volumeMounts'> {
  if (spec.volumeMounts === undefined || spec.volumeMounts.length === 0) return {};
  return {
    volumeMounts: spec.volumeMounts.map((m) => {
      const wanted = (m as { recursiveReadOnly?: string }).recursiveReadOnly;
      // IfPossible: whether it was, the runtime's own account of the mount says.
      const done = made?.cri.mounts.some((r) => r.containerPath === m.mountPath && r.recursiveReadOnly) ?? false;
      const recursive = wanted === 'Enabled' || (wanted === 'IfPossible' && done);
      return {
        name: m.name,
        mountPath: m.mountPath,
        ...(m.readOnly ? { readOnly: true, recursiveReadOnly: recursive ? 'Enabled' : 'Disabled' } : {}),
      };
    }),
  };
}

function stateOf(c: RuntimeContainer, lost: boolean, input: ContainerStatusesInput): ContainerState {
  switch (c.state) {
    case 'running':
      return { running: { startedAt: formatTime(c.startedAtMs) } };
    case 'exited':
      return {
        terminated: {
          exitCode: c.exitCode,
          reason: c.reason,
          ...(c.message === '' ? {} : { message: truncateMessage(c.message, input.pod) }),
          startedAt: formatTime(c.startedAtMs),
          finishedAt: formatTime(c.finishedAtMs),
          containerID: `${input.runtimeName}://${c.id}`,
        },
      };
    case 'unknown':
      return lost
        ? unknownTermination('The container could not be located when the pod was terminated')
        : { waiting: {} };
    case 'created':
      return { waiting: {} };
  }
}

export function unknownTermination(message: string): ContainerState {
  const exitCode = STATUS_UNKNOWN_EXIT_CODE;
  return {
    terminated: { exitCode, reason: 'ContainerStatusUnknown', message, startedAt: null, finishedAt: null },
  } as unknown as ContainerState; // the API writes a time that is not known as null
}

function truncateMessage(message: string, pod: Pod): string {
  const { containers = [], initContainers = [], ephemeralContainers = [] } = pod.spec ?? {};
  const count = containers.length + initContainers.length + ephemeralContainers.length;
  const limit = Math.floor(MAX_TERMINATION_MESSAGES_BYTES / Math.max(1, count));
  const bytes = Buffer.from(message);
  if (bytes.length <= limit) return message;
  return bytes
    .subarray(0, limit)
    .toString()
    .replace(/\uFFFD+$/, ''); // a character cut in half is left out
}

/** The runtime has no instance: not started yet, or removed meanwhile. */
function statusWithoutInstance(
  kind: ContainerKind,
  spec: SpecContainer,
  previous: ContainerStatus | undefined,
  input: ContainerStatusesInput,
): ContainerStatus {
  const isRestart = hasRestartAllRule(input.pod) && input.pod.metadata?.deletionTimestamp === undefined;
  if (previous?.state?.terminated !== undefined && !isRestart) return { ...previous, ready: false };
  const waiting: ContainerStatus = {
    name: spec.name,
    state: { waiting: { reason: reasonToWait(input.pod) } },
    lastState: previous?.lastState ?? {},
    ready: false,
    restartCount: previous?.restartCount ?? 0,
    image: spec.image ?? '',
    imageID: '',
    ...volumeMountStatuses(spec),
    ...resourceStatus(spec, undefined, undefined),
  };
  if (kind === 'init' && !isSidecar(spec as Container) && wasInitialized(input)) {
    return { ...waiting, state: vanishedInitState(previous) };
  }
  if (isRestart && (previous?.state?.running ?? previous?.state?.terminated) !== undefined) {
    return { ...waiting, ...removedForRestart(previous) };
  }
  if (previous?.state?.running === undefined || waiting.lastState?.terminated !== undefined) return waiting;
  // It ran and is gone: without a last state the phase would fall back to Pending.
  const deleting = input.pod.metadata?.deletionTimestamp !== undefined;
  return {
    ...waiting,
    lastState: unknownTermination(
      'The container could not be located when the pod was deleted.  The container used to be Running',
    ),
    restartCount: waiting.restartCount + (deleting ? 0 : 1),
  };
}

function reasonToWait(pod: Pod): string {
  return (pod.spec?.initContainers?.length ?? 0) > 0 ? 'PodInitializing' : 'ContainerCreating';
}

/** Of a container that makes way for another one because all of the pod's are started anew (KEP-5532). */
export const RESTART_ALL = {
  reason: 'RestartingAllContainers',
  message: 'The container is removed because RestartAllContainers in place',
} as const;

/** The instance was removed to be made anew with all others: how it ended, or that it was taken away, stays known. */
function removedForRestart(previous: ContainerStatus | undefined): Pick<ContainerStatus, 'state' | 'lastState'> {
  const { running, terminated } = previous?.state ?? {};
  const taken = { ...RESTART_ALL, exitCode: STATUS_UNKNOWN_EXIT_CODE, startedAt: running?.startedAt, finishedAt: null };
  const lastState = { terminated: terminated ?? taken } as unknown as ContainerState;
  return { state: { waiting: RESTART_ALL }, lastState };
}

/** Regular containers are created only after every init container is done. */
function wasInitialized({ pod, runtime }: ContainerStatusesInput): boolean {
  const regular = new Set((pod.spec?.containers ?? []).map((c) => c.name));
  return runtime.containers.some((c) => regular.has(c.name));
}

function vanishedInitState(previous: ContainerStatus | undefined): ContainerState {
  const startedAt = previous?.state?.running?.startedAt;
  const terminated = {
    exitCode: 0,
    reason: 'Completed',
    message:
      'Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally',
    ...(startedAt === undefined ? {} : { startedAt }),
  };
  return { terminated };
}

/**
 * A container that is to run and could not be started says why; what it ended with moves to `lastState`. So does the end
 * of one that was cut off while it was being started: the API holds an end under Never for final.
 */
function waitingAfterFailure(
  kind: ContainerKind,
  spec: SpecContainer,
  newest: RuntimeContainer | undefined,
  status: ContainerStatus,
  { pod, runtime, startFailure }: ContainerStatusesInput,
): ContainerStatus {
  const doneInit = kind === 'init' && newest?.state === 'exited' && newest.exitCode === 0;
  if (doneInit || !shouldBeRestarted(pod, spec as Container, runtime)) return status;
  const cutOff = newest?.state === 'exited' && wasCutOff(newest);
  const failure = startFailure(spec.name) ?? (cutOff ? { reason: reasonToWait(pod), message: '' } : undefined);
  if (failure === undefined) return status;
  const { reason, message } = failure;
  return {
    ...status,
    lastState: status.state?.terminated === undefined ? (status.lastState ?? {}) : status.state,
    state: { waiting: { reason, ...(message === '' ? {} : { message }) } },
  };
}
