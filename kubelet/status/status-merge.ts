// What to send to the API server so that a pod's status becomes what the agent holds. Pure. After
// pkg/kubelet/status/status_manager.go mergePodStatus, isPodStatusByKubeletEqual, checkContainerStateTransition.
import {
  type ContainerStatus,
  isTerminalPhase,
  type Pod,
  type PodCondition,
  type PodPhase,
  type PodStatus,
} from '../../api/pod.ts';
import { effectiveRestartPolicy, isSidecar, restartsAfterExit } from '../runtime/restart-policy.ts';
import {
  containersReadyVerdict,
  hasRestartAllRule,
  isOwnedCondition,
  stampCondition,
  type Verdict,
} from './conditions.ts';
import { FOREIGN_FIELDS } from './status-patch.ts';

/** Equal in everything that the agent decides; transition times and others' conditions do not count. */
export function isStatusEqual(a: PodStatus, b: PodStatus): boolean {
  return isSameButBlanks(decided(a), decided(b));
}

/** observedGeneration follows the spec: a change must be told even when nothing else changed. */
function decided(status: PodStatus): Fields {
  const conditions = (status.conditions ?? [])
    .filter((c) => isOwnedCondition(c.type) || c.type === 'DisruptionTarget')
    .map((c) => [c.type, c.status, c.reason ?? '', c.message ?? ''])
    .sort();
  const rest: Fields = { ...status, conditions };
  for (const field of FOREIGN_FIELDS) delete rest[field];
  return rest;
}

type Fields = Record<string, unknown>;

/**
 * Go leaves out texts and lists that are empty, and writes times that it does not know as null: what comes back from a
 * server in another form than it was sent is no difference. Asked with each status of each pod: nothing is copied.
 */
function isSameButBlanks(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    return a.every((member, i) => isSameButBlanks(member, b[i]));
  }
  const [left, right] = [a as Fields, b as Fields];
  for (const field in left) {
    const [x, y] = [left[field], right[field]];
    if (isBlank(x) ? !isBlank(y) : !isSameButBlanks(x, y)) return false;
  }
  for (const field in right) if (!isBlank(right[field]) && isBlank(left[field])) return false;
  return true;
}

function isBlank(value: unknown): boolean {
  return value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0);
}

/**
 * The status the API should have. `mayHaveRunning`: a terminal phase is withheld, since controllers take it as leave to
 * start a replacement that uses the same resources.
 */
export function mergeStatus(
  pod: Pod,
  api: PodStatus,
  held: PodStatus,
  mayHaveRunning: boolean,
  nowMs: number,
): PodStatus {
  const foreign = (api.conditions ?? []).filter((c) => !isOwnedCondition(c.type) && c.type !== 'DisruptionTarget');
  const apiDisruption = (api.conditions ?? []).filter((c) => c.type === 'DisruptionTarget');
  const heldDisruption = (held.conditions ?? []).filter((c) => c.type === 'DisruptionTarget');
  const owned = (held.conditions ?? []).filter((c) => isOwnedCondition(c.type));
  const becomesTerminal = isTerminalPhase(held.phase) && !isTerminalPhase(api.phase);
  let merged: PodStatus = held;
  if (becomesTerminal && mayHaveRunning) {
    const { phase: _, reason: __, message: ___, ...rest } = held;
    merged = { ...rest, ...pickOutcome(api) };
  }
  // Told together with the end that it explains, and not before.
  const isTold = becomesTerminal && !mayHaveRunning && heldDisruption.length > 0;
  const at = { pod, previous: apiDisruption, nowMs };
  const disruption = isTold ? heldDisruption.map((c) => stampCondition(c.type, c as Verdict, at)) : apiDisruption;
  const conditions = [...foreign, ...disruption, ...owned];
  const init = withEndedInit(pod, api, merged);
  return { ...merged, ...init, conditions: unreadyWhenTerminal(pod, { ...merged, conditions }, nowMs) };
}

/**
 * A new sandbox runs init containers once more, also those that succeeded under OnFailure, which the API holds for ended:
 * it would refuse the whole status, and with it that the pod is not ready. They are shown as they ended until they end again.
 */
function withEndedInit(pod: Pod, api: PodStatus, { initContainerStatuses: init }: PodStatus): PodStatus {
  if (init === undefined || hasRestartAllRule(pod)) return {};
  const told = new Map((api.initContainerStatuses ?? []).map((s) => [s.name, s]));
  const specs = new Map((pod.spec?.initContainers ?? []).map((c) => [c.name, c]));
  const initContainerStatuses = init.map((status) => {
    const [spec, known] = [specs.get(status.name), told.get(status.name)];
    const end = known?.state?.terminated;
    if (spec === undefined || end === undefined || status.state?.terminated !== undefined) return status;
    return restartsAfterExit(pod, spec, end) ? status : known!;
  });
  return { initContainerStatuses };
}

function pickOutcome(status: PodStatus): PodStatus {
  return {
    ...(status.phase === undefined ? {} : { phase: status.phase }),
    ...(status.reason === undefined ? {} : { reason: status.reason }),
    ...(status.message === undefined ? {} : { message: status.message }),
  };
}

/** A pod that is over is never Ready, whatever its containers were when it was looked at last. */
function unreadyWhenTerminal(pod: Pod, status: PodStatus, nowMs: number): PodCondition[] {
  const conditions = status.conditions ?? [];
  if (!isTerminalPhase(status.phase)) return conditions;
  const unready = containersReadyVerdict({
    pod,
    phase: status.phase as PodPhase,
    init: status.initContainerStatuses ?? [],
    regular: status.containerStatuses ?? [],
  });
  return conditions.map((c) => {
    if ((c.type !== 'Ready' && c.type !== 'ContainersReady') || c.status !== 'True') return c;
    return stampCondition(c.type, unready, { pod, previous: conditions, nowMs });
  });
}

/**
 * A container that ended and may not run again must stay ended.
 * @returns the name of the first container that breaks this, undefined when all is well.
 */
export function illegalTransition(pod: Pod, before: PodStatus, after: PodStatus): string | undefined {
  if (hasRestartAllRule(pod)) return undefined; // any of them may run again
  const specs = new Map(
    [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].map((c) => [c.name, c] as const),
  );
  const initNames = new Set((pod.spec?.initContainers ?? []).map((c) => c.name));
  const now = new Map(allStatuses(after).map((s) => [s.name, s]));
  for (const old of allStatuses(before)) {
    const spec = specs.get(old.name);
    const end = old.state?.terminated;
    if (spec === undefined || end === undefined || now.get(old.name)?.state?.terminated !== undefined) continue;
    if (initNames.has(old.name) && (isSidecar(spec) || effectiveRestartPolicy(pod, spec) !== 'Never')) continue;
    if (!restartsAfterExit(pod, spec, end)) return old.name;
  }
  return undefined;
}

function allStatuses(status: PodStatus): ContainerStatus[] {
  return [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])];
}
