// May this pod run on this node? One function per upstream plugin, in upstream's order; the first refusal is the
// reason that users read in FailedScheduling (pkg/scheduler/framework/plugins).
import type { Node } from '../../api/kinds.ts';
import { type LabelRequirement, matchesLabels, type Selector, selectorOf } from '../../api/labels.ts';
import type { Pod } from '../../api/pod.ts';
import { firstUntolerated, hostPortsConflict, matchesNodeSelection, tolerates } from '../../api/scheduling.ts';
import { type AffinityTerm, type ClusterView, type DomainCounts, labelOf, matchingPods } from './cluster-view.ts';
import type { NodeInfo, PodFacts } from './node-info.ts';

/** Reasons why not; empty when the pod fits. */
export type Filter = (facts: PodFacts, info: NodeInfo, cluster: ClusterView) => readonly string[];

const UNSCHEDULABLE = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };
const FITS: readonly string[] = [];

const nodeUnschedulable: Filter = ({ pod }, { node }) => {
  if (!node?.spec?.unschedulable) return FITS;
  return pod.spec?.tolerations?.some((t) => tolerates(t, UNSCHEDULABLE)) ? FITS : ['node(s) were unschedulable'];
};

function hasUntoleratedTaint(pod: Pod, node: Node | undefined): boolean {
  return firstUntolerated(node?.spec?.taints, pod.spec?.tolerations, ['NoSchedule', 'NoExecute']) !== undefined;
}

const taintToleration: Filter = ({ pod }, { node }) =>
  hasUntoleratedTaint(pod, node) ? ['node(s) had untolerated taint(s)'] : FITS;

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
  const constraints = facts.pod.spec?.topologySpreadConstraints ?? [];
  const hard = constraints.filter((c) => c.whenUnsatisfiable === 'DoNotSchedule');
  for (const constraint of hard) {
    const domain = labelOf(info, constraint.topologyKey);
    if (domain === undefined) {
      return ["node(s) didn't match pod topology spread constraints (missing required label)"];
    }
    const selector = spreadSelector(facts.pod, constraint);
    const counts = cluster.once(constraint, () => domainCounts(facts.pod, constraint, selector, hard, cluster));
    const lowest = counts.size < (constraint.minDomains ?? 1) ? 0 : Math.min(...counts.values());
    const selfMatches = matchesLabels(selector, facts.pod.metadata?.labels) ? 1 : 0;
    if ((counts.get(domain) ?? 0) + selfMatches - lowest > constraint.maxSkew) {
      return ["node(s) didn't match pod topology spread constraints"];
    }
  }
  return FITS;
};

type SpreadConstraint = NonNullable<NonNullable<Pod['spec']>['topologySpreadConstraints']>[number];

/** matchLabelKeys stand for the pod's own values, e.g. its pod-template-hash: one rollout is spread at a time. */
function spreadSelector(pod: Pod, constraint: SpreadConstraint): Selector {
  const own = (constraint.matchLabelKeys ?? []).flatMap((key): LabelRequirement[] => {
    const value = pod.metadata?.labels?.[key];
    return value === undefined ? [] : [{ key, operator: 'In', values: [value] }];
  });
  const selector = selectorOf(constraint.labelSelector);
  return selector === undefined ? undefined : [...selector, ...own];
}

/** Matching pods per domain, over the nodes that the pod could go to at all. */
function domainCounts(
  pod: Pod,
  constraint: SpreadConstraint,
  selector: Selector,
  hard: readonly SpreadConstraint[],
  cluster: ClusterView,
): DomainCounts {
  const counts = new Map<string, number>();
  for (const info of cluster.nodes) {
    const { node } = info;
    const domain = labelOf(info, constraint.topologyKey);
    if (node === undefined || domain === undefined) continue;
    if (hard.some((c) => labelOf(info, c.topologyKey) === undefined)) continue;
    if (constraint.nodeAffinityPolicy !== 'Ignore' && !matchesNodeSelection(pod.spec, node)) continue;
    if (constraint.nodeTaintsPolicy === 'Honor' && hasUntoleratedTaint(pod, node)) continue;
    counts.set(domain, (counts.get(domain) ?? 0) + matchingPods(info, pod.metadata?.namespace, selector));
  }
  return counts;
}

/** The node must have every topology key, and in each of its domains a pod that all terms are about. */
function fitsCompanions(terms: readonly AffinityTerm[], pod: Pod, info: NodeInfo, cluster: ClusterView): boolean {
  if (terms.some((term) => labelOf(info, term.topologyKey) === undefined)) return false;
  const counts = terms.map((term) => ({ term, perDomain: cluster.companionsPerDomain(term, terms, pod) }));
  if (counts.every(({ term, perDomain }) => perDomain.has(labelOf(info, term.topologyKey)!))) return true;
  // The first of a group that wants to be together has nobody to join.
  const isFirst = counts.every(({ perDomain }) => [...perDomain.keys()].every((domain) => domain === ''));
  return isFirst && terms.every((term) => cluster.termMatches(term, pod, pod));
}

const interPodAffinity: Filter = ({ pod }, info, cluster) => {
  const { podAffinity, podAntiAffinity } = pod.spec?.affinity ?? {};
  const together = podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  if (!fitsCompanions(together, pod, info, cluster)) return ["node(s) didn't match pod affinity rules"];
  for (const term of podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []) {
    const domain = labelOf(info, term.topologyKey);
    if (domain !== undefined && cluster.matchesPerDomain(term, pod).has(domain)) {
      return ["node(s) didn't match pod anti-affinity rules"];
    }
  }
  if (cluster.isRefusedByOthers(pod, info)) return ["node(s) didn't satisfy existing pods anti-affinity rules"];
  return FITS;
};

const FILTERS: readonly Filter[] = [
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
  ]
    .sort()
    .join(', ');
  return `0/${nodeCount} nodes are available: ${list.join(', ')}. preemption: 0/${nodeCount} nodes are available: ${preemption}.`;
}

/** Removing pods changes nothing about these. */
function isUnresolvable(reason: string): boolean {
  return /unschedulable|untolerated taint|node affinity|match pod affinity|missing required label/.test(reason);
}
