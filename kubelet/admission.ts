// May this pod run here? The scheduler has asked already, but static pods never passed it, and the node may have changed
// since. A chain of pure handlers; the first refusal wins. After pkg/kubelet/lifecycle/predicate.go.
import type { Node, Taint } from '../api/kinds.ts';
import { formatTime } from '../api/meta.ts';
import { ParseError } from '../api/parse-error.ts';
import { isTerminalPhase, type Pod, type PodStatus } from '../api/pod.ts';
import { podLimits, podRequests } from '../api/pod-resources.ts';
import { podQosClass } from '../api/qos.ts';
import { firstUntolerated } from '../api/scheduling.ts';
import { unenforcedAppArmor } from './apparmor-policy.ts';
import { EVICTED } from './eviction/evicted-status.ts';
import { requiredFeatures } from './node/declared-features.ts';
import { type Misfit, misfits } from './node-fit.ts';
import { isCriticalPod } from './pod-manager.ts';
import type { WorkerPhase } from './pod-worker-state.ts';
import { chooseVictims, unmetMessage } from './preemption.ts';
import { forbiddenSysctl } from './sysctl-policy.ts';

export interface AdmissionInput {
  readonly pod: Pod;
  /** Pods that hold resources here: admitted and not over. */
  readonly activePods: readonly Pod[];
  readonly node: Node | undefined;
  /** Conditions of the node that it is short of something: `MemoryPressure`, `DiskPressure`, `PIDPressure`. */
  readonly pressure?: readonly string[];
  /** The node goes down: nothing new is begun. */
  readonly shuttingDown?: boolean;
  /** What the node's owner lets pods set beyond the safe sysctls. */
  readonly allowedUnsafeSysctls?: readonly string[];
  /** Whether the host enforces AppArmor profiles; absent when that is not known. */
  readonly appArmorEnabled?: boolean;
  /** What the node has declared; absent when nodes here declare nothing. */
  readonly declaredFeatures?: readonly string[];
}

export interface Rejection {
  readonly reason: string;
  readonly message: string;
  /** Pods that would have to end first; then the pod may be asked for again. Never empty. */
  readonly victims?: readonly Pod[];
  /** The node's labels alone speak against the pod: what is known of them may be old. */
  readonly onlyNodeLabels?: boolean;
}

export type AdmissionHandler = (input: AdmissionInput) => Rejection | undefined;

/** Asked before anything is allocated for the pod (managers/pod-resources.ts). */
export const EARLY_HANDLERS: readonly AdmissionHandler[] = [
  refuseUnreadable,
  refuseUnderPressure,
  refuseInShutdown,
  refuseSysctls,
];

/** Asked when the pod has what it is to have for itself. */
export const LATE_HANDLERS: readonly AdmissionHandler[] = [
  refuseWithoutNode,
  refuseOtherOs,
  refuseStrictGroups,
  refuseMisfits,
  refuseAppArmor,
  refuseUndeclared,
];

/** All of them, in order. */
const ADMISSION_HANDLERS: readonly AdmissionHandler[] = [...EARLY_HANDLERS, ...LATE_HANDLERS];

export function admit(input: AdmissionInput, handlers = ADMISSION_HANDLERS): Rejection | undefined {
  for (const handler of handlers) {
    const rejection = handler(input);
    if (rejection !== undefined) return rejection;
  }
  return undefined;
}

