// May this pod run here? The scheduler has asked already, but static pods never passed it, and the node may have changed
// since. A chain of pure handlers; the first refusal wins. After pkg/kubelet/lifecycle/predicate.go.
import type { Node } from '../api/kinds.ts';
import { formatTime } from '../api/meta.ts';
import { ParseError } from '../api/parse-error.ts';
import { isTerminalPhase, type Pod, type PodStatus } from '../api/pod.ts';
import { podLimits, podRequests } from '../api/pod-resources.ts';
import { podQosClass } from '../api/qos.ts';
import {
  addQuantities,
  compareQuantities,
  parseQuantity,
  type Quantity,
  quantityMilliValue,
  quantityOf,
  quantityValue,
} from '../api/quantity.ts';
import { firstUntolerated, hostPortsConflict, hostPortsOf, matchesNodeSelection } from '../api/scheduling.ts';
import { unenforcedAppArmor } from './apparmor-policy.ts';
import { isStaticPod } from './pod-manager.ts';
import { forbiddenSysctl } from './sysctl-policy.ts';

export interface AdmissionInput {
  readonly pod: Pod;
  /** Pods that hold resources here: admitted and not over. */
  readonly activePods: readonly Pod[];
  readonly node: Node | undefined;
  /** What the node's owner lets pods set beyond the safe sysctls. */
  readonly allowedUnsafeSysctls?: readonly string[];
  /** Whether the host enforces AppArmor profiles; absent when that is not known. */
  readonly appArmorEnabled?: boolean;
}

export interface Rejection {
  readonly reason: string;
  readonly message: string;
}

export type AdmissionHandler = (input: AdmissionInput) => Rejection | undefined;

/** In order; more of them (eviction, devices) go before and after these. */
export const ADMISSION_HANDLERS: readonly AdmissionHandler[] = [
  refuseUnreadable,
  refuseSysctls,
  refuseWithoutNode,
  refuseOtherOs,
  refuseStrictGroups,
  refuseOverCommitment,
  refuseOtherNodes,
  refuseWrongNodeName,
  refusePortConflicts,
  refuseTaints,
  refuseAppArmor,
];

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

/** Holds resources of the node: neither over nor about to be forgotten. `status` is what the agent holds of it. */
export function isActive(pod: Pod, status: PodStatus | undefined): boolean {
  const isOver = isTerminalPhase(pod.status?.phase) || isTerminalPhase(status?.phase);
  return !isOver;
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

function refuseWithoutNode({ node }: AdmissionInput): Rejection | undefined {
  if (node !== undefined) return undefined;
  return { reason: 'InvalidNodeInfo', message: 'Kubelet cannot get node info.' };
}

const OS_LABEL = 'kubernetes.io/os';

function refuseOtherOs({ pod, node }: AdmissionInput): Rejection | undefined {
  const wanted = pod.spec?.nodeSelector?.[OS_LABEL] ?? pod.metadata?.labels?.[OS_LABEL];
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

/** Resources that the node has none of are cluster-level ones, of no concern to the node. */
function refuseOverCommitment({ pod, activePods, node }: AdmissionInput): Rejection | undefined {
  const allocatable = node?.status?.allocatable ?? node?.status?.capacity ?? {};
  const requests = podRequests(pod);
  const used = new Map<string, Quantity>();
  for (const other of activePods) {
    for (const [name, amount] of podRequests(other)) add(used, name, amount);
    add(used, 'pods', quantityOf(1));
  }
  requests.set('pods', quantityOf(1));
  const names = [...requests.keys()].sort((a, b) => fitOrder(a) - fitOrder(b));
  for (const name of names) {
    const capacityText = allocatable[name];
    const requested = requests.get(name)!;
    if (capacityText === undefined || requested.nanos === 0n) continue;
    const capacity = parseQuantity(capacityText);
    const inUse = used.get(name) ?? quantityOf(0);
    if (compareQuantities(addQuantities(inUse, requested), capacity) <= 0) continue;
    const figure = (q: Quantity) => (name === 'cpu' ? quantityMilliValue(q) : quantityValue(q));
    return {
      reason: `OutOf${name}`,
      message:
        `Node didn't have enough resource: ${name}, requested: ${figure(requested)}, ` +
        `used: ${figure(inUse)}, capacity: ${figure(capacity)}`,
    };
  }
  return undefined;
}

const FIT_ORDER = ['pods', 'cpu', 'memory', 'ephemeral-storage'];

/** The order of upstream's fit check; extended resources come last. */
function fitOrder(name: string): number {
  const at = FIT_ORDER.indexOf(name);
  return at < 0 ? FIT_ORDER.length : at;
}

function add(amounts: Map<string, Quantity>, name: string, amount: Quantity): void {
  const before = amounts.get(name);
  amounts.set(name, before === undefined ? amount : addQuantities(before, amount));
}

function refuseOtherNodes({ pod, node }: AdmissionInput): Rejection | undefined {
  if (node === undefined || matchesNodeSelection(pod.spec, node)) return undefined;
  return {
    reason: 'NodeAffinity',
    message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
  };
}

function refuseWrongNodeName({ pod, node }: AdmissionInput): Rejection | undefined {
  const wanted = pod.spec?.nodeName;
  if (wanted === undefined || wanted === '' || wanted === node?.metadata?.name) return undefined;
  return { reason: 'NodeName', message: "Predicate NodeName failed: node(s) didn't match the requested node name" };
}

function refusePortConflicts({ pod, activePods }: AdmissionInput): Rejection | undefined {
  const wanted = hostPortsOf(pod);
  if (wanted.length === 0) return undefined;
  const taken = activePods.flatMap(hostPortsOf);
  if (!wanted.some((w) => taken.some((t) => hostPortsConflict(w, t)))) return undefined;
  return {
    reason: 'NodePorts',
    message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
  };
}

function refuseTaints({ pod, node }: AdmissionInput): Rejection | undefined {
  if (isStaticPod(pod)) return undefined;
  if (firstUntolerated(node?.spec?.taints, pod.spec?.tolerations, ['NoExecute']) === undefined) return undefined;
  return {
    reason: 'TaintToleration',
    message: "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
  };
}
