// A node tells what pods may have of a resource some time after it changed, and less when some of it broke. What pods hold
// already is theirs all the same. Pure. After pkg/kubelet/cm/devicemanager sanitizeNodeAllocatable.
import type { Node } from '../../api/kinds.ts';
import { compareQuantities, formatQuantity, parseQuantity, quantityOf } from '../../api/quantity.ts';

/** `node` with at least `held` of each resource to be had. */
export function withHeldAmounts(node: Node | undefined, held: ReadonlyMap<string, number>): Node | undefined {
  if (node === undefined || held.size === 0) return node;
  const allocatable: Record<string, string> = { ...(node.status?.allocatable as Record<string, string> | undefined) };
  for (const [name, amount] of held) {
    const needed = quantityOf(amount);
    const told = allocatable[name];
    if (told === undefined || compareQuantities(parseQuantity(told), needed) < 0) {
      allocatable[name] = formatQuantity(needed);
    }
  }
  return { ...node, status: { ...node.status, allocatable } };
}
