// host-gw backend: a plain route per peer, for nodes that share one layer-2 network.

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
  readonly #opts: HostGwOptions;
  readonly #exec: Exec;
  readonly #log: Logger;

  constructor(opts: HostGwOptions, deps: { exec: Exec; log: Logger }) {
    this.#opts = opts;
    this.#exec = deps.exec;
    this.#log = deps.log;
  }

  async ensureDevice(): Promise<{ readonly backendData: unknown; readonly mtu: number }> {
    return { backendData: null, mtu: this.#opts.external.mtu };
  }

  async syncPeers(peers: readonly SubnetLease[], signal: AbortSignal): Promise<void> {
    const lines = diffRoutes(this.#opts, peers, await this.#routes(signal));
    await ipBatch(this.#exec, lines, { signal, force: true });
    if (lines.length > 0) this.#log.info({ peers: peers.length, changes: lines.length }, 'host-gw routes synced');
  }

  async #routes(signal: AbortSignal): Promise<readonly IpRoute[]> {
    const args = ['-4', 'route', 'show', 'dev', this.#opts.external.device];
    return (await readJson<IpRoute>(this.#exec, 'ip', args, { signal })) ?? [];
  }

  concerns(line: string): boolean {
    return line.startsWith('Deleted ') && line.includes(` dev ${this.#opts.external.device}`) && line.includes(' via ');
  }

  async cleanup(signal: AbortSignal): Promise<void> {
    await ipBatch(this.#exec, diffRoutes(this.#opts, [], await this.#routes(signal)), { signal, force: true });
  }
}

/** Pure: commands that make the routes into the pod network equal to `peers`. */
export function diffRoutes(opts: HostGwOptions, peers: readonly SubnetLease[], actual: readonly IpRoute[]): string[] {
  const network = parseCidr(opts.network);
  const { device } = opts.external;
  const wanted = new Map(peers.filter((p) => p.backendType === 'host-gw').map((p) => [p.subnet, p.publicIp]));
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
