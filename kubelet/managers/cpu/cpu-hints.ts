// On which NUMA nodes so many CPUs can be had. Pure. After pkg/kubelet/cm/cpumanager/policy_static.go
// generateCPUTopologyHints.
import type { CpuSet } from '../cpu-set.ts';
import type { TopologyHint } from '../hint-provider.ts';
import { countNodes, isInMask, nodesIn, subsets } from '../numa-mask.ts';
import type { CpuLayout } from './cpu-layout.ts';

export interface CpuHintRequest {
  readonly count: number;
  readonly free: CpuSet;
  /** CPUs of init containers of the same pod: they are to be used again, so nodes without them are out. */
  readonly reusable: CpuSet;
  /** Nodes of as few sockets as possible count like as few nodes as possible. */
  readonly alignBySocket: boolean;
}

/** Preferred are the fewest nodes that have enough CPUs, free or not. */
export function cpuHints(layout: CpuLayout, { count, free, reusable, alignBySocket }: CpuHintRequest): TopologyHint[] {
  const nodes = layout.idsOf('numaNode');
  let fewest = nodes.length;
  const possible: bigint[] = [];
  for (const mask of subsets(nodes)) {
    const inMask = layout.cpusOfAll('numaNode', nodesIn(mask));
    if (inMask.size >= count) fewest = Math.min(fewest, countNodes(mask));
    if ([...reusable].some((cpu) => !isInMask(mask, layout.numaNodeOf(cpu)))) continue;
    if (reusable.size + inMask.intersection(free).size >= count) possible.push(mask);
  }
  return possible.map((mask) => ({
    nodes: mask,
    preferred: countNodes(mask) === fewest || (alignBySocket && isSocketAligned(layout, mask, fewest)),
  }));
}

function isSocketAligned(layout: CpuLayout, mask: bigint, fewestNodes: number): boolean {
  const nodesPerSocket = Math.floor(layout.count('numaNode') / layout.count('socket'));
  if (nodesPerSocket === 0) return false;
  const sockets = layout.idsOf('socket', layout.cpusOfAll('numaNode', nodesIn(mask)));
  return sockets.length === Math.ceil(fewestNodes / nodesPerSocket);
}
