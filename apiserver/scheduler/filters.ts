// May this pod run on this node? One function per upstream plugin, in upstream's order; the first refusal is the
// reason that users read in FailedScheduling (pkg/scheduler/framework/plugins).
import { matchesLabels, selectorOf } from '../../api/labels.ts';
import type { Pod } from '../../api/pod.ts';
import { firstUntolerated, hostPortsConflict, matchesNodeSelection, tolerates } from '../../api/scheduling.ts';
import type { NodeInfo, PodFacts } from './node-info.ts';

/** Facts about all nodes that a filter may need, worked out once per pod. */
export interface ClusterView {
  readonly nodes: readonly NodeInfo[];
}

/** Reasons why not; empty when the pod fits. */
export type Filter = (facts: PodFacts, info: NodeInfo, cluster: ClusterView) => readonly string[];

const UNSCHEDULABLE = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };
const FITS: readonly string[] = [];

const nodeUnschedulable: Filter = ({ pod }, { node }) => {
  if (!node?.spec?.unschedulable) return FITS;
  return pod.spec?.tolerations?.some((t) => tolerates(t, UNSCHEDULABLE)) ? FITS : ['node(s) were unschedulable'];
};

const taintToleration: Filter = ({ pod }, { node }) =>
  firstUntolerated(node?.spec?.taints, pod.spec?.tolerations, ['NoSchedule', 'NoExecute']) === undefined
    ? FITS
    : ['node(s) had untolerated taint(s)'];

const nodeAffinity: Filter = ({ pod }, { node }) =>
  node !== undefined && matchesNodeSelection(pod.spec, node)
    ? FITS
    : ["node(s) didn't match Pod's node affinity/selector"];

const nodePorts: Filter = ({ ports }, info) => {
  if (ports.length === 0) return FITS;
  const taken = [...info.pods.values()].flatMap((p) => p.ports);
  return ports.some((a) => taken.some((b) => hostPortsConflict(a, b)))
    ? ["node(s) didn't have free ports for the requested pod ports"]
    : FITS;
};

const nodeResourcesFit: Filter = ({ requests }, info) => {
  const reasons: string[] = [];
  const podLimit = info.allocatable.get('pods');
  if (podLimit !== undefined && BigInt(info.pods.size + 1) * 1_000_000_000n > podLimit) reasons.push('Too many pods');
  for (const [name, amount] of requests) {
    if (amount === 0n) continue;
    if (amount > (info.allocatable.get(name) ?? 0n) - info.requested(name)) reasons.push(`Insufficient ${name}`);
  }
  return reasons;
};

const podTopologySpread: Filter = (facts, info, cluster) => {
  const hard = (facts.pod.spec?.topologySpreadConstraints ?? []).filter((c) => c.whenUnsatisfiable === 'DoNotSchedule');
  for (const constraint of hard) {
    const domain = info.node?.metadata?.labels?.[constraint.topologyKey];
    if (domain === undefined) {
      return ["node(s) didn't match pod topology spread constraints (missing required label)"];
    }
    const counts = domainCounts(
      facts.pod,
      constraint,
      hard.map((c) => c.topologyKey),
      cluster,
    );
    const lowest = counts.size < (constraint.minDomains ?? 1) ? 0 : Math.min(...counts.values());
    const selfMatches = matchesLabels(selectorOf(constraint.labelSelector), facts.pod.metadata?.labels) ? 1 : 0;
    if ((counts.get(domain) ?? 0) + selfMatches - lowest > constraint.maxSkew) {
      return ["node(s) didn't match pod topology spread constraints"];
    }
  }
  return FITS;
};

interface SpreadConstraint {
  readonly topologyKey: string;
  readonly labelSelector?: Parameters<typeof selectorOf>[0];
}

/** Matching pods per domain, over the nodes that the pod could go to at all. */
function domainCounts(
  pod: Pod,
  constraint: SpreadConstraint,
  keys: readonly string[],
  cluster: ClusterView,
): Map<string, number> {
  const selector = selectorOf(constraint.labelSelector);
  const counts = new Map<string, number>();
  for (const info of cluster.nodes) {
    const labels = info.node?.metadata?.labels ?? {};
    const domain = labels[constraint.topologyKey];
    if (domain === undefined || !keys.every((k) => k in labels)) continue;
    if (info.node === undefined || !matchesNodeSelection(pod.spec, info.node)) continue;
    counts.set(domain, (counts.get(domain) ?? 0) + matchingPods(info, pod.metadata?.namespace, selector));
  }
  return counts;
}

