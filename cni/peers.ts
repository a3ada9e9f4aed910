// Which of the leases that others publish this node acts on: what one node writes must not take another's traffic, or
// this node's own.
import { type Cidr, cidrContains, cidrsOverlap, parseCidr, parseIp } from '../api/cidr.ts';
import type { SubnetLease } from './backend.ts';
import type { OwnSubnets } from './subnet-source.ts';

export interface PeerChoice {
  readonly peers: readonly SubnetLease[];
  /** Why the others are left out, one line each, in a stable order. */
  readonly refused: readonly string[];
}

/** Pure. Of peers that claim the same addresses, the one whose node sorts first is kept: the same one on every node. */
export function choosePeers(
  leases: readonly SubnetLease[],
  own: { readonly network: string; readonly subnet: string; readonly ip: string },
): PeerChoice {
  const network = parseCidr(own.network);
  const mine = parseCidr(own.subnet);
  const peers: SubnetLease[] = [];
  const refused: string[] = [];
  const claimed: { readonly cidr: Cidr; readonly nodeName: string }[] = [];
  for (const lease of [...leases].sort((a, b) => (a.nodeName < b.nodeName ? -1 : 1))) {
    const cidr = parseCidr(lease.subnet);
    const rival = claimed.find((c) => cidrsOverlap(c.cidr, cidr));
    const why = cidrsOverlap(mine, cidr)
      ? `its subnet ${lease.subnet} overlaps this node's ${own.subnet}`
      : rival !== undefined
        ? `its subnet ${lease.subnet} overlaps that of node ${rival.nodeName}`
        : lease.publicIp === own.ip
          ? `its address ${lease.publicIp} is this node's own`
          : cidrContains(network, parseIp(lease.publicIp))
            ? `its address ${lease.publicIp} lies in the pod network`
            : undefined;
    if (why !== undefined) {
      refused.push(`${lease.nodeName}: ${why}`);
      continue;
    }
    claimed.push({ cidr, nodeName: lease.nodeName });
    peers.push(lease);
  }
  return { peers, refused };
}

/** IPv4 first. */
export function familiesOf(networks: OwnSubnets): readonly (4 | 6)[] {
  return [...(networks.v4 === undefined ? [] : [4 as const]), ...(networks.v6 === undefined ? [] : [6 as const])];
}

export function ofFamily(subnets: OwnSubnets, version: 4 | 6): string | undefined {
  return version === 4 ? subnets.v4 : subnets.v6;
}
