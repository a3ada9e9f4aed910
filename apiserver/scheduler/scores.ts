// Which of the nodes that can take a pod is best: upstream's default plugins and weights, 0 to 100 each
// (pkg/scheduler/framework/plugins).
import { type Selector, selectorOf } from '../../api/labels.ts';
import { matchesNodeSelectorTerm, tolerates } from '../../api/scheduling.ts';
import { type ClusterView, labelOf, matchingPods } from './cluster-view.ts';
import type { NodeInfo, PodFacts } from './node-info.ts';

export interface ScoreInput {
  readonly facts: PodFacts;
  /** Nodes that passed the filters. */
  readonly candidates: readonly NodeInfo[];
  /** What the owners of the pod (Services, ReplicaSets) select, for spreading when the pod says nothing itself. */
  readonly ownerSelector: Selector;
  readonly cluster: ClusterView;
}

/** The best candidate; a random one among equals. */
export function bestNode(input: ScoreInput, random: () => number): NodeInfo {
  const totals = new Array<number>(input.candidates.length).fill(0);
  for (const { weight, score } of PLUGINS) {
    for (const [i, value] of score(input).entries()) totals[i] = totals[i]! + weight * value;
  }
  const best = Math.max(...totals);
  const equals = input.candidates.filter((_, i) => totals[i] === best);
  return equals[Math.floor(random() * equals.length)]!;
}

type Score = (input: ScoreInput) => number[];

const taintToleration: Score = ({ facts, candidates }) => {
  const tolerations = (facts.pod.spec?.tolerations ?? []).filter((t) => !t.effect || t.effect === 'PreferNoSchedule');
  const bad = candidates.map(
    ({ node }) =>
      (node?.spec?.taints ?? []).filter(
        (t) => t.effect === 'PreferNoSchedule' && !tolerations.some((tol) => tolerates(tol, t)),
      ).length,
  );
  return invert(bad);
};

const nodeAffinity: Score = ({ facts, candidates }) => {
  const preferred = facts.pod.spec?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
  return normalise(
    candidates.map(({ node }) =>
      preferred.reduce(
        (sum, p) => sum + (node !== undefined && matchesNodeSelectorTerm(p.preference, node) ? p.weight : 0),
        0,
      ),
    ),
  );
};

const podTopologySpread: Score = ({ facts, candidates, ownerSelector, cluster }) => {
  const soft = (facts.pod.spec?.topologySpreadConstraints ?? []).filter(
    (c) => c.whenUnsatisfiable === 'ScheduleAnyway',
  );
  const constraints =
    facts.pod.spec?.topologySpreadConstraints === undefined && ownerSelector !== undefined
      ? ['kubernetes.io/hostname', 'topology.kubernetes.io/zone'].map((topologyKey) => ({
          topologyKey,
          selector: ownerSelector,
        }))
      : soft.map((c) => ({ topologyKey: c.topologyKey, selector: selectorOf(c.labelSelector) }));
  const crowding = candidates.map(() => 0);
  for (const { topologyKey, selector } of constraints) {
    const perDomain = new Map<string, number>();
    for (const info of cluster.nodes) {
      const domain = info.node?.metadata?.labels?.[topologyKey];
      if (domain === undefined) continue;
      perDomain.set(domain, (perDomain.get(domain) ?? 0) + matchingPods(info, facts.pod.metadata?.namespace, selector));
    }
    for (const [i, info] of candidates.entries()) {
      crowding[i] = crowding[i]! + (perDomain.get(info.node?.metadata?.labels?.[topologyKey] ?? '') ?? 0);
    }
  }
  return invert(crowding);
};

const interPodAffinity: Score = ({ facts, candidates, cluster }) => {
  const { podAffinity, podAntiAffinity } = facts.pod.spec?.affinity ?? {};
  const preferred = [
    ...(podAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((p) => ({ ...p, sign: 1 })),
    ...(podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((p) => ({ ...p, sign: -1 })),
  ];
  const sums = candidates.map((info) =>
    preferred.reduce((sum, { weight, sign, podAffinityTerm: term }) => {
      const domain = labelOf(info, term.topologyKey);
      const neighbours = domain === undefined ? 0 : (cluster.matchesPerDomain(term, facts.pod).get(domain) ?? 0);
      return sum + sign * weight * neighbours;
    }, 0),
  );
  const lowest = Math.min(0, ...sums);
  return normalise(sums.map((s) => s - lowest));
};

/** Share of CPU and memory that stays free. */
const leastAllocated: Score = ({ facts, candidates }) =>
  candidates.map((info) => {
    const [cpu, memory] = fractions(facts, info);
    return ((1 - cpu) * 100 + (1 - memory) * 100) / 2;
  });

const balancedAllocation: Score = ({ facts, candidates }) =>
  candidates.map((info) => {
    const [cpu, memory] = fractions(facts, info);
    return 100 - (Math.abs(cpu - memory) / 2) * 100;
  });

function fractions(facts: PodFacts, info: NodeInfo): [number, number] {
  return [
    fraction(info.scoredCpu + facts.scoredCpu, info.allocatable.get('cpu')),
    fraction(info.scoredMemory + facts.scoredMemory, info.allocatable.get('memory')),
  ];
}

function fraction(used: bigint, of: bigint | undefined): number {
  return of === undefined || of === 0n ? 1 : Math.min(1, Number(used) / Number(of));
}

const MIN_IMAGE_BYTES = 23e6;
const MAX_IMAGE_BYTES = 1000e6;

const imageLocality: Score = ({ facts, candidates }) => {
  const containers = [...(facts.pod.spec?.initContainers ?? []), ...(facts.pod.spec?.containers ?? [])];
  const max = MAX_IMAGE_BYTES * Math.max(1, containers.length);
  const bytes = candidates.map(() => 0);
  for (const { image = '' } of containers) {
    const sizes = candidates.map((info) => imageBytes(info, image));
    const spread = sizes.filter((size) => size > 0).length / candidates.length;
    for (const [i, size] of sizes.entries()) bytes[i] = bytes[i]! + size * spread;
  }
  return bytes.map(
    (b) => ((Math.min(Math.max(b, MIN_IMAGE_BYTES), max) - MIN_IMAGE_BYTES) / (max - MIN_IMAGE_BYTES)) * 100,
  );
};

function imageBytes(info: NodeInfo, image: string): number {
  const isIt = (name: string): boolean => name === image || name.endsWith(`/${image}`);
  return info.node?.status?.images?.find((i) => i.names?.some(isIt))?.sizeBytes ?? 0;
}

function normalise(values: readonly number[]): number[] {
  const max = Math.max(...values);
  return values.map((v) => (max === 0 ? 0 : (v / max) * 100));
}

/** The fewer the better. */
function invert(values: readonly number[]): number[] {
  const max = Math.max(...values);
  return values.map((v) => (max === 0 ? 100 : 100 - (v / max) * 100));
}

const PLUGINS: readonly { readonly weight: number; readonly score: Score }[] = [
  { weight: 3, score: taintToleration },
  { weight: 2, score: nodeAffinity },
  { weight: 2, score: podTopologySpread },
  { weight: 2, score: interPodAffinity },
  { weight: 1, score: leastAllocated },
  { weight: 1, score: balancedAllocation },
  { weight: 1, score: imageLocality },
];
