// The pod conditions that the agent owns, with the reasons and messages that `kubectl describe` shows. Pure. After
// pkg/kubelet/status/generate.go.
import { formatTime } from '../../api/meta.ts';
import type { Container, ContainerStatus, Pod, PodCondition, PodPhase } from '../../api/pod.ts';
import { withoutUndefined } from '../../core/without-undefined.ts';
import { decideSandbox } from '../runtime/compute-actions.ts';
import { findContainer, type PodRuntimeStatus } from '../runtime/pod-runtime-status.ts';
import { isSidecar, matchRestartRule } from '../runtime/restart-policy.ts';

/** Conditions that only the agent writes (pkg/kubelet/types PodConditionsByKubelet). */
const OWNED_CONDITIONS: ReadonlySet<string> = new Set([
  'PodScheduled',
  'Ready',
  'Initialized',
  'ContainersReady',
  'PodReadyToStartContainers',
  'PodResizePending',
  'PodResizeInProgress',
  'AllContainersRestarting',
]);

export function isOwnedCondition(type: string): boolean {
  return OWNED_CONDITIONS.has(type);
}

export interface ConditionsInput {
  readonly pod: Pod;
  readonly runtime: PodRuntimeStatus;
  readonly phase: PodPhase;
  readonly init: readonly ContainerStatus[];
  readonly regular: readonly ContainerStatus[];
  /** As stored before: transition times come from them. */
  readonly previous: readonly PodCondition[];
  /** Foreign conditions as the API has them: readiness gates look at them. */
  readonly foreign: readonly PodCondition[];
  readonly nowMs: number;
}

/** A condition before it has a time and a generation. */
export interface Verdict {
  readonly status: 'True' | 'False';
  readonly reason?: string;
  readonly message?: string;
}

const TRUE: Verdict = { status: 'True' };

/** Every owned condition, in the order of a fresh upstream status. */
export function computeConditions(input: ConditionsInput): PodCondition[] {
  const containersReady = containersReadyVerdict(input);
  const conditions: [string, Verdict][] = [
    [
      'PodReadyToStartContainers',
      { status: decideSandbox(input.pod, input.runtime.sandboxes).create ? 'False' : 'True' },
    ],
    ['Initialized', initializedVerdict(input)],
    ['Ready', readyVerdict(input.pod, containersReady, input.foreign)],
    ['ContainersReady', containersReady],
    ['PodScheduled', TRUE],
  ];
  const restarting = allContainersRestarting(input);
  if (restarting !== undefined) conditions.push(['AllContainersRestarting', restarting]);
  return conditions.map(([type, verdict]) => stampCondition(type, verdict, input));
}

/** The transition time changes only with the status. */
export function stampCondition(
  type: string,
  verdict: Verdict,
  at: { readonly pod: Pod; readonly previous: readonly PodCondition[]; readonly nowMs: number },
): PodCondition {
  const before = at.previous.find((c) => c.type === type);
  const unchanged = before !== undefined && before.status === verdict.status;
  const generation = at.pod.metadata?.generation;
  return {
    type,
    status: verdict.status,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    lastTransitionTime: (unchanged ? before.lastTransitionTime : undefined) ?? formatTime(at.nowMs),
    ...(verdict.reason === undefined ? {} : { reason: verdict.reason }),
    ...(verdict.message === undefined ? {} : { message: verdict.message }),
  };
}

function initializedVerdict(input: ConditionsInput): Verdict {
  const { pod, phase, init, regular, previous } = input;
  const specs = pod.spec?.initContainers ?? [];
  if (init.length === 0 && specs.length > 0) return { status: 'False', reason: 'UnknownContainerStatuses' };
  const statuses = new Map(init.map((s) => [s.name, s]));
  const unknown = specs.filter((c) => !statuses.has(c.name)).map((c) => c.name);
  const incomplete = specs.filter((c) => {
    const status = statuses.get(c.name);
    return status !== undefined && (isSidecar(c) ? status.started !== true : !status.ready);
  });
  if (phase === 'Succeeded' && unknown.length === 0) return { status: 'True', reason: 'PodCompleted' };
  if (regular.some((s) => s.state?.running !== undefined || s.state?.terminated !== undefined)) return TRUE;
  const wasTrue = previous.some((c) => c.type === 'Initialized' && c.status === 'True');
  if (wasTrue && allContainersRestarting(input)?.status === 'True') return TRUE;
  const names = incomplete.map((c) => c.name);
  const message = listMessage([
    ['unknown', unknown],
    ['incomplete', names],
  ]);
  return message === '' ? TRUE : { status: 'False', reason: 'ContainersNotInitialized', message };
}

