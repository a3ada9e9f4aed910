// What the kernel knows about the pod network: the VXLAN devices, and the other nodes' subnets with the ways to them.
// Reads only. Works for a network that real flanneld made as well.
import { cidrCovers, formatCidr, isIp, parseCidr } from '../../api/cidr.ts';
import type { Exec } from '../../host/exec.ts';
import { type FdbEntry, type IpLink, type IpNeighbour, type IpRoute, readJson } from '../../host/ip-batch.ts';

export interface OverlayDevice {
  readonly name: string;
  readonly vni: number;
  /** UDP port. */
  readonly port: number;
  readonly mtu: number;
  readonly mac: string;
  readonly isUp: boolean;
  /** The device below, and the address that packets carry as their outer source. */
  readonly over: string | null;
  readonly local: string | null;
}

/** A route to pods of another node. */
export interface PeerRoute {
  readonly subnet: string;
  /** On a VXLAN device the other end's address inside the tunnel; else the other node itself. */
  readonly gateway: string;
  readonly device: string;
  readonly isOverlay: boolean;
  /** Hardware address that the gateway has; overlay only. */
  readonly mac: string | undefined;
  /** Node that frames for that hardware address are sent to; overlay only. */
  readonly outer: string | undefined;
}

export interface KernelNetwork {
  readonly devices: readonly OverlayDevice[];
  readonly peers: readonly PeerRoute[];
  /** All addresses of this host, canonical or as the kernel prints them. */
  readonly addresses: ReadonlySet<string>;
  /** Networks on the bridge of the pods. */
  readonly bridgeSubnets: readonly string[];
}

/** Of the network namespace in which `exec` runs programs. `bridge`: cni0. @throws {AgentError} EXEC_STATUS. */
export async function readKernelNetwork(exec: Exec, bridge: string, signal: AbortSignal): Promise<KernelNetwork> {
  const ip = <T>(...args: string[]) => readJson<T>(exec, 'ip', args, { signal }).then((found) => found ?? []);
  const [links, addresses, routes4, routes6] = await Promise.all([
    ip<IpLink & { readonly link?: string }>('-d', 'link'),
    ip<IpLink>('address'),
    ip<IpRoute>('-4', 'route'),
    ip<IpRoute>('-6', 'route'),
  ]);
  const devices = links.flatMap(overlayDevice);
  const tables = new Map(
    await Promise.all(devices.map(async (d) => [d.name, await readTables(exec, d.name, signal)] as const)),
  );
  return {
    devices,
    peers: [...routes4, ...routes6].flatMap((r) => peerRoute(r, tables)),
    addresses: new Set(addresses.flatMap((l) => (l.addr_info ?? []).map((a) => a.local))),
    bridgeSubnets: addresses
      .filter((l) => l.ifname === bridge)
      .flatMap((l) => (l.addr_info ?? []).filter((a) => !a.local.startsWith('fe80:')))
      .map((a) => formatCidr(parseCidr(`${a.local}/${a.prefixlen}`))),
  };
}

interface Tables {
  readonly macs: ReadonlyMap<string, string>;
  readonly outers: ReadonlyMap<string, string>;
}

async function readTables(exec: Exec, device: string, signal: AbortSignal): Promise<Tables> {
  const [neighbours, fdb] = await Promise.all([
    readJson<IpNeighbour>(exec, 'ip', ['neigh', 'show', 'dev', device], { signal }),
    readJson<FdbEntry>(exec, 'bridge', ['fdb', 'show', 'dev', device], { signal }),
  ]);
  return {
    macs: new Map((neighbours ?? []).flatMap((n) => (n.lladdr === undefined ? [] : [[n.dst, n.lladdr]]))),
    outers: new Map((fdb ?? []).flatMap((f) => (f.dst === undefined ? [] : [[f.mac, f.dst]]))),
  };
}

/** flannel.1 and flannel-v6.1, by kind and name: other overlays may be on the host as well. */
function overlayDevice(link: IpLink & { readonly link?: string }): OverlayDevice[] {
  const data = link.linkinfo?.info_data;
  if (link.linkinfo?.info_kind !== 'vxlan' || data === undefined || !link.ifname.startsWith('flannel')) return [];
  const local = data.local ?? data.local6;
  return [
    {
      name: link.ifname,
      vni: Number(data.id),
      port: Number(data.port),
      mtu: link.mtu,
      mac: link.address ?? '',
      isUp: link.flags?.includes('UP') ?? false,
      over: typeof data.link === 'string' ? data.link : null,
      local: typeof local === 'string' ? local : null,
    },
  ];
}

function peerRoute({ dst, gateway, dev }: IpRoute, tables: ReadonlyMap<string, Tables>): PeerRoute[] {
  if (gateway === undefined || dev === undefined || !isIp(dst.split('/')[0]!)) return []; // `default`, or on the link
  const subnet = dst.includes('/') ? dst : `${dst}/${dst.includes(':') ? 128 : 32}`;
  const overlay = tables.get(dev);
  const mac = overlay?.macs.get(gateway);
  const outer = mac === undefined ? undefined : overlay?.outers.get(mac);
  return [
    { subnet: formatCidr(parseCidr(subnet)), gateway, device: dev, isOverlay: overlay !== undefined, mac, outer },
  ];
}

/** True when `subnet` is a part of the pod network; all are, where it is not known. */
export function isInside(subnet: string, networks: readonly string[]): boolean {
  return networks.length === 0 || networks.some((n) => cidrCovers(parseCidr(n), parseCidr(subnet)));
}
