// What `nodelet network status` says: this node's part of the pod network and the ways to the others, the kernel's state
// held against what the nodes publish. Pure.
import { cidrCovers, formatCidr, parseCidr } from '../../api/cidr.ts';
import type { Node } from '../../api/kinds.ts';
import { formatTable } from '../../core/text-table.ts';
import { annotation } from '../subnet-manager.ts';
import { isInside, type KernelNetwork, type OverlayDevice, type PeerRoute } from './kernel-network.ts';

/** The JSON form, which programs rely on. */
export interface NetworkStatus {
  /** Null when no API server told. */
  readonly node: string | null;
  readonly backend: 'vxlan' | 'host-gw' | null;
  /** This node's pods. */
  readonly subnets: readonly string[];
  /** All pods; empty when subnet.env does not tell. */
  readonly networks: readonly string[];
  readonly devices: readonly OverlayDevice[];
  readonly peers: readonly PeerStatus[];
  readonly warnings: readonly string[];
  /** Every peer can be reached as it should, and this node has a subnet. */
  readonly healthy: boolean;
}

export interface PeerStatus {
  readonly node: string | null;
  readonly subnet: string;
  /** The node's address outside the pod network. */
  readonly address: string | null;
  readonly way: 'vxlan' | 'direct' | null;
  /** What is wrong with routes and tables; empty when nothing is. */
  readonly problems: readonly string[];
  readonly probe: ProbeResult | null;
}

export interface ProbeResult {
  /** Address that was tried: inside the tunnel with VXLAN, else the node's own. */
  readonly target: string;
  readonly answers: boolean;
  /** Round trip, ms; null without an answer. */
  readonly tookMs: number | null;
  readonly error: string | null;
}

/** A peer with what is to be asked of it. */
export interface ExpectedPeer extends Omit<PeerStatus, 'probe'> {
  /** Null when no way leads there. */
  readonly target: string | null;
}

export interface SubnetEnv {
  readonly networks: readonly string[];
  readonly subnets: readonly string[];
}

/** FLANNEL_NETWORK and FLANNEL_SUBNET of a subnet.env, of both families; a subnet stands there as its first address. */
export function readSubnetEnv(text: string): SubnetEnv {
  const values = (name: string) =>
    [...text.matchAll(new RegExp(`^FLANNEL_(?:IPV6_)?${name}=(\\S+)$`, 'gm'))].flatMap(([, value]) => {
      try {
        return value!.split(',').map((cidr) => formatCidr(parseCidr(cidr)));
      } catch {
        return []; // not a network: as good as none
      }
    });
  return { networks: values('NETWORK'), subnets: values('SUBNET') };
}

/** This node among all: the one that has an address of this host, else the one with `hostName`. */
export function findOwnNode(nodes: readonly Node[], kernel: KernelNetwork, hostName: string): Node | undefined {
  return (
    nodes.find((n) =>
      (n.status?.addresses ?? []).some((a) => a.type !== 'Hostname' && kernel.addresses.has(a.address)),
    ) ?? nodes.find((n) => n.metadata?.name === hostName.toLowerCase())
  );
}

function podSubnets(node: Node | undefined): string[] {
  const texts = node?.spec?.podCIDRs?.length ? node.spec.podCIDRs : [node?.spec?.podCIDR ?? ''];
  return texts.flatMap((text) => {
    try {
      return [formatCidr(parseCidr(text))];
    } catch {
      return []; // none assigned yet, or nonsense
    }
  });
}

/**
 * Every other node's subnets with the way there. Without `nodes` (no API server), those that the kernel has routes for.
 */
export function expectedPeers(
  kernel: KernelNetwork,
  nodes: readonly Node[] | undefined,
  own: Node | undefined,
  { networks }: SubnetEnv,
): ExpectedPeer[] {
  if (nodes === undefined) {
    const routes = kernel.peers.filter((r) => (r.isOverlay || networks.length > 0) && isInside(r.subnet, networks));
    return routes.map((route) => peerOf(null, route.subnet, route, undefined));
  }
  const others = nodes.filter((n) => n !== own);
  const wanted = others.flatMap((n) => podSubnets(n).map((subnet) => ({ node: n, subnet })));
  const peers = wanted.map(({ node, subnet }) =>
    peerOf(
      node,
      subnet,
      kernel.peers.find((r) => r.subnet === subnet),
      node,
    ),
  );
  const known = new Set(wanted.map((w) => w.subnet));
  const stale = kernel.peers.filter((r) => r.isOverlay && !known.has(r.subnet));
  return [...peers, ...stale.map((route) => strayPeer(route))];
}

function strayPeer(route: PeerRoute): ExpectedPeer {
  return { ...peerOf(null, route.subnet, route, undefined), problems: ['no node has this subnet'] };
}

