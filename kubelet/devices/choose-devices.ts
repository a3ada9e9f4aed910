// Which devices a container gets: what its pod's init containers had, then what is near to the NUMA nodes that were agreed
// on, then any; within that, what the plugin prefers. After pkg/kubelet/cm/devicemanager/manager.go devicesToAllocate.
import type { NumaMask } from '../managers/hint-provider.ts';
import { isInMask } from '../managers/numa-mask.ts';
import { type Device, NO_NUMA_NODE } from './device-types.ts';

export interface DeviceChoice {
  /** How many, at least one. */
  readonly count: number;
  /** Of init containers of the same pod. */
  readonly reusable: ReadonlySet<string>;
  /** Healthy and in nobody's hands. */
  readonly available: ReadonlySet<string>;
  readonly devices: ReadonlyMap<string, Device>;
  /** Undefined: it does not matter where. */
  readonly nodes: NumaMask | undefined;
  /** What the plugin would take of `available`, `mustInclude` among them; empty when it does not care. */
  readonly prefer: (available: ReadonlySet<string>, mustInclude: ReadonlySet<string>) => Promise<ReadonlySet<string>>;
}

/** Undefined when there are too few. @throws what `prefer` throws */
export async function chooseDevices(choice: DeviceChoice): Promise<Set<string> | { readonly missing: number }> {
  const { count, reusable, available, prefer } = choice;
  const chosen = new Set<string>();
  const take = (ids: Iterable<string>) => {
    for (const id of ids) if (chosen.size < count) chosen.add(id);
    return chosen.size === count;
  };
  if (take(reusable)) return chosen;
  const needed = count - chosen.size;
  if (available.size < needed) return { missing: needed };
  const { near, far, anywhere } = byAffinity(choice);
  if (needed < near.size) {
    const preferred = await prefer(near.union(chosen), new Set(chosen));
    if (!take(preferred.intersection(near))) take(near);
    return chosen;
  }
  if (take(near)) return chosen;
  const preferred = await prefer(available.union(chosen), new Set(chosen));
  if (take(preferred.intersection(available))) return chosen;
  take([...far, ...anywhere]);
  return chosen;
}

interface ByAffinity {
  readonly near: Set<string>;
  readonly far: Set<string>;
  readonly anywhere: Set<string>;
}

/** A device that is near to several nodes belongs to the scarcest of them: what is left over fits most requests. */
function byAffinity({ available, devices, nodes: wanted }: DeviceChoice): ByAffinity {
  const isAligned = [...devices.values()].some((d) => d.numaNodes.length > 0);
  if (wanted === undefined || !isAligned) return { near: new Set(), far: new Set(), anywhere: new Set(available) };
  const counts = new Map<number, number>();
  for (const id of available)
    for (const node of nodesOf(devices.get(id))) counts.set(node, (counts.get(node) ?? 0) + 1);
  const rank = (node: number) => (node === NO_NUMA_NODE ? 2 : isInMask(wanted, node) ? 0 : 1);
  const order = [...counts.keys()].sort((a, b) => rank(a) - rank(b) || counts.get(a)! - counts.get(b)!);
  const groups: ByAffinity = { near: new Set(), far: new Set(), anywhere: new Set() };
  for (const id of available) {
    const node = order.find((n) => nodesOf(devices.get(id)).includes(n))!;
    [groups.near, groups.far, groups.anywhere][rank(node)]!.add(id);
  }
  return groups;
}

function nodesOf(device: Device | undefined): readonly number[] {
  return device === undefined || device.numaNodes.length === 0 ? [NO_NUMA_NODE] : device.numaNodes;
}
