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

/**
 * Pure. Of peers that claim the same addresses, or the same VTEP's MAC, the one whose claim is the oldest is kept: the same
 * one on every node, and none that came later can push it aside. Where Nodes are the source, subnets are what the control
 * plane assigned; a Node's annotations speak for its own subnet alone.
 */
export function choosePeers(
  leases: readonly SubnetLease[],
  own: { readonly network: string; readonly subnet: string; readonly ip: string },
): PeerChoice {
  const network = parseCidr(own.network);
  const mine = parseCidr(own.subnet);
  const peers: SubnetLease[] = [];
  const refused: string[] = [];
  const claimed: { readonly cidr: Cidr; readonly mac: string | undefined; readonly nodeName: string }[] = [];
  for (const lease of leases.toSorted(byClaim)) {
    const { subnet, publicIp, nodeName } = lease;
    const cidr = parseCidr(subnet);
    const mac = vtepMac(lease);
    const rival = claimed.find((c) => cidrsOverlap(c.cidr, cidr));
    const twin = mac === undefined ? undefined : claimed.find((c) => c.mac === mac);
    let why: string | undefined;
    if (cidrsOverlap(mine, cidr)) why = `its subnet ${subnet} overlaps this node's ${own.subnet}`;
    else if (rival !== undefined) why = `its subnet ${subnet} overlaps that of node ${rival.nodeName}`;
    else if (twin !== undefined) why = `its MAC ${mac} is that of node ${twin.nodeName}`;
    else if (publicIp === own.ip) why = `its address ${publicIp} is this node's own`;
    else if (cidrContains(network, parseIp(publicIp))) why = `its address ${publicIp} lies in the pod network`;
    if (why !== undefined) {
      refused.push(`${nodeName}: ${why}`);
      continue;
    }
    claimed.push({ cidr, mac, nodeName });
    peers.push(lease);
  }
  return { peers, refused };
}

function byClaim(a: SubnetLease, b: SubnetLease): number {
  if (a.since !== b.since) return a.since < b.since ? -1 : 1;
  return a.nodeName < b.nodeName ? -1 : 1;
}

/** The FDB has one way for each MAC: who publishes another's would draw that one's packets. */
function vtepMac({ backendData }: SubnetLease): string | undefined {
  const mac = (backendData as { readonly VtepMAC?: unknown } | null | undefined)?.VtepMAC;
  return typeof mac === 'string' ? mac.toLowerCase() : undefined;
}

/** IPv4 first. */
export function familiesOf(networks: OwnSubnets): readonly (4 | 6)[] {
  return [...(networks.v4 === undefined ? [] : [4 as const]), ...(networks.v6 === undefined ? [] : [6 as const])];
}

export function ofFamily(subnets: OwnSubnets, version: 4 | 6): string | undefined {
  return version === 4 ? subnets.v4 : subnets.v6;
}
