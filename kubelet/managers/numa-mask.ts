// Sets of NUMA nodes as bit masks. Pure. After pkg/kubelet/cm/topologymanager/bitmask.
import type { NumaMask } from './hint-provider.ts';

export function maskOf(nodes: Iterable<number>): NumaMask {
  let mask = 0n;
  for (const node of nodes) mask |= 1n << BigInt(node);
  return mask;
}

/** Ascending. */
export function nodesIn(mask: NumaMask): number[] {
  const nodes: number[] = [];
  for (let node = 0, rest = mask; rest > 0n; node++, rest >>= 1n) if ((rest & 1n) === 1n) nodes.push(node);
  return nodes;
}

export function countNodes(mask: NumaMask): number {
  return nodesIn(mask).length;
}

export function isInMask(mask: NumaMask, node: number): boolean {
  return ((mask >> BigInt(node)) & 1n) === 1n;
}

/** Fewer nodes; of equally many, the lower ones. */
export function isNarrower(a: NumaMask, b: NumaMask): boolean {
  const [left, right] = [countNodes(a), countNodes(b)];
  return left === right ? a < b : left < right;
}

/** Every set of some of `nodes`, small ones first. */
export function* subsets(nodes: readonly number[]): Generator<NumaMask> {
  for (let size = 1; size <= nodes.length; size++) {
    for (const chosen of combinations(nodes, size)) yield maskOf(chosen);
  }
}

/** Every choice of `size` of `items`, in their order. */
export function* combinations<T>(items: readonly T[], size: number, from = 0): Generator<T[]> {
  if (size === 0) {
    yield [];
    return;
  }
  for (let i = from; i <= items.length - size; i++) {
    for (const rest of combinations(items, size - 1, i + 1)) yield [items[i]!, ...rest];
  }
}
