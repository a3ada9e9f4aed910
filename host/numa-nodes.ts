// NUMA nodes of this machine.
import { readFileSync } from 'node:fs';
import { parseCpuList } from './cpu-list.ts';

/** Ids of those that are online, ascending; one without number where the kernel knows of none. */
export function onlineNumaNodes(file = '/sys/devices/system/node/online'): number[] {
  try {
    const nodes = parseCpuList(readFileSync(file, 'utf8'));
    return nodes.length === 0 ? [0] : nodes;
  } catch {
    return [0]; // built without NUMA
  }
}