/** What a refused pod's status says: it never runs. */
export function rejectedStatus(pod: Pod, { reason, message }: Rejection, nowMs: number): PodStatus {
  return {
    ...(pod.status?.conditions === undefined ? {} : { conditions: pod.status.conditions }),
    startTime: pod.status?.startTime ?? formatTime(nowMs),
    ...(pod.metadata?.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
    phase: 'Failed',
    reason,
    message: `Pod was rejected: ${message}`,
    ...(unreadableAmount(pod) === undefined ? { qosClass: podQosClass(pod) } : {}),
  };
}

/**
 * Holds resources of the node. `status` is what the agent holds of the pod, `worker` how far its worker is: a pod that
 * is over by its phase holds them until it has been stopped, e.g. one past its deadline.
 */
export function isActive(pod: Pod, status: PodStatus | undefined, worker: WorkerPhase | undefined): boolean {
  if (worker === 'terminating') return true;
  return worker === 'sync' && !isTerminalPhase(pod.status?.phase) && !isTerminalPhase(status?.phase);
}

/** An API server reads amounts before it stores them; whoever else writes pods may not. Nothing below can read them. */
function refuseUnreadable({ pod }: AdmissionInput): Rejection | undefined {
  const message = unreadableAmount(pod);
  return message === undefined ? undefined : { reason: 'UnexpectedAdmissionError', message };
}

function unreadableAmount(pod: Pod): string | undefined {
  try {
    podRequests(pod);
    podLimits(pod);
    podQosClass(pod);
    return undefined;
  } catch (err) {
    if (err instanceof ParseError) return err.message;
    throw err;
  }
}

function refuseInShutdown({ shuttingDown }: AdmissionInput): Rejection | undefined {
  if (shuttingDown !== true) return undefined;
  return { reason: 'NodeShutdown', message: 'Pod was rejected as the node is shutting down.' };
}

const MEMORY_TAINT: Taint = { key: 'node.kubernetes.io/memory-pressure', effect: 'NoSchedule' };

/**
 * A pod that would be evicted at once. One that asked for its memory may come while memory alone is short, and one that
 * runs here already, which an agent that was started anew asks about, is not ended for that.
 */
function refuseUnderPressure({ pod, pressure = [] }: AdmissionInput): Rejection | undefined {
  if (pressure.length === 0 || isCriticalPod(pod) || pod.status?.phase === 'Running') return undefined;
  if (pressure.every((condition) => condition === 'MemoryPressure')) {
    if (podQosClass(pod) !== 'BestEffort') return undefined;
    if (firstUntolerated([MEMORY_TAINT], pod.spec?.tolerations, ['NoSchedule']) === undefined) return undefined;
  }
  return { reason: EVICTED, message: `The node had condition: [${pressure.join(' ')}]. ` };
}

function refuseSysctls({ pod, allowedUnsafeSysctls = [] }: AdmissionInput): Rejection | undefined {
  const message = forbiddenSysctl(pod, allowedUnsafeSysctls);
  return message === undefined ? undefined : { reason: 'SysctlForbidden', message };
}

function refuseAppArmor({ pod, appArmorEnabled }: AdmissionInput): Rejection | undefined {
  const isPending = (pod.status?.phase ?? 'Pending') === 'Pending'; // later it is what it is
  if (appArmorEnabled === undefined || !isPending) return undefined;
  const message = unenforcedAppArmor(pod, appArmorEnabled);
  return message === undefined ? undefined : { reason: 'AppArmor', message };
}

function refuseUndeclared({ pod, declaredFeatures }: AdmissionInput): Rejection | undefined {
  if (declaredFeatures === undefined) return undefined;
  const missing = requiredFeatures(pod).filter((name) => !declaredFeatures.includes(name));
  if (missing.length === 0) return undefined;
  const message = `Pod requires node features that are not available: ${missing.join(', ')}`;
  return { reason: 'PodFeatureUnsupported', message };
}

function refuseWithoutNode({ node }: AdmissionInput): Rejection | undefined {
  if (node !== undefined) return undefined;
  return { reason: 'InvalidNodeInfo', message: 'Kubelet cannot get node info.' };
}

const OS_LABEL = 'kubernetes.io/os';

function refuseOtherOs({ pod, node }: AdmissionInput): Rejection | undefined {
  const wanted = pod.metadata?.labels?.[OS_LABEL]; // a selector is a matter of affinity
  if (wanted !== undefined && wanted !== (node?.metadata?.labels?.[OS_LABEL] ?? 'linux')) {
    return {
      reason: 'PodOSSelectorNodeLabelDoesNotMatch',
      message: "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
    };
  }
  const os = pod.spec?.os?.name;
  if (os === undefined || os === 'linux') return undefined;
  return { reason: 'PodOSNotSupported', message: "Failed to admit pod as the OS field doesn't match node OS" };
}

/** A runtime that does not know the policy would add the image's groups, which is what the pod wants to be kept from. */
function refuseStrictGroups({ pod, node }: AdmissionInput): Rejection | undefined {
  const { supplementalGroupsPolicy: policy } = (pod.spec?.securityContext ?? {}) as {
    supplementalGroupsPolicy?: string;
  };
  const { features } = (node?.status ?? {}) as { features?: { supplementalGroupsPolicy?: boolean } };
  if (policy !== 'Strict' || features?.supplementalGroupsPolicy === true) return undefined;
  return {
    reason: 'SupplementalGroupsPolicyNotSupported',
    message: 'SupplementalGroupsPolicy=Strict is not supported in this node',
  };
}

/**
 * A critical pod is refused for a lack of resources only when nobody could make room for it, and nobody is asked to
 * when something else is in its way.
 */
function refuseMisfits({ pod, activePods, node }: AdmissionInput): Rejection | undefined {
  if (node === undefined) return undefined; // said before
  const found = misfits({ pod, activePods, node });
  const [first] = found;
  if (first === undefined) return undefined;
  const decisive = isCriticalPod(pod) ? (found.find((m) => m.shortage === undefined) ?? first) : first;
  if (isCriticalPod(pod) && decisive.shortage !== undefined) {
    const choice = chooseVictims(
      pod,
      activePods,
      found.flatMap((m) => m.shortage ?? []),
    );
    if ('unmet' in choice) return { reason: 'UnexpectedAdmissionError', message: unmetMessage(choice.unmet) };
    return { ...told(decisive), victims: choice.victims };
  }
  const onlyNodeLabels = found.length === 1 && decisive.reason === 'NodeAffinity';
  return { ...told(decisive), ...(onlyNodeLabels ? { onlyNodeLabels } : {}) };
}

function told({ reason, message }: Misfit): Rejection {
  return { reason, message };
}
