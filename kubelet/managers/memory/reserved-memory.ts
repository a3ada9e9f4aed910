// What of each NUMA node's memory is kept for the system: together it has to be what the node keeps from pods anyway. Pure.
// After pkg/kubelet/cm/memorymanager/memory_manager.go validateReservedMemory.
import {
  addQuantities,
  compareQuantities,
  formatQuantity,
  parseQuantity,
  type Quantity,
  quantityValue,
  ZERO_QUANTITY,
} from '../../../api/quantity.ts';
import { AgentError } from '../../../core/errors.ts';
import type { ReservedMemory } from './memory-state.ts';

/** reservedMemory of the configuration. */
export interface MemoryReservation {
  readonly numaNode: number;
  readonly limits: Readonly<Record<string, string>>;
}

/**
 * `fromPods`: what the node does not offer to pods, by resource: reservations and hard eviction thresholds.
 * @throws {AgentError} CONFIG_INVALID when the two do not agree, in upstream's words.
 */
export function reservedMemory(
  reservations: readonly MemoryReservation[],
  nodeIds: readonly number[],
  fromPods: Readonly<Record<string, Quantity>>,
): ReservedMemory {
  const sums = new Map<string, Quantity>();
  const byNode = new Map(nodeIds.map((id) => [id, new Map<string, number>()]));
  for (const { numaNode, limits } of reservations) {
    const node = byNode.get(numaNode);
    if (node === undefined) {
      throw invalid(
        `the reserved memory configuration references a NUMA node ${numaNode} that does not exist on this machine`,
      );
    }
    for (const [type, text] of Object.entries(limits)) {
      const amount = parseQuantity(text);
      node.set(type, quantityValue(amount));
      sums.set(type, addQuantities(sums.get(type) ?? ZERO_QUANTITY, amount));
    }
  }
  const types = new Set([...sums.keys(), ...Object.keys(fromPods).filter(isMemory)]);
  for (const type of types) {
    const [kept, wanted] = [sums.get(type) ?? ZERO_QUANTITY, fromPods[type] ?? ZERO_QUANTITY];
    if (compareQuantities(kept, wanted) === 0) continue;
    throw invalid(
      `the total amount "${formatQuantity(kept)}" of type "${type}" is not equal to the value ` +
        `"${formatQuantity(wanted)}" determined by Node Allocatable feature`,
    );
  }
  if (compareQuantities(sums.get('memory') ?? ZERO_QUANTITY, ZERO_QUANTITY) === 0) {
    throw invalid('[memorymanager] you should specify the system reserved memory');
  }
  return byNode;
}

function isMemory(type: string): boolean {
  return type === 'memory' || type.startsWith('hugepages-');
}

function invalid(message: string): AgentError {
  return new AgentError(message, {
    code: 'CONFIG_INVALID',
    hint: 'reservedMemory has to add up to systemReserved, kubeReserved and the hard threshold of memory.available',
  });
}
