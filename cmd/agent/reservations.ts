// What is kept from pods: reserved resources, and what must stay free so that nothing is evicted
// (pkg/kubelet/cm GetNodeAllocatableReservation).
import {
  addQuantities,
  compareQuantities,
  formatQuantity,
  parseQuantity,
  type Quantity,
  quantityMilliValue,
  quantityOf,
  quantityValue,
  ZERO_QUANTITY,
} from '../../api/quantity.ts';
import { AgentError } from '../../core/errors.ts';
import type { MachineInfo } from '../../host/machine.ts';
import type { Reservation } from '../../kubelet/node/node-status.ts';
import type { NodeSettings } from '../config/agent-config.ts';

/** Eviction signals that are about a resource of the node. */
const SIGNAL_RESOURCES: Readonly<Record<string, string>> = {
  'memory.available': 'memory',
  'nodefs.available': 'ephemeral-storage',
};

export interface Reservations {
  /** systemReserved and kubeReserved. */
  readonly forSystem: Reservation;
  /** What hard eviction thresholds want free: pods may touch it, but only to be evicted. */
  readonly againstEviction: Reservation;
}

export function reservationsOf(
  node: Pick<NodeSettings, 'reserved' | 'evictionHard'>,
  machine: MachineInfo,
  rootFsBytes: number,
): Reservations {
  const reserved = Object.entries(node.reserved).map(([name, text]) => [name, parseQuantity(text)] as const);
  const capacity: Readonly<Record<string, number>> = { memory: machine.memoryBytes, 'ephemeral-storage': rootFsBytes };
  const kept: [string, Quantity][] = [];
  for (const [signal, threshold] of Object.entries(node.evictionHard)) {
    const resource = SIGNAL_RESOURCES[signal];
    if (resource !== undefined) kept.push([resource, thresholdOf(threshold, capacity[resource]!)]);
  }
  return { forSystem: Object.fromEntries(reserved), againstEviction: Object.fromEntries(kept) };
}

/** What can be reserved. */
export function capacityOf(machine: MachineInfo, rootFsBytes: number): Reservation {
  return {
    cpu: quantityOf(machine.cores),
    memory: quantityOf(machine.memoryBytes, 'BinarySI'),
    'ephemeral-storage': quantityOf(rootFsBytes, 'BinarySI'),
  };
}

/** @throws {AgentError} CONFIG_INVALID when more is kept than there is, in the words of the kubelet. */
export function refuseOverReserved({ forSystem, againstEviction }: Reservations, capacity: Reservation): void {
  const faults = Object.entries(capacity).flatMap(([name, whole]) => {
    const [first, second] = [forSystem[name], againstEviction[name]];
    if (first === undefined && second === undefined) return [];
    const kept = addQuantities(first ?? ZERO_QUANTITY, second ?? ZERO_QUANTITY);
    if (compareQuantities(kept, whole) <= 0) return [];
    const [wanted, there] = [formatQuantity(kept), formatQuantity(whole)];
    return [
      `Resource "${name}" has a reservation of ${wanted} but capacity of ${there}. Expected capacity >= reservation.`,
    ];
  });
  if (faults.length === 0) return;
  throw new AgentError(`invalid Node Allocatable configuration. ${faults.join(' ')}`, {
    code: 'CONFIG_INVALID',
    hint: 'see kubeReserved, systemReserved and evictionHard in the KubeletConfiguration',
  });
}

/** Bounds of the cgroup of all pods: the eviction margin is inside, or the kernel would kill before anything is evicted. */
export function allPodsLimits(
  machine: MachineInfo,
  { forSystem }: Reservations,
): { readonly memoryBytes: number; readonly cpuMillis: number } {
  const { memory, cpu } = forSystem;
  return {
    memoryBytes: machine.memoryBytes - (memory === undefined ? 0 : quantityValue(memory)),
    cpuMillis: machine.cores * 1000 - (cpu === undefined ? 0 : quantityMilliValue(cpu)),
  };
}

/** Memory that pods of this node may ask for, bytes. */
export function allocatableMemory(machine: MachineInfo, reservations: Reservations): number {
  const margin = reservations.againstEviction.memory;
  const bytes = allPodsLimits(machine, reservations).memoryBytes - (margin === undefined ? 0 : quantityValue(margin));
  return Math.max(bytes, 0);
}

/** `100Mi`, or a share of the capacity such as `10%`. */
function thresholdOf(text: string, capacityBytes: number): Quantity {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text)?.[1];
  if (percent === undefined) return parseQuantity(text);
  return quantityOf(Math.trunc((capacityBytes * Number(percent)) / 100), 'BinarySI');
}
