// The node's HTTPS server (10250) and its local health port (10248): who may ask, and who answers.
// After pkg/kubelet/server/server.go.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { KeyPair } from '../../api/pki.ts';
import { aborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { Counter, type Registry } from '../../core/metrics.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import {
  adminAuthorizer,
  CertificateAuthenticator,
  Gate,
  type KubeletAuthenticator,
  type KubeletAuthorizer,
} from './auth.ts';
import { answerCheck, answerHealthz, type HealthAnswer, type HealthCheck, pingCheck } from './healthz.ts';
import { HealthzServer } from './healthz-server.ts';
import { asHttpError, HttpError, refuseUpgrade, sendHttpError, sendText } from './http-error.ts';
import { listen } from './listen.ts';
import { serveLogs } from './logs.ts';
import { renderPodList, runningPods } from './pod-lists.ts';
import { type ContainerPath, isStreaming, parseRoute, type Route } from './routes.ts';
import { type ServedPods, servedContainer } from './served-pods.ts';
import { serveStream } from './streaming.ts';

export interface KubeletServerOptions {
  readonly nodeName: string;
  /** `0.0.0.0` and 10250 by default; port 0: any free one. */
  readonly address: string;
  readonly port: number;
  readonly healthzAddress: string;
  /** 10248 by default; 0: off. */
  readonly healthzPort: number;
  readonly certificate: KeyPair;
  /** PEM bundle against which client certificates are verified; without it none are asked for. */
  readonly clientCa?: string;
  readonly anonymous: boolean;
}

export interface KubeletServerDeps {
  /** The Kubelet has this shape. */
  readonly pods: ServedPods;
  readonly runtime: Pick<RuntimeService, 'exec' | 'attach' | 'portForward' | 'execSync' | 'containerStatus'>;
  readonly metrics: Registry;
  /** Beside `ping`, e.g. `syncloop`. */
  readonly healthChecks?: readonly HealthCheck[];
  /** Asked after the client certificate. */
  readonly authenticators?: readonly KubeletAuthenticator[];
  /** The API server's own identity and administrators when absent. */
  readonly authorizer?: KubeletAuthorizer;
  /** The effective configuration as KubeletConfiguration v1beta1, for /configz. */
  readonly configz?: () => object;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Streams may be silent this long, ms: streamingConnectionIdleTimeout. */
const STREAM_IDLE_MS = 4 * 3600 * 1000;
/** TLS, HTTP, the gate and two pipelines listen on a relayed connection: more than Node takes for ordinary. */
const RELAY_LISTENERS = 32;
const KEEP_ALIVE_MS = 90_000;

export class KubeletServer {
  readonly #options: KubeletServerOptions;
  readonly #deps: KubeletServerDeps;
  readonly #log: Logger;
  readonly #gate: Gate;
  readonly #checks: readonly HealthCheck[];
  readonly #server: Server;
  readonly #healthz: HealthzServer | undefined;
  readonly #upgraded = new Set<Duplex>();
  readonly #websocketRequests: Counter<'subresource'>;

