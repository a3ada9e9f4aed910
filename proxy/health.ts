// Health and metrics of the proxy over HTTP: load balancers probe 10256 to decide whether the node gets traffic.
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Node } from '../api/kinds.ts';
import type { ReadonlyStore } from '../client/store.ts';
import { aborted } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { AgentError, errorMessage } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { Registry } from '../core/metrics.ts';
import type { ProxyMetrics } from './metrics.ts';

type Family = 'IPv4' | 'IPv6';

const BIND_RETRY_MS = 5_000;
/** The cluster autoscaler puts it on nodes that it is about to remove. */
const TO_BE_DELETED_TAINT = 'ToBeDeletedByClusterAutoscaler';

interface FamilyState {
  lastUpdatedMs: number | undefined;
  /** Monotonic ms of the oldest request for a sync that no sync has served. */
  queuedSinceMs: number | undefined;
}

export interface ProxyHealthOptions {
  readonly nodeName: string;
  readonly syncPeriodMs: number;
  /** What /proxyMode answers. */
  readonly mode: 'iptables' | 'nftables';
  /** What /configz shows: the KubeProxyConfiguration in effect. */
  readonly configz: Readonly<Record<string, unknown>>;
}

/** How health checks went, for /metrics/slis. */
export interface HealthCheckLog {
  observe(name: string, ok: boolean): void;
  render(): string;
}

export interface ProxyHealthDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodes: ReadonlyStore<Node>;
  readonly metrics: ProxyMetrics;
  readonly registry: Registry;
  readonly slis: HealthCheckLog;
}

export class ProxyHealth {
  readonly #opts: ProxyHealthOptions;
  readonly #deps: ProxyHealthDeps;
  readonly #families = new Map<Family, FamilyState>();

  constructor(opts: ProxyHealthOptions, deps: ProxyHealthDeps) {
    this.#opts = opts;
    this.#deps = deps;
  }

  /** A sync of `family` was asked for. */
  queued(family: Family): void {
    const state = this.#stateOf(family);
    state.queuedSinceMs ??= this.#deps.clock.monotonicMs();
  }

  /** A sync succeeded. Returns how many families have ever been synced. */
  synced(family: Family): number {
    const state = this.#stateOf(family);
    state.queuedSinceMs = undefined;
    state.lastUpdatedMs = this.#deps.clock.now();
    return [...this.#families.values()].filter((s) => s.lastUpdatedMs !== undefined).length;
  }

  #stateOf(family: Family): FamilyState {
    let state = this.#families.get(family);
    if (state === undefined) {
      state = { lastUpdatedMs: undefined, queuedSinceMs: undefined };
      this.#families.set(family, state);
    }
    return state;
  }

