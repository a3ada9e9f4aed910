// Which of the leases that others publish this node acts on: what one node writes must not take another's traffic, or
// this node's own.
import { type Cidr, cidrContains, cidrsOverlap, networkOf, parseCidr, parseIp } from '../api/cidr.ts';
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
  const claims = new Claims();
  const byMac = new Map<string, string>();
  for (const lease of leases.toSorted(byClaim)) {
    const { subnet, publicIp, nodeName } = lease;
    const cidr = parseCidr(subnet);
    const mac = vtepMac(lease);
    const rival = claims.holderOf(cidr);
    const twin = mac === undefined ? undefined : byMac.get(mac);
    let why: string | undefined;
    if (cidrsOverlap(mine, cidr)) why = `its subnet ${subnet} overlaps this node's ${own.subnet}`;
    else if (rival !== undefined) why = `its subnet ${subnet} overlaps that of node ${rival}`;
    else if (twin !== undefined) why = `its MAC ${mac} is that of node ${twin}`;
    else if (publicIp === own.ip) why = `its address ${publicIp} is this node's own`;
    else if (cidrContains(network, parseIp(publicIp))) why = `its address ${publicIp} lies in the pod network`;
    if (why !== undefined) {
      refused.push(`${nodeName}: ${why}`);
      continue;
    }
    claims.add(cidr, nodeName);
    if (mac !== undefined) byMac.set(mac, nodeName);
    peers.push(lease);
  }
  return { peers, refused };
}

/** Who holds which addresses. Looked up, not compared: each of 5,000 nodes with each other would block for seconds. */
class Claims {
  /** Names of nodes by prefix length and first address. */
  readonly #byLength = new Map<number, Map<bigint, string>>();

  add({ base, prefixLength }: Cidr, nodeName: string): void {
    const subnets = this.#byLength.get(prefixLength) ?? new Map<bigint, string>();
    subnets.set(base, nodeName);
    this.#byLength.set(prefixLength, subnets);
  }

  /** A node whose subnet overlaps `cidr`. */
  holderOf(cidr: Cidr): string | undefined {
    const { version, base } = cidr;
    for (const [length, subnets] of this.#byLength) {
      if (length <= cidr.prefixLength) {
        const holder = subnets.get(networkOf({ version, value: base }, length).base);
        if (holder !== undefined) return holder;
        continue;
      }
      // Smaller ones, each of which may lie inside: seldom, as the nodes of a network have subnets of one size.
      for (const [value, holder] of subnets) if (cidrContains(cidr, { version, value })) return holder;
    }
    return undefined;
  }
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
