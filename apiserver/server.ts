// The HTTPS listener: who is it, may they, and which handler answers.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { ABORTED } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { AgentError, errorMessage } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { type Authenticator, authenticate } from './auth/authenticator.ts';
import { deniedError } from './auth/authorization.ts';
import type { Authorizer } from './auth/authorizer.ts';
import { nodeRefusal } from './auth/node-refusals.ts';
import { decodeBody, mediaTypeOf, readBody } from './body.ts';
import type { ProtobufDecoder } from './body-decoder.ts';
import { negotiate } from './negotiation.ts';
import type { NonResourceHandler } from './non-resource.ts';
import { writeParameters } from './query-options.ts';
import type { Registry } from './registry/registry.ts';
import { parsePath, type RequestInfo } from './request.ts';
import type { ResourceHandler } from './resource-handler.ts';
import { asStatusError, sendAnswer, sendError, Warnings } from './responses.ts';
import { badRequest, methodNotSupported, StatusError, unauthorized, unknownPath } from './status-error.ts';
import type { CallContext, ConnectSubresource, Subresource, VirtualResource } from './subresource.ts';

export interface TlsOptions {
  /** PEM: the serving certificate (chain) and its key. */
  readonly cert: string;
  readonly key: string;
  /** PEM: client certificates are verified against these; undefined: none are asked for. */
  readonly clientCa?: string;
}

export interface ApiHttpServerOptions {
  readonly address: string;
  /** 0: any free port. */
  readonly port: number;
  readonly tls: TlsOptions;
}

export interface ApiHttpServerDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly registry: Registry;
  readonly resources: ResourceHandler;
  readonly nonResources: NonResourceHandler;
  readonly authenticators: readonly Authenticator[];
  readonly authorizer: Authorizer;
  readonly subresources: readonly Subresource[];
  readonly virtualResources: readonly VirtualResource[];
  readonly protobuf: ProtobufDecoder | undefined;
}

/** Idle keep-alive connections are closed after this, ms. Longer than clients' own idle time, so that they close first. */
const KEEP_ALIVE_MS = 120_000;

export class ApiHttpServer {
  readonly #options: ApiHttpServerOptions;
  readonly #deps: ApiHttpServerDeps;
  readonly #log: Logger;
  readonly #server: Server;
  readonly #upgraded = new Set<Duplex>();

