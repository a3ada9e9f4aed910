// The node's HTTP servers: HTTPS for everybody who may (10250), the read-only port without TLS (off by default), and the
// local health port (10248). After pkg/kubelet/server/server.go.
import { createServer as createPlainServer, type Server as PlainServer } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SecureContextOptions } from 'node:tls';
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
import { Dispatcher } from './dispatch.ts';
import { type Handlers, podEndpoints } from './endpoints.ts';
import { type HealthCheck, logCheck, pingCheck } from './healthz.ts';
import { HealthzServer } from './healthz-server.ts';
import { createServerMetrics, HttpMetrics } from './http-metrics.ts';
import { listen } from './listen.ts';
import { ALL_ENDPOINTS, type EndpointSwitches } from './routes.ts';
import type { ServedPods } from './served-pods.ts';
import { DEFAULT_TLS, type TlsSettings, tlsOptions } from './tls-options.ts';

export interface KubeletServerOptions {
  readonly nodeName: string;
  /** `0.0.0.0` and 10250 by default; port 0: any free one. */
  readonly address: string;
  readonly port: number;
  /** 0 and by default: off. */
  readonly readOnlyPort?: number;
  readonly healthzAddress: string;
  /** 10248 by default; 0: off. */
  readonly healthzPort: number;
  /** Undefined: there is none yet, and handshakes fail until `setCertificate`. */
  readonly certificate: KeyPair | undefined;
  /** PEM bundle against which client certificates are verified; without it none are asked for. */
  readonly clientCa?: string;
  readonly tls?: TlsSettings;
  readonly anonymous: boolean;
  /** Which endpoints are switched on; all when absent. */
  readonly switches?: Omit<EndpointSwitches, 'readOnlyPort'>;
  /** streamingConnectionIdleTimeout, ms: streams may be silent this long. 0: for ever. 4 h by default. */
  readonly streamIdleMs?: number;
  /** Gate PodLogsQuerySplitStreams. */
  readonly splitLogStreams?: boolean;
  /** Gate ExtendWebSocketsToKubelet; on by default. */
  readonly translateWebSockets?: boolean;
  /** How long a TLS handshake or the head of a request may take, ms; 30 s by default. */
  readonly headMs?: number;
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
  /** Endpoints of other parts; an endpoint that nobody brings is not found. */
  readonly handlers?: Handlers;
  /** Told of every health check that is made for a caller. Must not throw. */
  readonly onHealthCheck?: (name: string, ok: boolean) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

const STREAM_IDLE_MS = 4 * 3600 * 1000;
const KEEP_ALIVE_MS = 90_000;
/** Of requests, bodies included, ms; answers may take longer, but be silent no longer. */
const REQUEST_MS = 4 * 3600 * 1000;
/** Heads take no longer than this, ms: who sends them byte by byte holds a connection this long. */
const HEAD_MS = 30_000;
/** A command of exec stands in the target; as large as upstream takes it. */
const MAX_HEAD_BYTES = 1024 * 1024;
/** Of a silent connection, until the kernel asks whether the peer is still there, ms: a followed log says nothing for hours. */
const TCP_KEEP_ALIVE_MS = 15_000;

export class KubeletServer {
  readonly #options: KubeletServerOptions;
  readonly #log: Logger;
  readonly #server: Server;
  readonly #readOnly: PlainServer | undefined;
  readonly #healthz: HealthzServer | undefined;
  readonly #upgraded = new Set<Duplex>();
  #certificate: KeyPair | undefined;
  #clientCa: string | undefined;

  constructor(options: KubeletServerOptions, deps: KubeletServerDeps) {
    this.#options = options;
    this.#certificate = options.certificate;
    this.#clientCa = options.clientCa;
    this.#log = deps.log.child({ component: 'server' });
    const { healthzAddress: address, healthzPort: port } = options;
    const log = this.#log;
    this.#healthz = port === 0 ? undefined : new HealthzServer({ address, port }, { clock: deps.clock, log });
    const gate = new Gate(options, {
      authenticators: [new CertificateAuthenticator(() => deps.clock.now()), ...(deps.authenticators ?? [])],
      authorizer: deps.authorizer ?? adminAuthorizer,
      log,
    });
    const dispatcher = this.#dispatchers(deps);
    this.#server = this.#createServer(dispatcher(gate));
    this.#readOnly = (options.readOnlyPort ?? 0) === 0 ? undefined : this.#createReadOnly(dispatcher(undefined));
  }

