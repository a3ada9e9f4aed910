// Which subnet a node takes when nobody assigns one. Pure: flannel's way of choosing (pkg/subnet/etcd/local_manager.go).
import { type Cidr, cidrSize, cidrsOverlap, formatCidr } from '../api/cidr.ts';
import { AgentError } from '../core/errors.ts';
import type { SubnetPlan } from './net-conf.ts';

/** Enough that nodes which choose at the same moment seldom meet, few enough that a /8 is not walked to its end. */
const MAX_CANDIDATES = 100;

/** True when `subnet` is one of those that `plan` gives out. */
export function isPlanned(plan: SubnetPlan, subnet: Cidr): boolean {
  return (
    subnet.version === plan.network.version &&
    subnet.prefixLength === plan.subnetLength &&
    subnet.base >= plan.first.base &&
    subnet.base <= plan.last.base
  );
}

/**
 * A free subnet, chosen at random among the first free ones. `taken` may hold subnets of any length; `random` is a number
 * in [0, 1). @throws {AgentError} OUT_OF_SUBNETS.
 */
export function chooseSubnet(plan: SubnetPlan, taken: readonly Cidr[], random: () => number): Cidr {
  const step = cidrSize(plan.first);
  const busy = taken.filter((t) => t.version === plan.network.version);
  const exact = new Set(busy.filter((t) => t.prefixLength === plan.subnetLength).map((t) => t.base));
  const others = busy.filter((t) => t.prefixLength !== plan.subnetLength);
  const candidates: Cidr[] = [];
  for (let base = plan.first.base; base <= plan.last.base && candidates.length < MAX_CANDIDATES; base += step) {
    const subnet = { ...plan.first, base };
    if (!exact.has(base) && !others.some((t) => cidrsOverlap(t, subnet))) candidates.push(subnet);
  }
  if (candidates.length === 0) {
    throw new AgentError(`no free /${plan.subnetLength} subnet is left in ${formatCidr(plan.network)}`, {
      code: 'OUT_OF_SUBNETS',
      retryable: true,
      hint: 'give the pod network a larger range, or remove the leases of nodes that are gone',
    });
  }
  return candidates[Math.floor(random() * candidates.length)]!;
}
