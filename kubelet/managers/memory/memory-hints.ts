// On which NUMA nodes so much memory can be had. A node serves containers either alone or together with the same others:
// never both. Pure. After pkg/kubelet/cm/memorymanager/policy_static.go calculateHints.
import type { NumaMask, TopologyHint } from '../hint-provider.ts';
import { countNodes, isNarrower, nodesIn, subsets } from '../numa-mask.ts';
import type { MachineMemory } from './memory-state.ts';

export interface MemoryRequest {
  /** Bytes by type. */
  readonly amounts: ReadonlyMap<string, number>;
  /** Of `amounts`, what the pod has on these very nodes already: its init containers leave it. */
  readonly reusable: (mask: NumaMask, type: string) => number;
}

/** The same for every type; preferred are the fewest nodes that could ever serve the request. */
export function memoryHints(machine: MachineMemory, { amounts, reusable }: MemoryRequest): TopologyHint[] {
  const nodes = [...machine.keys()].sort((a, b) => a - b);
  let fewest = nodes.length;
  const possible: NumaMask[] = [];
  for (const mask of subsets(nodes)) {
    if (!covers(machine, mask, amounts, 'allocatable')) continue;
    fewest = Math.min(fewest, countNodes(mask));
    if (!mayServeTogether(machine, mask) || isPartOfGroup(machine, mask)) continue;
    if (covers(machine, mask, amounts, 'free', reusable)) possible.push(mask);
  }
  return possible.map((mask) => ({ nodes: mask, preferred: countNodes(mask) === fewest }));
}

/** The best by itself: preferred, then few nodes, then low ones. */
export function bestHint(hints: readonly TopologyHint[]): TopologyHint | undefined {
  let best: TopologyHint | undefined;
  for (const hint of hints) {
    if (best?.nodes === undefined || hint.nodes === undefined) best = hint;
    else if (hint.preferred !== best.preferred) best = hint.preferred ? hint : best;
    else if (isNarrower(hint.nodes, best.nodes)) best = hint;
  }
  return best;
}

/** The nodes have that much of every type. */
export function covers(
  machine: MachineMemory,
  mask: NumaMask,
  amounts: ReadonlyMap<string, number>,
  what: 'free' | 'allocatable',
  extra: (mask: NumaMask, type: string) => number = () => 0,
): boolean {
  return [...amounts].every(([type, amount]) => {
    const sum = nodesIn(mask).reduce((total, id) => total + (machine.get(id)?.tables.get(type)?.[what] ?? 0), 0);
    return sum + extra(mask, type) >= amount;
  });
}

/** Of several nodes none serves alone, or with others, already. */
export function mayServeTogether(machine: MachineMemory, mask: NumaMask): boolean {
  const ids = nodesIn(mask);
  if (ids.length === 1) return true;
  return ids.every((id) => {
    const node = machine.get(id);
    if (node === undefined || node.numberOfAssignments === 0) return true;
    return node.cells.length === ids.length && node.cells.every((cell) => ids.includes(cell));
  });
}

/** One node that serves together with others cannot serve alone. */
function isPartOfGroup(machine: MachineMemory, mask: NumaMask): boolean {
  const ids = nodesIn(mask);
  return ids.length === 1 && (machine.get(ids[0]!)?.cells.length ?? 1) > 1;
}