  constructor(options: KubeletServerOptions, deps: KubeletServerDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'server' });
    this.#checks = [pingCheck, ...(deps.healthChecks ?? [])];
    this.#gate = new Gate(options, {
      authenticators: [new CertificateAuthenticator(() => deps.clock.now()), ...(deps.authenticators ?? [])],
      authorizer: deps.authorizer ?? adminAuthorizer,
      log: this.#log,
    });
    this.#websocketRequests = new Counter({
      name: 'kubelet_websocket_streaming_requests_total',
      help: 'Streaming requests that came as a WebSocket and were translated',
      labelNames: ['subresource'],
      registers: [deps.metrics],
    });
    const { healthzAddress: address, healthzPort: port } = options;
    this.#healthz =
      port === 0 ? undefined : new HealthzServer({ address, port }, { clock: deps.clock, log: this.#log });
    this.#server = this.#createServer();
  }

  /** The port listened on. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Opens the HTTPS port. Separate from `run`, so that nothing else starts on a node whose port is taken. @throws {AgentError} LISTEN_FAILED */
  listen(): Promise<void> {
    return listen(this.#server, this.#options.address, this.#options.port);
  }

  /** Serves until `signal` aborts, then ends all connections. `listen` comes first if it was not called. @throws {AgentError} LISTEN_FAILED */
  async run(signal: AbortSignal): Promise<void> {
    if (!this.#server.listening) await this.listen();
    const healthz = this.#healthz?.run(signal);
    await aborted(signal);
    await Promise.all([this.#close(), healthz]);
  }

  #createServer(): Server {
    const { certificate, clientCa } = this.#options;
    const server = createServer({
      cert: certificate.cert,
      key: certificate.key,
      ...(clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: false }),
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['http/1.1'],
      keepAliveTimeout: KEEP_ALIVE_MS,
      requestTimeout: 0, // a followed log has no end
      headersTimeout: 30_000,
      maxHeaderSize: 64 * 1024,
      noDelay: true,
    });
    server.on('request', (request, response) => void this.#serve(request, response));
    server.on('upgrade', (request, socket, head) => void this.#upgrade(request, socket, head));
    server.on('error', (err) => {
      // E.g. out of descriptors. A failure to listen is told by listen().
      if (server.listening) this.#log.error({ err }, 'cannot accept a connection');
    });
    server.on('tlsClientError', (err) => this.#log.debug({ err }, 'TLS handshake failed'));
    return server;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { path, query } = splitUrl(request);
      await this.#gate.admit(request, path);
      await this.#answer(parseRoute(request.method ?? 'GET', path), query, response);
    } catch (err) {
      const answer = asHttpError(err);
      if (answer.code >= 500) this.#log.warn({ err, path: request.url?.split('?')[0] }, 'request failed');
      sendHttpError(response, answer);
    }
    request.resume(); // an unread body would stall the connection
  }

  async #answer(route: Route, query: URLSearchParams, response: ServerResponse): Promise<void> {
    const { pods, metrics, configz } = this.#deps;
    switch (route.kind) {
      case 'healthz':
        return sendHealth(response, healthAnswer(this.#checks, route.check, query));
      case 'pods':
        return sendJson(response, renderPodList(pods.getPods()));
      case 'runningPods':
        return sendJson(response, renderPodList(await runningPods(pods)));
      case 'metrics':
        return sendText(response, 200, await metrics.metrics(), { 'Content-Type': metrics.contentType });
      case 'configz':
        if (configz === undefined) throw new HttpError(404, '404: Page Not Found');
        return sendJson(response, JSON.stringify({ kubeletconfig: configz() }));
      case 'logs':
        return serveLogs(response, route.target, query, this.#deps);
      case 'run':
        return this.#runCommand(route.target, query, response);
      default:
        throw new HttpError(500, 'Upgrade request required');
    }
  }

  async #runCommand(target: ContainerPath, query: URLSearchParams, response: ServerResponse): Promise<void> {
    const { container } = await servedContainer(this.#deps.pods, target);
    const { stdout, stderr } = await this.#deps.runtime.execSync(container.id, (query.get('cmd') ?? '').split(' '), 0);
    sendJson(response, Buffer.concat([stdout, stderr]));
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    this.#upgraded.add(socket);
    socket.once('close', () => this.#upgraded.delete(socket));
    socket.on('error', (err) => this.#log.debug({ err }, 'upgraded connection failed'));
    socket.setMaxListeners(RELAY_LISTENERS);
    request.socket.setTimeout(STREAM_IDLE_MS, () => socket.destroy());
    try {
      const { path, query } = splitUrl(request);
      await this.#gate.admit(request, path);
      const route = parseRoute(request.method ?? 'GET', path);
      if (!isStreaming(route)) throw new HttpError(400, 'this path cannot be upgraded');
      const { pods, runtime } = this.#deps;
      const deps = { pods, runtime, websocketRequests: this.#websocketRequests };
      await serveStream({ request, socket, head }, route, query, deps);
    } catch (err) {
      const answer = asHttpError(err);
      if (answer.code >= 500) this.#log.warn({ err, path: request.url?.split('?')[0] }, 'stream failed');
      refuseUpgrade(socket, answer);
    }
  }

  async #close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    for (const socket of this.#upgraded) socket.destroy();
    await closed;
  }
}

function splitUrl(request: IncomingMessage): { readonly path: string; readonly query: URLSearchParams } {
  const url = request.url ?? '/';
  const at = url.indexOf('?');
  return at < 0
    ? { path: url, query: new URLSearchParams() }
    : { path: url.slice(0, at), query: new URLSearchParams(url.slice(at + 1)) };
}

function healthAnswer(checks: readonly HealthCheck[], name: string | undefined, query: URLSearchParams): HealthAnswer {
  if (name === undefined) return answerHealthz(checks, query);
  return answerCheck(checks, name) ?? { code: 404, text: '404: Page Not Found' };
}

function sendHealth(response: ServerResponse, { code, text }: HealthAnswer): void {
  sendText(response, code, text);
}

function sendJson(response: ServerResponse, body: string | Uint8Array): void {
  response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}
