// VXLAN backend: one device per node; per peer an ARP entry, an FDB entry and a route. Interoperates with flanneld.
import { randomBytes } from 'node:crypto';
import { formatIp, parseCidr } from '../api/cidr.ts';
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
} from '../host/ip-batch.ts';
import { removeLink } from '../host/netns.ts';
import type { Sysctl } from '../host/sysctl.ts';
import type { Backend, ExternalInterface, SubnetLease } from './backend.ts';

/** Outer Ethernet, IP, UDP and VXLAN headers, bytes. */
const OVERHEAD_BYTES = 50;
const DEFAULT_PORT = 8472;

export interface VxlanOptions {
  readonly vni: number;
  /** UDP port; 8472 is what Linux and flannel use. */
  readonly port: number;
  readonly external: ExternalInterface;
  /** This node's subnet, e.g. `10.244.1.0/24`. */
  readonly subnet: string;
  /** MAC published earlier: keeping it spares peers a change. */
  readonly previousMac: string | undefined;
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

export class VxlanBackend implements Backend {
  readonly type = 'vxlan';
  readonly device: string;
  readonly #opts: VxlanOptions;
  readonly #exec: Exec;
  readonly #sysctl: Sysctl;
  readonly #log: Logger;
  #mac: string | undefined;

  constructor(opts: VxlanOptions, deps: { exec: Exec; sysctl: Sysctl; log: Logger }) {
    this.#opts = opts;
    this.#exec = deps.exec;
    this.#sysctl = deps.sysctl;
    this.#log = deps.log;
    this.device = `flannel.${opts.vni}`;
    this.#mac = opts.previousMac;
  }

  async ensureDevice(signal: AbortSignal): Promise<{ readonly backendData: unknown; readonly mtu: number }> {
    const { vni, external } = this.#opts;
    const mtu = external.mtu - OVERHEAD_BYTES;
    const existing = await this.#readLink(signal);
    const lines = deviceCommands(this.device, this.#opts, existing, this.#mac ?? randomMac());
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
    // The order of keys and the absence of blanks are what flanneld itself writes and reads.
    return { backendData: { VNI: vni, VtepMAC: link.address }, mtu };
  }

  async #readLink(signal: AbortSignal): Promise<IpLink | undefined> {
    return (await readJson<IpLink>(this.#exec, 'ip', ['-d', 'addr', 'show', 'dev', this.device], { signal }))?.[0];
  }

  async syncPeers(peers: readonly SubnetLease[], signal: AbortSignal): Promise<void> {
    const desired = peers.map((p) => readPeer(p, this.#opts.vni)).filter((p) => p !== undefined);
    const actual = await this.#readState(signal);
    const { ip, bridge } = diffPeers(this.device, desired, actual);
    // The FDB comes first, routes last in their batch, so that no packet asks for an entry that is about to come.
    await bridgeBatch(this.#exec, bridge, { signal, force: true });
    await ipBatch(this.#exec, ip, { signal, force: true });
    if (ip.length + bridge.length > 0)
      this.#log.info({ peers: desired.length, changes: ip.length }, 'VXLAN peers synced');
  }

  async #readState(signal: AbortSignal): Promise<VxlanState> {
    const on = ['show', 'dev', this.device];
    const [routes, neighbours, fdb] = await Promise.all([
      readJson<IpRoute>(this.#exec, 'ip', ['-4', 'route', ...on], { signal }),
      readJson<IpNeighbour>(this.#exec, 'ip', ['-4', 'neigh', ...on], { signal }),
      readJson<FdbEntry>(this.#exec, 'bridge', ['fdb', ...on], { signal }),
    ]);
    return { routes: routes ?? [], neighbours: neighbours ?? [], fdb: fdb ?? [] };
  }

  concerns(line: string): boolean {
    return line.includes(this.device);
  }

  async cleanup(_signal: AbortSignal): Promise<void> {
    await removeLink(this.#exec, this.device); // routes, neighbours and FDB entries go with it
  }
}

/** Pure: commands that make or mend the device; none when it is as it should be. */
export function deviceCommands(
  device: string,
  opts: VxlanOptions,
  existing: IpLink | undefined,
  macForNew: string,
): string[] {
  const lines: string[] = [];
  const mtu = opts.external.mtu - OVERHEAD_BYTES;
  const address = formatIp({ version: 4, value: parseCidr(opts.subnet).base });
  const usable = existing !== undefined && isSameTunnel(existing, opts);
  if (existing !== undefined && !usable) lines.push(`link delete ${device}`);
  if (!usable) {
    lines.push(
      `link add ${device} address ${macForNew} mtu ${mtu} type vxlan id ${opts.vni} dev ${opts.external.device} local ${opts.external.ip} dstport ${opts.port} nolearning`,
    );
  } else if (existing.mtu !== mtu) lines.push(`link set ${device} mtu ${mtu}`);
  const there = usable ? (existing.addr_info ?? []).filter((a) => a.family === 'inet') : [];
  for (const a of there) {
    if (a.local !== address || a.prefixlen !== 32) lines.push(`address delete ${a.local}/${a.prefixlen} dev ${device}`);
  }
  if (!there.some((a) => a.local === address && a.prefixlen === 32))
    lines.push(`address add ${address}/32 dev ${device}`);
  if (!usable || !(existing.flags ?? []).includes('UP')) lines.push(`link set ${device} up`);
  return lines;
}

function isSameTunnel(link: IpLink, opts: VxlanOptions): boolean {
  const d = link.linkinfo?.info_data;
  return (
    link.linkinfo?.info_kind === 'vxlan' &&
    d?.id === opts.vni &&
    d.link === opts.external.device &&
    d.local === opts.external.ip &&
    (d.port ?? DEFAULT_PORT) === opts.port
  );
}

/** Undefined when the peer speaks another backend or publishes nonsense. */
export function readPeer(lease: SubnetLease, vni: number): VxlanPeer | undefined {
  if (lease.backendType !== 'vxlan' || typeof lease.backendData !== 'object') return undefined;
  const data = lease.backendData as { readonly VNI?: unknown; readonly VtepMAC?: unknown } | null;
  const mac = data?.VtepMAC;
  if (data?.VNI !== vni || typeof mac !== 'string' || !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) return undefined;
  const gateway = formatIp({ version: 4, value: parseCidr(lease.subnet).base });
  return { subnet: lease.subnet, gateway, mac: mac.toLowerCase(), publicIp: lease.publicIp };
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
