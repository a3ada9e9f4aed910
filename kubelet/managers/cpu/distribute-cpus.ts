// CPUs for a container that needs more than one NUMA node: as many from each, on as few nodes as possible, and so that
// what is left is balanced. Pure. After pkg/kubelet/cm/cpumanager cpu_assignment.go takeByTopologyNUMADistributed
// (KEP-2902).
import type { CpuSet } from '../cpu-set.ts';
import { combinations } from '../numa-mask.ts';
import type { CpuLayout } from './cpu-layout.ts';
import { refuseTooFew, type TakeOptions, takePacked } from './take-cpus.ts';

interface Plan {
  /** How many CPUs each node gives. */
  readonly byNode: ReadonlyMap<number, number>;
  /** Standard deviation of what is left on the nodes. */
  readonly imbalance: number;
}

/** `groupSize`: CPUs that stay together (the threads of a core), 1 for none. @throws {Error} when there are too few. */
export function takeDistributed(
  layout: CpuLayout,
  free: CpuSet,
  count: number,
  groupSize: number,
  opts: TakeOptions = {},
): CpuSet {
  refuseTooFew(free, count);
  if (count === 0 || count % groupSize !== 0) return takePacked(layout, free, count, opts);
  const freeOf = new Map(
    layout.idsOf('numaNode', free).map((id) => [id, layout.cpusOf('numaNode', id).intersection(free)]),
  );
  const plan = bestPlan(layout, freeOf, count, groupSize);
  if (plan === undefined) return takePacked(layout, free, count, opts);
  const taken = [...plan.byNode].map(([id, part]) => takePacked(layout, freeOf.get(id)!, part, opts));
  return new Set(taken.flatMap((part) => [...part]));
}

/** The smallest number of nodes among which the CPUs can be divided evenly; of those the most balanced choice. */
function bestPlan(
  layout: CpuLayout,
  freeOf: ReadonlyMap<number, CpuSet>,
  count: number,
  groupSize: number,
): Plan | undefined {
  const groups = count / groupSize;
  const groupsPerNode = Math.ceil(Math.ceil(layout.cpus.size / groupSize) / layout.count('numaNode'));
  const sizes = new Map([...freeOf].map(([id, cpus]) => [id, cpus.size]));
  const nodes = [...sizes.keys()].sort((a, b) => sizes.get(a)! - sizes.get(b)! || a - b);
  for (let size = Math.ceil(groups / groupsPerNode); size <= Math.min(groups, nodes.length); size++) {
    let best: Plan | undefined;
    for (const chosen of combinations(nodes, size)) {
      const plan = planFor(chosen, sizes, count, groupSize);
      if (plan !== undefined && (best === undefined || plan.imbalance < best.imbalance)) best = plan;
      if (best?.imbalance === 0) break;
    }
    if (best !== undefined) return best;
  }
  return undefined;
}

/** Undefined where the nodes `chosen` cannot give equal shares. */
function planFor(
  chosen: readonly number[],
  sizes: ReadonlyMap<number, number>,
  count: number,
  groupSize: number,
): Plan | undefined {
  const whole = chosen.reduce((sum, id) => sum + Math.floor(sizes.get(id)! / groupSize) * groupSize, 0);
  const share = Math.floor(count / chosen.length / groupSize) * groupSize;
  if (whole < count || chosen.some((id) => sizes.get(id)! < share)) return undefined;
  const remainder = count - share * chosen.length;
  const left = new Map([...sizes].map(([id, size]) => [id, chosen.includes(id) ? size - share : size]));
  const even = new Map(chosen.map((id) => [id, share]));
  if (remainder === 0) return { byNode: even, imbalance: deviation(left.values()) };
  return withRemainder({ chosen, even, left, remainder, groupSize });
}

interface Division {
  readonly chosen: readonly number[];
  readonly even: ReadonlyMap<number, number>;
  readonly left: ReadonlyMap<number, number>;
  readonly remainder: number;
  readonly groupSize: number;
}

/** What cannot be divided evenly goes, group by group, to those of the nodes where it leaves the best balance. */
function withRemainder({ chosen, even, left, remainder, groupSize }: Division): Plan | undefined {
  const able = chosen.filter((id) => left.get(id)! >= groupSize);
  let best: Plan | undefined;
  for (let size = able.length; size >= 1; size--) {
    for (const subset of combinations(able, size)) {
      const usable = subset.reduce((sum, id) => sum + Math.floor(left.get(id)! / groupSize) * groupSize, 0);
      if (usable < remainder) continue;
      const [byNode, after] = [new Map(even), new Map(left)];
      let missing = remainder;
      while (missing > 0) {
        for (const id of subset) {
          if (missing === 0 || after.get(id)! < groupSize) continue;
          after.set(id, after.get(id)! - groupSize);
          byNode.set(id, byNode.get(id)! + groupSize);
          missing -= groupSize;
        }
      }
      const imbalance = deviation(after.values());
      if (best === undefined || imbalance < best.imbalance) best = { byNode, imbalance };
    }
  }
  return best;
}

/** Rounded as upstream does, so that both find the same choice best. */
function deviation(values: Iterable<number>): number {
  const all = [...values];
  const rounded = (value: number) => Math.round(value * 1000) / 1000;
  const mean = rounded(all.reduce((sum, value) => sum + value, 0) / all.length);
  return rounded(Math.sqrt(all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / all.length));
}
