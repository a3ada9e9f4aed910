// What is kept from pods: reserved resources, and what must stay free so that nothing is evicted
// (pkg/kubelet/cm GetNodeAllocatableReservation).
import { parseQuantity, type Quantity, quantityOf } from '../../api/quantity.ts';
import type { MachineInfo } from '../../host/machine.ts';
import type { Reservation } from '../../kubelet/node/node-status.ts';
import type { NodeSettings } from '../config/agent-config.ts';

/** Eviction signals that are about a resource of the node. */
const SIGNAL_RESOURCES: Readonly<Record<string, string>> = {
  'memory.available': 'memory',
  'nodefs.available': 'ephemeral-storage',
};

export function reservationsOf(node: NodeSettings, machine: MachineInfo, rootFsBytes: number): Reservation[] {
  const reserved = Object.entries(node.reserved).map(([name, text]) => [name, parseQuantity(text)] as const);
  const capacity: Readonly<Record<string, number>> = { memory: machine.memoryBytes, 'ephemeral-storage': rootFsBytes };
  const kept: [string, Quantity][] = [];
  for (const [signal, threshold] of Object.entries(node.evictionHard)) {
    const resource = SIGNAL_RESOURCES[signal];
    if (resource !== undefined) kept.push([resource, thresholdOf(threshold, capacity[resource]!)]);
  }
  return [Object.fromEntries(reserved), Object.fromEntries(kept)];
}

/** `100Mi`, or a share of the capacity such as `10%`. */
function thresholdOf(text: string, capacityBytes: number): Quantity {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text)?.[1];
  if (percent === undefined) return parseQuantity(text);
  return quantityOf(Math.trunc((capacityBytes * Number(percent)) / 100), 'BinarySI');
}