  #isFamilyHealthy(state: FamilyState): boolean {
    const { queuedSinceMs } = state;
    return queuedSinceMs === undefined || this.#deps.clock.monotonicMs() - queuedSinceMs < 2 * this.#opts.syncPeriodMs;
  }

  /** False when changes have waited for twice the sync period. */
  get healthy(): boolean {
    return [...this.#families.values()].every((s) => this.#isFamilyHealthy(s));
  }

  get nodeEligible(): boolean {
    const node = this.#deps.nodes.get(this.#opts.nodeName);
    if (node === undefined || node.metadata?.deletionTimestamp) return false;
    return !(node.spec?.taints ?? []).some((t) => t.key === TO_BE_DELETED_TAINT);
  }

  /** Status code and body of /healthz (with the node's eligibility) and /livez. */
  answer(path: '/healthz' | '/livez'): { readonly code: 200 | 503; readonly body: string } {
    const withNode = path === '/healthz';
    const ok = this.healthy && (!withNode || this.nodeEligible);
    const now = this.#deps.clock.now();
    const updates = [...this.#families.values()].map((s) => s.lastUpdatedMs ?? 0);
    const status = [...this.#families].map(([family, s]) => [
      family,
      { lastUpdated: timeText(s.lastUpdatedMs), healthy: this.#isFamilyHealthy(s) },
    ]);
    const body = {
      lastUpdated: timeText(ok ? now : Math.max(0, ...updates) || undefined),
      currentTime: timeText(now),
      ...(withNode ? { nodeEligible: this.nodeEligible } : {}),
      healthy: this.healthy,
      status: Object.fromEntries(status),
    };
    return { code: ok ? 200 : 503, body: JSON.stringify(body) };
  }

  /** Serves /healthz and /livez on `address` until `signal` aborts. */
  serveHealthz(address: string, signal: AbortSignal): Promise<void> {
    const { metrics } = this.#deps;
    return this.#serve(address, signal, (path, res) => {
      if (path !== '/healthz' && path !== '/livez') return reply(res, 404, 'text/plain; charset=utf-8', 'not found\n');
      const { code, body } = this.answer(path);
      (path === '/healthz' ? metrics.healthz : metrics.livez).inc({ code: String(code) });
      return reply(res, code, 'application/json', body);
    });
  }

  /** Serves /metrics, /metrics/slis, /healthz, /proxyMode and /configz on `address` until `signal` aborts. */
  serveMetrics(address: string, signal: AbortSignal): Promise<void> {
    const { registry, slis } = this.#deps;
    const text = 'text/plain; charset=utf-8';
    return this.#serve(address, signal, async (path, res) => {
      if (path === '/metrics') reply(res, 200, registry.contentType, await registry.metrics());
      else if (path === '/metrics/slis') reply(res, 200, registry.contentType, slis.render());
      else if (path === '/healthz' || path === '/healthz/ping') {
        slis.observe('ping', true); // upstream's only check here: that there is an answer
        reply(res, 200, text, 'ok');
      } else if (path === '/configz') reply(res, 200, 'application/json', this.#configz());
      else if (path === '/proxyMode') reply(res, 200, text, this.#opts.mode);
      else reply(res, 404, text, 'not found\n');
    });
  }

  #configz(): string {
    return JSON.stringify({ 'kubeproxy.config.k8s.io': this.#opts.configz });
  }

  /** A port in use is no reason to stop proxying: bound again every 5 s, as upstream does. */
  async #serve(address: string, signal: AbortSignal, handle: Handle): Promise<void> {
    const { clock, log } = this.#deps;
    while (!signal.aborted) {
      try {
        await using server = await this.#listen(address, handle);
        log.debug({ address, port: (server.server.address() as AddressInfo).port }, 'listening');
        await aborted(signal);
      } catch (err) {
        log.error({ address, reason: errorMessage(err), retryInMs: BIND_RETRY_MS }, 'cannot listen');
        await clock.sleep(BIND_RETRY_MS, signal);
      }
    }
  }

  async #listen(address: string, handle: Handle): Promise<{ readonly server: Server } & AsyncDisposable> {
    const { log } = this.#deps;
    const { host, port } = splitAddress(address);
    const server = createServer({ requestTimeout: 10_000 }, async (req, res) => {
      const path = req.url?.split('?', 1)[0] ?? '/'; // not by URL, which throws on targets such as //
      try {
        await handle(path, res);
      } catch (err) {
        log.warn({ err, path }, 'request failed');
        res.destroy();
      }
    });
    server.on('error', (err) => {
      if (server.listening) log.warn({ err, address }, 'cannot accept a connection');
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, resolve);
    });
    return {
      server,
      [Symbol.asyncDispose]: async () => {
        server.closeAllConnections();
        await new Promise<void>((resolve) => server.close(() => resolve()));
      },
    };
  }
}

/** What it throws ends the connection. */
type Handle = (path: string, res: ServerResponse) => void | Promise<void>;

/** `0.0.0.0:10256` or `[::]:10256`. @throws {AgentError} CONFIG_INVALID. */
function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const m = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(address);
  if (m === null) throw new AgentError(`${address}: expected host:port`, { code: 'CONFIG_INVALID' });
  return { host: m[1] ?? m[2] ?? '', port: Number(m[3]) };
}

function reply(res: ServerResponse, code: number, type: string, body: string): void {
  const headers = {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'X-Content-Type-Options': 'nosniff',
  };
  res.writeHead(code, headers).end(body);
}

/** RFC 3339; Go's zero time when nothing has happened yet. */
function timeText(wallMs: number | undefined): string {
  return wallMs === undefined ? '0001-01-01T00:00:00Z' : new Date(wallMs).toISOString();
}