  constructor(options: ApiHttpServerOptions, deps: ApiHttpServerDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'apiserver' });
    const { cert, key, clientCa } = options.tls;
    this.#server = createServer({
      cert,
      key,
      ...(clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: false }),
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['http/1.1'],
      keepAliveTimeout: KEEP_ALIVE_MS,
      // Watches, logs and uploads of slow clients have no overall limit; headers must come quickly.
      requestTimeout: 0,
      headersTimeout: 30_000,
      maxHeaderSize: 64 * 1024,
    });
    this.#server.on('request', (request, response) => void this.#serve(request, response));
    this.#server.on('upgrade', (request, socket, head) => void this.#upgrade(request, socket, head));
    // Port scans and probes that break off the handshake are nobody's error.
    this.#server.on('tlsClientError', (err) => this.#log.debug({ err }, 'TLS handshake failed'));
    this.#server.on('error', (err) => {
      if (this.#server.listening) this.#log.warn({ err }, 'cannot accept a connection');
    });
  }

  /** The port listened on. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** @throws {AgentError} LISTEN_FAILED */
  listen(): Promise<void> {
    const { address, port } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause) => {
        const message = `cannot listen on ${address}:${port}: ${errorMessage(cause)}`;
        const hint = 'choose another port, or stop the program that uses this one';
        reject(new AgentError(message, { code: 'LISTEN_FAILED', cause, hint }));
      });
      this.#server.listen(port, address, resolve);
    });
  }

  /** Ends all connections, watches among them. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    for (const socket of this.#upgraded) socket.destroy();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const warnings = new Warnings();
    try {
      await this.#dispatch(request, response, warnings);
    } catch (err) {
      if (!(err instanceof StatusError)) this.#log.error({ err, method: request.method }, 'request failed');
      warnings.apply(response);
      sendError(response, asStatusError(err));
      request.resume(); // an unread body would stall the connection
    }
  }

  async #dispatch(request: IncomingMessage, response: ServerResponse, warnings: Warnings): Promise<void> {
    const info = await this.#identify(request);
    await this.#authorize(info);
    try {
      await this.#answer(info, request, response, warnings);
    } catch (err) {
      const refusal = nodeRefusal(info, err);
      if (refusal !== undefined) this.#log.warn(refusal, 'node sent what is not taken');
      throw err;
    }
  }

  async #answer(
    info: RequestInfo,
    request: IncomingMessage,
    response: ServerResponse,
    warnings: Warnings,
  ): Promise<void> {
    if (!info.isResource) return this.#deps.nonResources.handle(request, response, info);
    const subresource = this.#subresource(info);
    const context = contextOf(info, response, warnings);
    if (subresource?.type === 'connect') return subresource.handle(request, response, context);
    if (subresource?.type === 'object' && info.verb === 'create') {
      const hint = subresource.responseKind ?? { group: info.group, version: info.version, kind: '' };
      const body = decodeBody(await readBody(request), mediaTypeOf(request), hint, this.#deps.protobuf).object;
      const form = negotiate(request.headers.accept, false);
      const { code, object } = await subresource.create(body, context);
      warnings.apply(response);
      return sendAnswer(request, response, form, info.query, { code, json: JSON.stringify(object) });
    }
    const virtual = this.#virtual(info);
    if (virtual !== undefined) return this.#createVirtual(virtual, request, response, context, warnings);
    const endpoint = this.#deps.registry.find(info.group, info.version, info.resource);
    if (endpoint === undefined) throw unknownPath();
    if (subresource !== undefined) throw methodNotSupported(info, info.verb);
    await this.#deps.resources.handle({ request, response, info, endpoint, warnings });
  }

  async #createVirtual(
    virtual: VirtualResource,
    request: IncomingMessage,
    response: ServerResponse,
    context: CallContext,
    warnings: Warnings,
  ): Promise<void> {
    const { info } = context;
    if (info.verb !== 'create') throw methodNotSupported(info, info.verb);
    const form = negotiate(request.headers.accept, false);
    const body = decodeBody(await readBody(request), mediaTypeOf(request), virtual, this.#deps.protobuf).object;
    const object = await virtual.create(body, context);
    warnings.apply(response);
    await sendAnswer(request, response, form, info.query, { code: 201, json: JSON.stringify(object) });
  }

  /** @throws {StatusError} 400, 401 */
  async #identify(request: IncomingMessage): Promise<RequestInfo> {
    const [rawPath = '/', rawQuery = ''] = splitOnce(request.url ?? '/', '?');
    const query = new URLSearchParams(rawQuery);
    const method = request.method ?? 'GET';
    const parsed = parsePath(method, rawPath, query);
    if (parsed === undefined) throw badRequest(`invalid path ${JSON.stringify(rawPath.slice(0, 200))}`);
    const user = await authenticate(this.#deps.authenticators, request);
    if (user === 'invalid') throw unauthorized();
    const userAgent = (request.headers['user-agent'] ?? '').split('/')[0]!.split(' ')[0]!;
    return { ...parsed, user, method, query, userAgent };
  }

  /** @throws {StatusError} 403 */
  async #authorize(info: RequestInfo, verb: string = info.verb): Promise<void> {
    const fieldSelector = info.query.get('fieldSelector');
    const labelSelector = info.query.get('labelSelector');
    const attributes = {
      ...info,
      verb,
      ...(fieldSelector ? { fieldSelector } : {}),
      ...(labelSelector ? { labelSelector } : {}),
    };
    const { decision, reason } = await this.#deps.authorizer.authorize(attributes);
    if (decision !== 'allow') throw deniedError(attributes, reason);
  }

  #subresource(info: RequestInfo): Subresource | undefined {
    if (info.subresource === '') return undefined;
    return this.#deps.subresources.find(
      (s) =>
        s.subresource === info.subresource &&
        s.resource === info.resource &&
        s.group === info.group &&
        s.version === info.version,
    );
  }

  #virtual(info: RequestInfo): VirtualResource | undefined {
    if (info.subresource !== '') return undefined;
    return this.#deps.virtualResources.find(
      (v) => v.plural === info.resource && v.group === info.group && v.version === info.version,
    );
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    this.#upgraded.add(socket);
    socket.once('close', () => this.#upgraded.delete(socket));
    socket.on('error', (err) => this.#log.debug({ err }, 'upgraded connection failed'));
    try {
      const info = await this.#identify(request);
      await this.#authorize(info);
      const subresource = this.#subresource(info);
      if (subresource?.type !== 'connect' || subresource.upgrade === undefined) throw unknownPath();
      // A websocket handshake is a GET, yet what follows is as powerful as a POST (v1.35).
      if (info.verb === 'get' && isStreaming(subresource)) await this.#authorize(info, 'create');
      await subresource.upgrade(request, socket, head, {
        info,
        dryRun: false,
        signal: goneSignal(socket),
        warn: () => {},
      });
    } catch (err) {
      if (!(err instanceof StatusError)) this.#log.error({ err }, 'upgrade failed');
      refuseUpgrade(socket, asStatusError(err));
    }
  }
}

const STREAMING = new Set(['exec', 'attach', 'portforward']);

function isStreaming(s: ConnectSubresource): boolean {
  return s.resource === 'pods' && STREAMING.has(s.subresource);
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function contextOf(info: RequestInfo, response: ServerResponse, warnings: Warnings): CallContext {
  const dryRun = info.subresource === 'proxy' ? false : writeParameters(info.query, 'CreateOptions').dryRun;
  return { info, dryRun, signal: goneSignal(response), warn: (text) => warnings.add(text) };
}

/** Aborts when the client goes, or has gone already while it was asked who it is: no 'close' follows then. */
function goneSignal(client: ServerResponse | Duplex): AbortSignal {
  if (client.destroyed) return AbortSignal.abort(ABORTED);
  const gone = new AbortController();
  client.once('close', () => gone.abort(ABORTED));
  return gone.signal;
}

function refuseUpgrade(socket: Duplex, err: StatusError): void {
  if (socket.destroyed || !socket.writable) return;
  const body = `${JSON.stringify(err.toStatus())}\n`;
  const lines = [
    `HTTP/1.1 ${err.code} ${err.reason}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`);
}
