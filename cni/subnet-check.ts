// Whether the pod network can be made of the subnets that a node was given.
import { AgentError } from '../core/errors.ts';
import { subnetFault } from './net-conf.ts';
import { familiesOf, ofFamily } from './peers.ts';
import type { OwnSubnets } from './subnet-source.ts';

/** @throws {AgentError} POD_CIDR when the pod network cannot be made of these subnets. */
export function checkSubnets(networks: OwnSubnets, subnets: OwnSubnets, external: OwnSubnets): void {
  for (const version of familiesOf(networks)) {
    const fault = subnetFault(ofFamily(networks, version)!, ofFamily(subnets, version)!, ofFamily(external, version)!);
    if (fault === undefined) continue;
    throw new AgentError(`the pod network cannot be made: ${fault}`, {
      code: 'POD_CIDR',
      hint: 'give --cluster-cidr (or net-conf.json) the network that the control plane assigns from, apart from that of the nodes',
    });
  }
}

/**
 * Peers of host-gw have routes through this node's address: behind address translation there is none that they could use.
 * @throws {AgentError} NODE_ADDRESS
 */
export function checkGateways(external: OwnSubnets, publicIps: OwnSubnets): void {
  for (const family of ['v4', 'v6'] as const) {
    const [ip, publicIp] = [external[family], publicIps[family]];
    if (ip === undefined || publicIp === ip) continue;
    throw new AgentError(`host-gw cannot be used: the public address ${publicIp} is not the interface's own, ${ip}`, {
      code: 'NODE_ADDRESS',
      hint: 'use the backend vxlan, or take --public-ip and the annotation node-public-ip away and start the agent anew',
    });
  }
}
