// What one Service port needs on this node, whatever language the rules are written in: which endpoints traffic may go
// to, and what happens to traffic that may go nowhere. After the decisions of kube-proxy's two proxiers, which agree.
import { type Endpoint, isExternallyAccessible, type ServicePort } from './service-map.ts';
import { chooseEndpoints, type NodeTopology, type UsableEndpoints } from './topology.ts';

/** `none`: no endpoint anywhere, clients are told at once. `none-local`: only none that the Local policy allows. */
export type Blocked = 'none' | 'none-local';

export interface PortPlan {
  readonly port: ServicePort;
  readonly usable: UsableEndpoints;
  /** Traffic to the cluster IP goes nowhere, and why. */
  readonly internalBlocked: Blocked | undefined;
  /** The same for traffic from outside the cluster. */
  readonly externalBlocked: Blocked | undefined;
  /** Traffic from outside has a way of its own. */
  readonly usesExternal: boolean;
}

export function planPort(port: ServicePort, endpoints: readonly Endpoint[], node: NodeTopology): PortPlan {
  const usable = chooseEndpoints(port, endpoints, node);
  const blocked = (policyLocal: boolean): Blocked | undefined => {
    if (!usable.hasAny) return 'none';
    return policyLocal && usable.local.length === 0 ? 'none-local' : undefined;
  };
  return {
    port,
    usable,
    internalBlocked: blocked(port.internalPolicyLocal),
    externalBlocked: blocked(port.externalPolicyLocal),
    usesExternal: usable.hasAny && isExternallyAccessible(port),
  };
}
