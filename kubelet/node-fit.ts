// Does the node have what a pod asks for? All that speaks against it, in upstream's order, since what follows depends
// on the whole: a critical pod may take the place of others, but only when nothing else is in its way. Pure. After
// pkg/kubelet/lifecycle/predicate.go generalFilter.
import type { Node } from '../api/kinds.ts';
import { ParseError } from '../api/parse-error.ts';
import type { Pod, PodSpec } from '../api/pod.ts';
import { podRequests } from '../api/pod-resources.ts';
import {
  addQuantities,
  compareQuantities,
  parseQuantity,
  type Quantity,
  quantityMilliValue,
  quantityOf,
  quantityValue,
  subtractQuantities,
} from '../api/quantity.ts';
import { firstUntolerated, hostPortsConflict, hostPortsOf, matchesNodeSelection } from '../api/scheduling.ts';
import { isStaticPod } from './pod-manager.ts';

export interface FitInput {
  readonly pod: Pod;
  /** Pods that hold resources here: admitted and not over. */
  readonly activePods: readonly Pod[];
  readonly node: Node;
}

/** How much of a resource is missing. */
export interface Shortage {
  readonly resource: string;
  readonly missing: Quantity;
}

export interface Misfit {
  readonly reason: string;
  readonly message: string;
  /** Of too little of a resource: other pods hold it. */
  readonly shortage?: Shortage;
}

/** Everything that keeps the pod from this node; empty when nothing does. */
export function misfits(input: FitInput): Misfit[] {
  return [
    ...shortages(input),
    ...[affinity(input), nodeName(input), ports(input), taints(input)].flatMap((m) => m ?? []),
  ];
}

/** The order of upstream's fit check; extended resources come last. */
const FIT_ORDER = ['pods', 'cpu', 'memory', 'ephemeral-storage'];

/** Each pod that comes is held against all that are here: their amounts are read once, not once for every later pod. */
const taken = new WeakMap<PodSpec, ReadonlyMap<string, Quantity>>();

/** What a pod takes of the node, itself included, by resource name. @throws {ParseError} */
export function takenBy(pod: Pod): ReadonlyMap<string, Quantity> {
  const known = pod.spec && taken.get(pod.spec);
  if (known !== undefined) return known;
  const amounts = podRequests(pod).set('pods', quantityOf(1));
  if (pod.spec !== undefined) taken.set(pod.spec, amounts);
  return amounts;
}

/** A pod that was being deleted when the agent came was not asked about its amounts; it must not spoil the others'. */
function readableTakenBy(pod: Pod): ReadonlyMap<string, Quantity> {
  try {
    return takenBy(pod);
  } catch (err) {
    if (err instanceof ParseError) return new Map([['pods', quantityOf(1)]]);
    throw err;
  }
}

function shortages({ pod, activePods, node }: FitInput): Misfit[] {
  const allocatable = node.status?.allocatable ?? node.status?.capacity ?? {};
  const used = new Map<string, Quantity>();
  for (const other of activePods) for (const [name, amount] of readableTakenBy(other)) add(used, name, amount);
  return [...takenBy(pod)]
    .sort(([a], [b]) => fitOrder(a) - fitOrder(b))
    .flatMap(([name, requested]) => {
      const capacity = allocatable[name];
      // Resources that the node has none of are cluster-level ones, of no concern to the node.
      if (capacity === undefined || requested.nanos === 0n) return [];
      return shortageOf(name, requested, used.get(name) ?? quantityOf(0), parseQuantity(capacity)) ?? [];
    });
}

function shortageOf(name: string, requested: Quantity, used: Quantity, capacity: Quantity): Misfit | undefined {
  const wanted = addQuantities(used, requested);
  if (compareQuantities(wanted, capacity) <= 0) return undefined;
  const figure = (q: Quantity) => (name === 'cpu' ? quantityMilliValue(q) : quantityValue(q));
  return {
    reason: `OutOf${name}`,
    message:
      `Node didn't have enough resource: ${name}, requested: ${figure(requested)}, ` +
      `used: ${figure(used)}, capacity: ${figure(capacity)}`,
    shortage: { resource: name, missing: subtractQuantities(wanted, capacity) },
  };
}

function fitOrder(name: string): number {
  const at = FIT_ORDER.indexOf(name);
  return at < 0 ? FIT_ORDER.length : at;
}

function add(amounts: Map<string, Quantity>, name: string, amount: Quantity): void {
  const before = amounts.get(name);
  amounts.set(name, before === undefined ? amount : addQuantities(before, amount));
}

function affinity({ pod, node }: FitInput): Misfit | undefined {
  if (matchesNodeSelection(pod.spec, node)) return undefined;
  return {
    reason: 'NodeAffinity',
    message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
  };
}

function nodeName({ pod, node }: FitInput): Misfit | undefined {
  const wanted = pod.spec?.nodeName;
  if (wanted === undefined || wanted === '' || wanted === node.metadata?.name) return undefined;
  return { reason: 'NodeName', message: "Predicate NodeName failed: node(s) didn't match the requested node name" };
}

function ports({ pod, activePods }: FitInput): Misfit | undefined {
  const wanted = hostPortsOf(pod);
  if (wanted.length === 0) return undefined;
  const taken = activePods.flatMap(hostPortsOf);
  if (!wanted.some((w) => taken.some((t) => hostPortsConflict(w, t)))) return undefined;
  return {
    reason: 'NodePorts',
    message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
  };
}

function taints({ pod, node }: FitInput): Misfit | undefined {
  if (isStaticPod(pod)) return undefined;
  if (firstUntolerated(node.spec?.taints, pod.spec?.tolerations, ['NoExecute']) === undefined) return undefined;
  return {
    reason: 'TaintToleration',
    message: "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
  };
}
