// Servers on the health check node ports of load-balancer Services with the Local policy: a balancer sends traffic only
// to nodes whose server says that they have endpoints. After pkg/proxy/healthcheck/service_health.go.
import { createServer, type Server, type ServerResponse } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { errorMessage } from '../core/errors.ts';
import type { Endpoint, ServiceEndpoints, ServicePort } from './service-map.ts';

export interface ServiceHealth {
  readonly port: number;
  /** Addresses of local pods that are ready. */
  readonly localEndpoints: number;
}

export interface ServiceHealthDeps {
  /** Where each server listens: `0.0.0.0` or `::`, or the addresses on which node ports answer; others each time, maybe. */
  readonly addresses: () => readonly string[];
  /** The proxy keeps the rules up to date. */
  readonly isProxyHealthy: () => boolean;
  /** A port cannot be opened; it is tried again at the next update. Must not throw. */
  readonly onListenError: (serviceKey: string, port: number, message: string) => void;
  /** A connection to an open port could not be accepted; the port stays open. Must not throw. */
  readonly onAcceptError: (serviceKey: string, port: number, message: string) => void;
}

interface Opened {
  readonly port: number;
  readonly addresses: readonly string[];
  readonly servers: readonly Server[];
}

export class ServiceHealthServers implements AsyncDisposable {
  readonly #deps: ServiceHealthDeps;
  readonly #opened = new Map<string, Opened>();
  #wanted: ReadonlyMap<string, ServiceHealth> = new Map();

  constructor(deps: ServiceHealthDeps) {
    this.#deps = deps;
  }

  /** Closes what is not wanted any more, opens what is missing; answers tell the new counts from now on. */
  async update(wanted: ReadonlyMap<string, ServiceHealth>): Promise<void> {
    this.#wanted = wanted;
    const addresses = this.#deps.addresses();
    for (const [key, opened] of this.#opened) {
      const isRight = wanted.get(key)?.port === opened.port && isDeepStrictEqual(opened.addresses, addresses);
      if (!isRight) await this.#close(key);
    }
    for (const [key, { port }] of wanted) if (!this.#opened.has(key)) await this.#open(key, port, addresses);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.update(new Map());
  }

  async #open(key: string, port: number, addresses: readonly string[]): Promise<void> {
    const servers = addresses.map(() => this.#createServer(key, port));
    try {
      await Promise.all(servers.map((server, i) => listen(server, addresses[i]!, port)));
      this.#opened.set(key, { port, addresses, servers });
    } catch (err) {
      await Promise.all(servers.map(close));
      this.#deps.onListenError(key, port, errorMessage(err));
    }
  }

  async #close(key: string): Promise<void> {
    const { servers } = this.#opened.get(key)!;
    this.#opened.delete(key);
    await Promise.all(servers.map(close));
  }

  #createServer(key: string, port: number): Server {
    const server = createServer((_request, response) => this.#answer(key, response));
    server.on('error', (err) => {
      if (server.listening) this.#deps.onAcceptError(key, port, errorMessage(err));
    });
    return server;
  }

  /** The same for any path and method. */
  #answer(key: string, response: ServerResponse): void {
    const [namespace, name] = key.split('/');
    const localEndpoints = this.#wanted.get(key)?.localEndpoints ?? 0;
    const serviceProxyHealthy = this.#deps.isProxyHealthy();
    const body = JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy }, null, '\t');
    response.writeHead(localEndpoints > 0 && serviceProxyHealthy ? 200 : 503, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body), // plain probes read no chunks
      'X-Content-Type-Options': 'nosniff',
      'X-Load-Balancing-Endpoint-Weight': String(localEndpoints),
    });
    response.end(body);
  }
}

/** Few Services have one. */
export function hasHealthCheck(ports: readonly ServicePort[]): boolean {
  return ports.some((p) => p.healthCheckNodePort !== undefined);
}

/** What a Service's health check should tell; undefined when it has none. Pure. */
export function serviceHealthOf(
  ports: readonly ServicePort[],
  endpoints: ServiceEndpoints | undefined,
): ServiceHealth | undefined {
  const port = ports.find((p) => p.healthCheckNodePort !== undefined)?.healthCheckNodePort;
  if (port === undefined) return undefined;
  const isCounted = (e: Endpoint) => e.isLocal && e.ready;
  const ips = [...(endpoints?.values() ?? [])].flatMap((list) => list.filter(isCounted).map((e) => e.ip));
  return { port, localEndpoints: new Set(ips).size };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, ipv6Only: host.includes(':') }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve())); // one that never listened says so, which is no matter
}
