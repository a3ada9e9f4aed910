// On which NUMA nodes so many devices of a resource could be had. Pure. After pkg/kubelet/cm/devicemanager/topology_hints.go.
import type { NumaMask, TopologyHint } from '../managers/hint-provider.ts';
import { countNodes, isInMask, subsets } from '../managers/numa-mask.ts';
import type { Device } from './device-types.ts';

export interface HintInput {
  readonly devices: ReadonlyMap<string, Device>;
  readonly available: ReadonlySet<string>;
  /** Of init containers: they have to be among what is chosen. */
  readonly reusable: ReadonlySet<string>;
  readonly count: number;
  /** Of the machine. */
  readonly numaNodes: readonly number[];
}

/** Any device that is near to some node: then it matters where. */
export function isAligned(devices: ReadonlyMap<string, Device>): boolean {
  for (const device of devices.values()) if (device.numaNodes.length > 0) return true;
  return false;
}

/** Empty when there are too few anywhere. */
export function deviceHints({ devices, available, reusable, count, numaNodes }: HintInput): TopologyHint[] {
  let fewest = numaNodes.length;
  const masks: NumaMask[] = [];
  for (const mask of subsets(numaNodes)) {
    const isNear = (id: string) => (devices.get(id)?.numaNodes ?? []).some((node) => isInMask(mask, node));
    if (countIf(devices.keys(), isNear) >= count) fewest = Math.min(fewest, countNodes(mask));
    const bound = [...reusable].filter((id) => (devices.get(id)?.numaNodes.length ?? 0) > 0);
    if (!bound.every(isNear)) continue;
    if (bound.length + countIf(available, isNear) >= count) masks.push(mask);
  }
  return masks.map((nodes) => ({ nodes, preferred: countNodes(nodes) === fewest }));
}

function countIf(ids: Iterable<string>, test: (id: string) => boolean): number {
  let count = 0;
  for (const id of ids) if (test(id)) count++;
  return count;
}