  /** The port listened on. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Opens the ports. Separate from `run`, so that nothing else starts on a node whose port is taken. @throws {AgentError} LISTEN_FAILED */
  async listen(): Promise<void> {
    const { address, port, readOnlyPort = 0 } = this.#options;
    await listen(this.#server, address, port);
    if (this.#readOnly !== undefined) await listen(this.#readOnly, address, readOnlyPort);
  }

  /** Serves until `signal` aborts, then ends all connections. `listen` comes first if it was not called. @throws {AgentError} LISTEN_FAILED */
  async run(signal: AbortSignal): Promise<void> {
    if (!this.#server.listening) await this.listen();
    const healthz = this.#healthz?.run(signal);
    await aborted(signal);
    await Promise.all([this.#close(this.#server), this.#readOnly && this.#close(this.#readOnly), healthz]);
  }

  /** Both ports share what answers; without a gate everybody may ask, for less. */
  #dispatchers(deps: KubeletServerDeps): (gate: Gate | undefined) => Dispatcher {
    const { pods, runtime, metrics, clock } = deps;
    const { switches = ALL_ENDPOINTS, splitLogStreams = false, streamIdleMs = STREAM_IDLE_MS } = this.#options;
    const checks = [pingCheck, logCheck, ...(deps.healthChecks ?? [])].map((check) =>
      watched(check, deps.onHealthCheck),
    );
    const handlers = {
      ...podEndpoints({ pods, runtime, metrics, checks, splitLogStreams, clock }),
      ...deps.handlers,
    };
    const serverMetrics = createServerMetrics(metrics);
    const websocketRequests = new Counter({
      name: 'kubelet_websocket_streaming_requests_total',
      help: 'Streaming requests that came as a WebSocket and were translated',
      labelNames: ['subresource'] as const,
      registers: [metrics],
    });
    return (gate) =>
      new Dispatcher({
        gate,
        switches: { ...switches, readOnlyPort: gate === undefined },
        handlers,
        streaming: { pods, runtime, websocketRequests, translates: this.#options.translateWebSockets ?? true },
        metrics: new HttpMetrics(serverMetrics, gate === undefined ? 'readonly' : 'readwrite'),
        streamIdleMs,
        log: this.#log,
      });
  }

  /** Connections that come from now on are shown `certificate`. */
  setCertificate(certificate: KeyPair): void {
    this.#certificate = certificate;
    this.#server.setSecureContext(this.#secureContext());
  }

  /** Callers that come from now on are verified against `pem`; tickets of earlier sessions are worth nothing any more. */
  setClientCa(pem: string): void {
    this.#clientCa = pem;
    this.#server.setSecureContext(this.#secureContext());
    this.#server.closeIdleConnections();
  }

  #secureContext(): SecureContextOptions {
    const certificate = this.#certificate;
    return {
      ...(certificate === undefined ? {} : { cert: certificate.cert, key: certificate.key }),
      ...(this.#clientCa === undefined ? {} : { ca: this.#clientCa }),
      ...tlsOptions(this.#options.tls ?? DEFAULT_TLS),
    };
  }

  #createServer(dispatcher: Dispatcher): Server {
    const { headMs = HEAD_MS } = this.#options;
    const server = createServer({
      ...this.#secureContext(),
      ...(this.#clientCa === undefined ? {} : { requestCert: true, rejectUnauthorized: false }),
      ALPNProtocols: ['http/1.1'],
      handshakeTimeout: headMs,
      ...httpOptions(headMs),
      shouldUpgradeCallback: dispatcher.takesUpgrade,
    });
    server.on('upgrade', (request, socket, head) => {
      this.#upgraded.add(socket);
      socket.once('close', () => this.#upgraded.delete(socket));
      void dispatcher.upgrade(request, socket, head);
    });
    server.on('tlsClientError', (err) => this.#log.debug({ err }, 'TLS handshake failed'));
    return this.#listenTo(server, dispatcher);
  }

  #createReadOnly(dispatcher: Dispatcher): PlainServer {
    return this.#listenTo(createPlainServer(httpOptions(HEAD_MS)), dispatcher);
  }

  #listenTo<S extends Server | PlainServer>(server: S, dispatcher: Dispatcher): S {
    server.timeout = REQUEST_MS; // of a client that takes nothing any more, or a log that says nothing
    server.on('request', (request, response) => void dispatcher.serve(request, response));
    server.on('error', (err) => {
      // E.g. out of descriptors. A failure to listen is told by listen().
      if (server.listening) this.#log.error({ err }, 'cannot accept a connection');
    });
    return server;
  }

  async #close(server: Server | PlainServer): Promise<void> {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    for (const socket of this.#upgraded) socket.destroy();
    await closed;
  }
}

function httpOptions(headMs: number) {
  return {
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: REQUEST_MS,
    headersTimeout: headMs,
    connectionsCheckingInterval: headMs,
    maxHeaderSize: MAX_HEAD_BYTES,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
  };
}

/** The check, whose every answer `seen` is told of. */
function watched(check: HealthCheck, seen: KubeletServerDeps['onHealthCheck']): HealthCheck {
  const error = () => {
    const fault = check.error();
    seen?.(check.name, fault === undefined);
    return fault;
  };
  return { name: check.name, error };
}