type ReadyInput = Pick<ConditionsInput, 'pod' | 'phase' | 'init' | 'regular'>;

/** Regular containers and sidecars are all ready. */
export function containersReadyVerdict({ pod, phase, init, regular }: ReadyInput): Verdict {
  if (regular.length === 0 && (pod.spec?.containers.length ?? 0) > 0) {
    return { status: 'False', reason: 'UnknownContainerStatuses' };
  }
  const statuses = new Map([...init, ...regular].map((s) => [s.name, s]));
  const specs: readonly Container[] = [
    ...(pod.spec?.initContainers ?? []).filter(isSidecar),
    ...(pod.spec?.containers ?? []),
  ];
  const unknown = specs.filter((c) => !statuses.has(c.name)).map((c) => c.name);
  if (phase === 'Succeeded' && unknown.length === 0) return { status: 'False', reason: 'PodCompleted' };
  if (phase === 'Failed' && unknown.length === 0) return { status: 'False', reason: 'PodFailed' };
  const unready = specs.filter((c) => statuses.get(c.name)?.ready === false).map((c) => c.name);
  const message = listMessage([
    ['unknown', unknown],
    ['unready', unready],
  ]);
  return message === '' ? TRUE : { status: 'False', reason: 'ContainersNotReady', message };
}

/** ContainersReady plus the readiness gates, whose conditions others write (KEP-580). */
export function readyVerdict(pod: Pod, containersReady: Verdict, foreign: readonly PodCondition[]): Verdict {
  if (containersReady.status !== 'True') return containersReady;
  const messages: string[] = [];
  for (const { conditionType } of pod.spec?.readinessGates ?? []) {
    const condition = foreign.find((c) => c.type === conditionType);
    if (condition === undefined) {
      messages.push(`corresponding condition of pod readiness gate "${conditionType}" does not exist.`);
    } else if (condition.status !== 'True') {
      messages.push(`the status of pod readiness gate "${conditionType}" is not "True", but ${condition.status}`);
    }
  }
  if (messages.length === 0) return TRUE;
  return { status: 'False', reason: 'ReadinessGatesNotReady', message: messages.join(', ') };
}

/** The Ready condition of `pod` is not what its readiness gates make of it: somebody wrote a condition they wait for. */
export function readinessGatesDiffer(pod: Pod): boolean {
  if ((pod.spec?.readinessGates?.length ?? 0) === 0) return false;
  const conditions = pod.status?.conditions ?? [];
  const containersReady = conditions.find((c) => c.type === 'ContainersReady');
  const ready = conditions.find((c) => c.type === 'Ready');
  const verdict: Verdict = {
    status: containersReady?.status === 'True' ? 'True' : 'False',
    ...withoutUndefined({ message: containersReady?.message }),
  };
  const wanted = readyVerdict(pod, verdict, conditions);
  return ready?.status !== wanted.status || (ready?.message ?? '') !== (wanted.message ?? '');
}

/** The end of one container may start all of them anew (KEP-5532). */
export function hasRestartAllRule(pod: Pod): boolean {
  const specs = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  return specs.some((c) => c.restartPolicyRules?.some((r) => r.action === 'RestartAllContainers'));
}

/** Undefined for pods without such a rule. */
function allContainersRestarting({ pod, runtime, phase }: ConditionsInput): Verdict | undefined {
  if (!hasRestartAllRule(pod)) return undefined;
  if (phase === 'Succeeded') return { status: 'False', reason: 'PodCompleted' };
  if (phase === 'Failed') return { status: 'False', reason: 'PodFailed' };
  const specs = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  const asked = specs.some((c) => {
    const newest = findContainer(runtime, c.name);
    return newest?.state === 'exited' && matchRestartRule(c, newest.exitCode) === 'RestartAllContainers';
  });
  if (!asked) return { status: 'False' };
  return {
    status: 'True',
    reason: 'RestartAllContainersStarted',
    message: 'container exited with restart policy rule',
  };
}

function listMessage(lists: readonly [string, readonly string[]][]): string {
  return lists
    .filter(([, names]) => names.length > 0)
    .map(([what, names]) => `containers with ${what} status: [${names.join(' ')}]`)
    .join(', ');
}
