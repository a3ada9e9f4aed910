// host-gw backend: a plain route per peer, for nodes that share one layer-2 network. One instance for each family.

import { type Cidr, cidrCovers, parseCidr } from '../api/cidr.ts';
import type { Logger } from '../core/log.ts';
import type { Exec } from '../host/exec.ts';
import { type IpRoute, ipBatch, readJson } from '../host/ip-batch.ts';
import type { Backend, ExternalInterface, SubnetLease } from './backend.ts';

export interface HostGwOptions {
  readonly external: ExternalInterface;
  /** The whole pod network: routes of the device to subnets inside it belong to this backend. */
  readonly network: string;
}

export class HostGwBackend implements Backend {
  readonly type = 'host-gw';
  readonly version: 4 | 6;
  readonly #opts: HostGwOptions;
  readonly #exec: Exec;
  readonly #log: Logger;

  constructor(opts: HostGwOptions, deps: { exec: Exec; log: Logger }) {
    this.#opts = opts;
    this.version = parseCidr(opts.network).version;
    this.#exec = deps.exec;
    this.#log = deps.log;
  }

  async announce(): Promise<unknown> {
    return null;
  }

  async ensureDevice(): Promise<{ readonly backendData: unknown; readonly mtu: number }> {
    return { backendData: null, mtu: this.#opts.external.mtu };
  }

  async syncPeers(peers: readonly SubnetLease[], signal: AbortSignal): Promise<void> {
    const direct = peers.filter((p) => p.backendType === 'host-gw');
    const lines = diffRoutes(this.#opts, direct, await readGatewayRoutes(this.#exec, this.#opts, signal));
    await ipBatch(this.#exec, lines, { signal, force: true });
    if (lines.length > 0) this.#log.info({ peers: peers.length, changes: lines.length }, 'host-gw routes synced');
  }

  concerns(line: string): boolean {
    return concernsGateways(line, this.#opts.external.device);
  }

  async cleanup(signal: AbortSignal): Promise<void> {
    const routes = await readGatewayRoutes(this.#exec, this.#opts, signal);
    await ipBatch(this.#exec, diffRoutes(this.#opts, [], routes), { signal, force: true });
  }
}

/** A route through a peer went, or the interface itself changed: of routes that go with their link nobody tells. */
export function concernsGateways(line: string, device: string): boolean {
  if (line.startsWith('Deleted ')) return line.includes(` dev ${device}`) && line.includes(' via ');
  return new RegExp(`^\\d+: ${RegExp.escape(device)}[:@]`).test(line);
}

/** The routes of the external interface, as `diffRoutes` compares them. */
export async function readGatewayRoutes(
  exec: Exec,
  { external, network }: HostGwOptions,
  signal: AbortSignal,
): Promise<readonly IpRoute[]> {
  const args = [`-${parseCidr(network).version}`, 'route', 'show', 'dev', external.device];
  return (await readJson<IpRoute>(exec, 'ip', args, { signal })) ?? [];
}

/** Pure: commands that make the routes through peers into the pod network equal to `peers`. */
export function diffRoutes(opts: HostGwOptions, peers: readonly SubnetLease[], actual: readonly IpRoute[]): string[] {
  const network = parseCidr(opts.network);
  const { device } = opts.external;
  const wanted = new Map(peers.map((p) => [p.subnet, p.publicIp]));
  const lines: string[] = [];
  const there = new Map<string, string>();
  for (const r of actual) {
    if (r.gateway === undefined || !isInside(network, r.dst)) continue;
    there.set(r.dst, r.gateway);
    if (!wanted.has(r.dst)) lines.push(`route delete ${r.dst} via ${r.gateway} dev ${device}`);
  }
  for (const [subnet, ip] of wanted) {
    if (there.get(subnet) !== ip) lines.push(`route replace ${subnet} via ${ip} dev ${device}`);
  }
  return lines;
}

function isInside(network: Cidr, dst: string): boolean {
  if (!dst.includes('/')) return false; // `default`, or a single host
  return cidrCovers(network, parseCidr(dst));
}