function peerOf(
  node: Node | null,
  subnet: string,
  route: PeerRoute | undefined,
  publisher: Node | undefined,
): ExpectedPeer {
  const published = publisher?.metadata?.annotations ?? {};
  const address = (subnet.includes(':') ? published[annotation.publicIpv6] : published[annotation.publicIp]) ?? null;
  const problems: string[] = [];
  if (publisher !== undefined && published[annotation.managed] !== 'true') problems.push('publishes no lease');
  if (route === undefined) problems.push('no route to its subnet');
  else if (route.isOverlay) problems.push(...overlayProblems(route, address, macOf(published, subnet)));
  return {
    node: node?.metadata?.name ?? null,
    subnet,
    address: address ?? route?.outer ?? (route?.isOverlay === false ? route.gateway : null),
    way: route === undefined ? null : route.isOverlay ? 'vxlan' : 'direct',
    problems,
    target: route?.gateway ?? null,
  };
}

function overlayProblems(
  { gateway, mac, outer }: PeerRoute,
  address: string | null,
  wantedMac: string | undefined,
): string[] {
  if (mac === undefined) return [`no ARP entry for ${gateway}`];
  if (wantedMac !== undefined && mac !== wantedMac)
    return [`ARP entry has ${mac} where the node publishes ${wantedMac}`];
  if (outer === undefined) return [`no FDB entry for ${mac}`];
  if (address !== null && outer !== address) return [`FDB entry leads to ${outer} where the node publishes ${address}`];
  return [];
}

function macOf(published: Readonly<Record<string, string>>, subnet: string): string | undefined {
  try {
    const data: unknown = JSON.parse(
      published[subnet.includes(':') ? annotation.backendV6Data : annotation.backendData] ?? 'null',
    );
    const mac = (data as { VtepMAC?: unknown } | null)?.VtepMAC;
    return typeof mac === 'string' ? mac : undefined;
  } catch {
    return undefined; // somebody else's form
  }
}

export function networkStatus(
  kernel: KernelNetwork,
  own: { readonly node: Node | undefined; readonly subnets: SubnetEnv },
  peers: readonly PeerStatus[],
  warnings: readonly string[],
): NetworkStatus {
  const assigned = podSubnets(own.node);
  const subnets =
    own.subnets.subnets.length > 0 ? own.subnets.subnets : assigned.length > 0 ? assigned : kernel.bridgeSubnets;
  const moved =
    assigned.length > 0 &&
    own.subnets.subnets.some((s) => !assigned.some((a) => cidrCovers(parseCidr(a), parseCidr(s))));
  const all = moved
    ? [...warnings, `the Node has ${assigned.join(', ')}, but this host works with ${subnets.join(', ')}`]
    : warnings;
  const down = kernel.devices.filter((d) => !d.isUp).map((d) => `${d.name} is down`);
  return {
    node: own.node?.metadata?.name ?? null,
    backend: kernel.devices.length > 0 ? 'vxlan' : peers.some((p) => p.way === 'direct') ? 'host-gw' : null,
    subnets,
    networks: own.subnets.networks,
    devices: kernel.devices,
    peers,
    warnings: [...all, ...down],
    healthy: subnets.length > 0 && !moved && down.length === 0 && peers.every(isHealthy),
  };
}

function isHealthy({ problems, probe }: PeerStatus): boolean {
  return problems.length === 0 && (probe?.answers ?? false);
}

export function formatNetworkStatus(status: NetworkStatus): string {
  const { node, subnets, networks, backend, devices, peers, warnings } = status;
  const of = networks.length === 0 ? '' : ` of ${networks.join(', ')}`;
  const lines = [
    `Node ${node ?? '(name not known)'}: subnet ${subnets.join(', ') || 'none yet'}${of}, backend ${backend ?? 'not known'}`,
    ...devices.map(deviceText),
    ...warnings.map((w) => `! ${w}`),
    '',
  ];
  if (peers.length === 0) return [...lines, 'No other node.'].join('\n');
  const rows = [['NODE', 'SUBNET', 'ADDRESS', 'WAY', 'ANSWERS'], ...peers.map(peerRow)];
  const bad = peers.filter((p) => !isHealthy(p)).length;
  const verdict =
    bad === 0 ? `All ${peers.length} answer.` : `${bad} of ${peers.length} cannot be reached as they should.`;
  return [...lines, formatTable(rows), '', verdict].join('\n');
}

function deviceText({ name, vni, port, mtu, mac, isUp, over, local }: OverlayDevice): string {
  const below = over === null ? '' : `, over ${over}${local === null ? '' : ` (${local})`}`;
  return `Device ${name}: ${isUp ? 'up' : 'down'}, VNI ${vni}, port ${port}/udp, MTU ${mtu}, ${mac}${below}`;
}

function peerRow({ node, subnet, address, way, problems, probe }: PeerStatus): string[] {
  const answer =
    probe === null
      ? 'not tried'
      : probe.answers
        ? `yes, ${probe.tookMs!.toFixed(1)} ms`
        : `no: ${probe.error ?? 'silence'}`;
  return [node ?? '-', subnet, address ?? '-', way ?? '-', [answer, ...problems].join('; ')];
}
