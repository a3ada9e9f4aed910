// VXLAN backend: one device for each family; per peer an ARP entry, an FDB entry and a route. Interoperates with flanneld.
import { randomBytes } from 'node:crypto';
import { addressBits, formatIp, type IpVersion, parseCidr, parseIp } from '../api/cidr.ts';
import { AgentError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { Exec } from '../host/exec.ts';
import {
  bridgeBatch,
  type FdbEntry,
  type IpLink,
  type IpNeighbour,
  type IpRoute,
  ipBatch,
  readJson,
  readJsonBatch,
} from '../host/ip-batch.ts';
import { removeLink } from '../host/netns.ts';
import type { Sysctl } from '../host/sysctl.ts';
import type { Backend, ExternalInterface, SubnetLease } from './backend.ts';
import { concernsGateways, diffRoutes, readGatewayRoutes } from './host-gw.ts';
import { macOf } from './subnet-manager.ts';

/**
 * Outer Ethernet, IP, UDP and VXLAN headers, bytes. flannel takes 50 for IPv6 as well, whose header is 20 longer: there
 * every full-size packet leaves in two fragments.
 */
const OVERHEAD_BYTES = { 4: 50, 6: 70 } as const;
const DEFAULT_PORT = 8472;

export interface VxlanOptions {
  readonly vni: number;
  /** UDP port; 8472 is what Linux and flannel use. */
  readonly port: number;
  /** Its address decides the family of the backend. */
  readonly external: ExternalInterface;
  /** The whole pod network of that family. */
  readonly network: string;
  /** Peers on the same link are reached by plain routes. */
  readonly directRouting: boolean;
  /** MAC published earlier: keeping it spares peers a change. */
  readonly previousMac: (signal: AbortSignal) => Promise<string | undefined>;
}

export interface VxlanPeer {
  readonly subnet: string;
  /** The peer's device address: its subnet's network address. */
  readonly gateway: string;
  readonly mac: string;
  readonly publicIp: string;
}

export interface VxlanState {
  readonly routes: readonly IpRoute[];
  readonly neighbours: readonly IpNeighbour[];
  readonly fdb: readonly FdbEntry[];
}

/** `flannel.1`; `flannel-v6.1` for IPv6. */
export function vxlanDevice(version: IpVersion, vni: number): string {
  return `${version === 4 ? 'flannel' : 'flannel-v6'}.${vni}`;
}

export class VxlanBackend implements Backend {
  readonly type = 'vxlan';
  readonly version: IpVersion;
  readonly device: string;
  readonly #opts: VxlanOptions;
  readonly #exec: Exec;
  readonly #sysctl: Sysctl;
  readonly #log: Logger;
  #mac: string | undefined;
  /** Routes of an earlier run with host-gw or direct routing have been looked for. */
  #sweptDirect = false;

  constructor(opts: VxlanOptions, deps: { exec: Exec; sysctl: Sysctl; log: Logger }) {
    this.#opts = opts;
    this.#exec = deps.exec;
    this.#sysctl = deps.sysctl;
    this.#log = deps.log;
    this.version = parseIp(opts.external.ip).version;
    this.device = vxlanDevice(this.version, opts.vni);
  }

  async announce(signal: AbortSignal): Promise<unknown> {
    return this.#data(await this.#chooseMac(await this.#readLink(signal), signal));
  }

  /** That of a device which will be kept, else the one published, else a new one: stable from the first call on. */
  async #chooseMac(existing: IpLink | undefined, signal: AbortSignal): Promise<string> {
    if (existing?.address !== undefined && isSameTunnel(existing, this.#opts)) this.#mac = existing.address;
    this.#mac ??= (await this.#opts.previousMac(signal)) ?? randomMac();
    return this.#mac;
  }

  /** The order of keys and the absence of blanks are what flanneld itself writes and reads. */
  #data(mac: string): unknown {
    return { VNI: this.#opts.vni, VtepMAC: mac };
  }

  async ensureDevice(
    subnet: string,
    signal: AbortSignal,
  ): Promise<{ readonly backendData: unknown; readonly mtu: number }> {
    const mtu = deviceMtu(this.#opts);
    const existing = await this.#readLink(signal);
    const lines = deviceCommands(this.device, this.#opts, subnet, existing, await this.#chooseMac(existing, signal));
    if (lines.length > 0) {
      await ipBatch(this.#exec, lines, { signal });
      this.#log.info({ device: this.device, mtu }, 'VXLAN device set up');
    }
    await this.#sysctl.set(`net/ipv6/conf/${this.device}/accept_ra`, '0');
    const link = lines.length === 0 ? existing : await this.#readLink(signal);
    if (link?.address === undefined) {
      throw new AgentError(`device ${this.device} vanished while it was set up`, {
        code: 'NETWORK_DEVICE',
        retryable: true,
      });
    }
    this.#mac = link.address;
    return { backendData: this.#data(link.address), mtu };
  }

  async #readLink(signal: AbortSignal): Promise<IpLink | undefined> {
    return (await readJson<IpLink>(this.#exec, 'ip', ['-d', 'addr', 'show', 'dev', this.device], { signal }))?.[0];
  }

  async syncPeers(peers: readonly SubnetLease[], signal: AbortSignal): Promise<void> {
    const usable = peers.map((p) => readPeer(p, this.#opts.vni)).filter((p) => p !== undefined);
    const onLink = this.#opts.directRouting ? await this.#onLink(usable, signal) : new Set<string>();
    const tunnelled = usable.filter((p) => !onLink.has(p.publicIp));
    const actual = await this.#readState(signal);
    const { ip, bridge } = diffPeers(this.device, tunnelled, actual);
    // The FDB comes first, routes last in their batch, so that no packet asks for an entry that is about to come.
    await bridgeBatch(this.#exec, bridge, { signal, force: true });
    const direct = peers.filter((p) => onLink.has(p.publicIp));
    if (this.version === 6 && ip.some((line) => line.startsWith('route replace'))) await this.#makeWay(direct, signal);
    await ipBatch(this.#exec, ip, { signal, force: true });
    const routes = await this.#directRoutes(direct, signal);
    await ipBatch(this.#exec, routes, { signal, force: true });
    const changes = ip.length + bridge.length + routes.length;
    if (changes > 0) this.#log.info({ peers: usable.length, direct: direct.length, changes }, 'VXLAN peers synced');
  }

  /**
   * Takes away direct routes of peers that get a tunnel. With IPv6 the kernel refuses a gateway (EINVAL) as long as another
   * route leads to its address over another device; with IPv4 the new route takes the place of the old one.
   */
  async #makeWay(direct: readonly SubnetLease[], signal: AbortSignal): Promise<void> {
    const stale = diffRoutes(this.#opts, direct, await readGatewayRoutes(this.#exec, this.#opts, signal));
    const lines = stale.filter((line) => line.startsWith('route delete'));
    await ipBatch(this.#exec, lines, { signal, force: true });
  }

  /** Addresses of peers that are reached without a gateway. */
  async #onLink(peers: readonly VxlanPeer[], signal: AbortSignal): Promise<ReadonlySet<string>> {
    const lines = peers.map((p) => `route get ${p.publicIp}`);
    const routes = await readJsonBatch<IpRoute>(this.#exec, lines, { signal });
    const { device } = this.#opts.external;
    return new Set(routes.filter((r) => r.gateway === undefined && r.dev === device).map((r) => r.dst));
  }

  async #directRoutes(direct: readonly SubnetLease[], signal: AbortSignal): Promise<string[]> {
    if (!this.#opts.directRouting && this.#sweptDirect) return [];
    this.#sweptDirect = true;
    return diffRoutes(this.#opts, direct, await readGatewayRoutes(this.#exec, this.#opts, signal));
  }

  async #readState(signal: AbortSignal): Promise<VxlanState> {
    const on = ['show', 'dev', this.device];
    const family = `-${this.version}`;
    const [routes, neighbours, fdb] = await Promise.all([
      readJson<IpRoute>(this.#exec, 'ip', [family, 'route', ...on], { signal }),
      readJson<IpNeighbour>(this.#exec, 'ip', [family, 'neigh', ...on], { signal }),
      readJson<FdbEntry>(this.#exec, 'bridge', ['fdb', ...on], { signal }),
    ]);
    return { routes: routes ?? [], neighbours: neighbours ?? [], fdb: fdb ?? [] };
  }

  concerns(line: string): boolean {
    if (line.includes(` ${this.device}`)) return true;
    return this.#opts.directRouting && concernsGateways(line, this.#opts.external.device);
  }

  async cleanup(signal: AbortSignal): Promise<void> {
    await removeLink(this.#exec, this.device); // routes, neighbours and FDB entries go with it
    const direct = diffRoutes(this.#opts, [], await readGatewayRoutes(this.#exec, this.#opts, signal));
    await ipBatch(this.#exec, direct, { signal, force: true });
  }
}

function deviceMtu({ external }: VxlanOptions): number {
  return external.mtu - OVERHEAD_BYTES[parseIp(external.ip).version];
}

/** Pure: commands that make or mend the device; none when it is as it should be. */
export function deviceCommands(
  device: string,
  opts: VxlanOptions,
  subnet: string,
  existing: IpLink | undefined,
  macForNew: string,
): string[] {
  const lines: string[] = [];
  const mtu = deviceMtu(opts);
  const { version, base } = parseCidr(subnet);
  const address = formatIp({ version, value: base });
  const bits = addressBits(version);
  const usable = existing !== undefined && isSameTunnel(existing, opts);
  if (existing !== undefined && !usable) lines.push(`link delete ${device}`);
  if (!usable) {
    lines.push(
      `link add ${device} address ${macForNew} mtu ${mtu} type vxlan id ${opts.vni} dev ${opts.external.device} local ${opts.external.ip} dstport ${opts.port} nolearning`,
    );
  } else if (existing.mtu !== mtu) lines.push(`link set ${device} mtu ${mtu}`);
  const family = version === 4 ? 'inet' : 'inet6';
  const there = usable ? (existing.addr_info ?? []).filter((a) => a.family === family && !isLinkLocal(a.local)) : [];
  for (const a of there) {
    if (a.local !== address || a.prefixlen !== bits)
      lines.push(`address delete ${a.local}/${a.prefixlen} dev ${device}`);
  }
  if (!there.some((a) => a.local === address && a.prefixlen === bits)) {
    // Without "nodad" an IPv6 address cannot be used for the first second.
    lines.push(`address add ${address}/${bits} dev ${device}${version === 6 ? ' nodad' : ''}`);
  }
  if (!usable || !(existing.flags ?? []).includes('UP')) lines.push(`link set ${device} up`);
  return lines;
}

function isLinkLocal(address: string): boolean {
  return /^fe[89ab]/i.test(address);
}

function isSameTunnel(link: IpLink, opts: VxlanOptions): boolean {
  const d = link.linkinfo?.info_data;
  return (
    link.linkinfo?.info_kind === 'vxlan' &&
    d?.id === opts.vni &&
    d.link === opts.external.device &&
    (d.local ?? d.local6) === opts.external.ip &&
    d.l2miss !== true &&
    d.gbp !== true &&
    (d.port ?? DEFAULT_PORT) === opts.port
  );
}

/** Undefined when the peer speaks another backend or publishes nonsense. */
export function readPeer(lease: SubnetLease, vni: number): VxlanPeer | undefined {
  const mac = lease.backendType === 'vxlan' ? macOf(lease.backendData, vni) : undefined;
  if (mac === undefined) return undefined;
  const { version, base } = parseCidr(lease.subnet);
  return { subnet: lease.subnet, gateway: formatIp({ version, value: base }), mac, publicIp: lease.publicIp };
}

/** Pure: what must be done to come from `actual` to `desired`. */
export function diffPeers(
  device: string,
  desired: readonly VxlanPeer[],
  actual: VxlanState,
): { readonly ip: readonly string[]; readonly bridge: readonly string[] } {
  const ip: string[] = [];
  const bridge: string[] = [];
  const routes = new Map(actual.routes.map((r) => [r.dst, r]));
  const neighbours = new Map(actual.neighbours.map((n) => [n.dst, n]));
  const fdb = new Map(actual.fdb.map((f) => [f.mac, f]));
  const bySubnet = new Set(desired.map((p) => p.subnet));
  const byGateway = new Set(desired.map((p) => p.gateway));
  const byMac = new Set(desired.map((p) => p.mac));

  for (const r of actual.routes) if (r.gateway && !bySubnet.has(r.dst)) ip.push(`route delete ${r.dst} dev ${device}`);
  for (const n of actual.neighbours) {
    if (n.lladdr && !byGateway.has(n.dst)) ip.push(`neigh delete ${n.dst} dev ${device}`);
  }
  for (const f of actual.fdb) {
    if (f.dst && !byMac.has(f.mac)) bridge.push(`fdb delete ${f.mac} dev ${device} dst ${f.dst} self`);
  }
  for (const p of desired) {
    if (neighbours.get(p.gateway)?.lladdr !== p.mac || !neighbours.get(p.gateway)?.state?.includes('PERMANENT')) {
      ip.push(`neigh replace ${p.gateway} lladdr ${p.mac} dev ${device} nud permanent`);
    }
    if (fdb.get(p.mac)?.dst !== p.publicIp) {
      bridge.push(`fdb replace ${p.mac} dev ${device} dst ${p.publicIp} self permanent`);
    }
    if (routes.get(p.subnet)?.gateway !== p.gateway) {
      ip.push(`route replace ${p.subnet} via ${p.gateway} dev ${device} onlink`);
    }
  }
  return { ip, bridge };
}

/** A random unicast MAC with the bit of locally administered ones. */
function randomMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = (bytes[0]! & 0xfe) | 0x02;
  return [...bytes].map((b) => b.toString(16).padStart(2, '0')).join(':');
}