export function matchingPods(
  info: NodeInfo,
  namespace: string | undefined,
  selector: ReturnType<typeof selectorOf>,
): number {
  let count = 0;
  for (const { pod } of info.pods.values()) {
    if (pod.metadata?.namespace !== namespace || pod.metadata?.deletionTimestamp !== undefined) continue;
    if (matchesLabels(selector, pod.metadata?.labels)) count++;
  }
  return count;
}

interface AffinityTerm {
  readonly topologyKey: string;
  readonly labelSelector?: Parameters<typeof selectorOf>[0];
  readonly namespaces?: readonly string[];
}

const interPodAffinity: Filter = (facts, info, cluster) => {
  const labels = info.node?.metadata?.labels ?? {};
  const { podAffinity, podAntiAffinity } = facts.pod.spec?.affinity ?? {};
  for (const term of podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []) {
    const domain = labels[term.topologyKey];
    if (domain === undefined || !affinitySatisfied(facts.pod, term, domain, cluster)) {
      return ["node(s) didn't match pod affinity rules"];
    }
  }
  for (const term of podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []) {
    const domain = labels[term.topologyKey];
    if (
      domain !== undefined &&
      podsInDomain(cluster, term.topologyKey, domain).some((p) => termMatches(term, facts.pod, p))
    ) {
      return ["node(s) didn't match pod anti-affinity rules"];
    }
  }
  for (const other of cluster.nodes.flatMap((n) =>
    [...n.pods.values()].map((p) => ({ p, labels: n.node?.metadata?.labels ?? {} })),
  )) {
    for (const term of other.p.pod.spec?.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ??
      []) {
      const domain = labels[term.topologyKey];
      if (
        domain !== undefined &&
        other.labels[term.topologyKey] === domain &&
        termMatches(term, other.p.pod, facts.pod)
      ) {
        return ["node(s) didn't satisfy existing pods anti-affinity rules"];
      }
    }
  }
  return FITS;
};

function affinitySatisfied(pod: Pod, term: AffinityTerm, domain: string, cluster: ClusterView): boolean {
  if (podsInDomain(cluster, term.topologyKey, domain).some((p) => termMatches(term, pod, p))) return true;
  // The first of a group that wants to be together has nobody to join.
  const anywhere = cluster.nodes.some((n) => [...n.pods.values()].some((p) => termMatches(term, pod, p.pod)));
  return !anywhere && termMatches(term, pod, pod);
}

function podsInDomain(cluster: ClusterView, key: string, domain: string): Pod[] {
  return cluster.nodes
    .filter((n) => n.node?.metadata?.labels?.[key] === domain)
    .flatMap((n) => [...n.pods.values()].map((p) => p.pod));
}

/** `owner` is the pod whose term it is: its namespace counts when the term names none. */
function termMatches(term: AffinityTerm, owner: Pod, other: Pod): boolean {
  const namespaces = term.namespaces?.length ? term.namespaces : [owner.metadata?.namespace ?? ''];
  if (!namespaces.includes(other.metadata?.namespace ?? '')) return false;
  return matchesLabels(selectorOf(term.labelSelector), other.metadata?.labels);
}

export const FILTERS: readonly Filter[] = [
  nodeUnschedulable,
  taintToleration,
  nodeAffinity,
  nodePorts,
  nodeResourcesFit,
  podTopologySpread,
  interPodAffinity,
];

/** Why `info` cannot take the pod: the first filter's reasons. Empty when it can. */
export function refusals(facts: PodFacts, info: NodeInfo, cluster: ClusterView): readonly string[] {
  for (const filter of FILTERS) {
    const reasons = filter(facts, info, cluster);
    if (reasons.length > 0) return reasons;
  }
  return FITS;
}

/** `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).` and what preemption could do. */
export function unschedulableMessage(nodeCount: number, reasonsByNode: readonly (readonly string[])[]): string {
  if (nodeCount === 0) return 'no nodes available to schedule pods';
  const counts = new Map<string, number>();
  for (const reasons of reasonsByNode) for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  const list = [...counts].map(([reason, n]) => `${n} ${reason}`).sort();
  const helpless = reasonsByNode.filter((reasons) => reasons.some(isUnresolvable)).length;
  const others = nodeCount - helpless;
  const preemption = [
    ...(others > 0 ? [`${others} No preemption victims found for incoming pod`] : []),
    ...(helpless > 0 ? [`${helpless} Preemption is not helpful for scheduling`] : []),
  ].join(', ');
  return `0/${nodeCount} nodes are available: ${list.join(', ')}. preemption: 0/${nodeCount} nodes are available: ${preemption}.`;
}

/** Removing pods changes nothing about these. */
function isUnresolvable(reason: string): boolean {
  return /unschedulable|untolerated taint|node affinity|missing required label/.test(reason);
}
