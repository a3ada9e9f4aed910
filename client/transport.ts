// HTTP requests to one API server over keep-alive connections: credentials, time limits, retries, and the bytes. What
// the bytes mean is rest.ts's business.
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { linkedSignal } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { AgentError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { Slots } from '../core/slots.ts';
import type { Credentials, TlsMaterial } from './credentials.ts';
import { ApiError, connectionError, reasonOfHttpStatus, statusOf } from './errors.ts';
import type { ClientConfig } from './kubeconfig.ts';
import type { TokenBucket } from './token-bucket.ts';

export interface TransportRequest {
  readonly method: string;
  /** With its query; below the path of the server's URL. */
  readonly path: string;
  readonly body?: Buffer | string | undefined;
  readonly contentType?: string | undefined;
  readonly accept?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Deadline of the whole call with its retries and its body, ms. */
  readonly timeoutMs?: number | undefined;
}

export interface TransportOptions {
  readonly userAgent: string;
  /** Largest body taken into memory, bytes. */
  readonly maxBodyBytes: number;
  /** How long a new connection may take to stand, TLS included, ms. Default 15,000. */
  readonly connectMs?: number | undefined;
  readonly observe?: RequestObserver | undefined;
}

/** Told of every request once its answer has begun; `status` is undefined when none came. */
export type RequestObserver = (method: string, status: number | undefined, host: string, tookSeconds: number) => void;

/** Of several addresses of the server, one that does not connect in this time is left for the next, ms. Node.js has 250. */
const ADDRESS_TRY_MS = 1_000;
/** Probes start after this silence; with Linux's 10 probes at 1 s a dead peer is noticed after 25 s. */
const TCP_KEEPALIVE_MS = 15_000;
/** Four tries of Linux. A network that comes back is not waited for until its next try, which may be a minute away. */
const CONNECT_MS = 15_000;
/** Idle connections are closed after this, ms: before the 90 s of Go's servers, so that they seldom close first. */
const IDLE_MS = 60_000;
/** Attempts of a call that the server asks to repeat. */
const MAX_ATTEMPTS = 5;
const MAX_RETRY_AFTER_MS = 30_000;
const MAX_ERROR_BYTES = 1 << 20;
/** Calls at once, watches not counted: each has a connection of its own, with its handshake and its buffers. */
const MAX_CALLS = 8;

export class Transport {
  readonly #config: ClientConfig;
  readonly #credentials: Credentials;
  readonly #opts: TransportOptions;
  readonly #limiter: TokenBucket | undefined;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #url: URL;
  readonly #slots = new Slots(MAX_CALLS);
  #agent: http.Agent | undefined;
  #agentTls: TlsMaterial | undefined;

  constructor(
    config: ClientConfig,
    opts: TransportOptions,
    deps: { credentials: Credentials; limiter?: TokenBucket | undefined; clock: Clock; log: Logger },
  ) {
    this.#config = config;
    this.#opts = opts;
    this.#credentials = deps.credentials;
    this.#limiter = deps.limiter;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#url = new URL(config.server);
  }

  /** The whole body of a 2xx answer. @throws {ApiError} for others, {AgentError} when no answer came. */
  async fetch(request: TransportRequest): Promise<{ status: number; headers: http.IncomingHttpHeaders; body: Buffer }> {
    using scope = linkedSignal(request.signal, request.timeoutMs);
    using _slot = await this.#slots.take(scope.signal).catch((cause: unknown) => {
      throw connectionError(reasonOf(scope.signal, cause), contextOf(request));
    });
    const response = await this.#send(request, scope.signal);
    try {
      const body = await readBody(response, this.#opts.maxBodyBytes);
      return { status: response.statusCode!, headers: response.headers, body };
    } catch (cause) {
      throw this.#lost(reasonOf(scope.signal, cause), request);
    }
  }

  /** The body of a 2xx answer as it comes. Ends or throws with the connection; destroyed when `signal` aborts. */
  async stream(request: TransportRequest & { readonly signal: AbortSignal }): Promise<http.IncomingMessage> {
    return this.#send(request, request.signal);
  }

  /** Calls that come now make connections of their own; those that are under way finish. */
  renewConnections(): void {
    if (this.#agent !== undefined) retire(this.#agent);
    this.#agent = undefined;
  }

  /** Closes all connections, busy ones too: their calls fail. */
  closeConnections(): void {
    this.#agent?.destroy();
    this.#agent = undefined;
  }

  /** Sends until there is an answer that counts: see `retryDelayMs`. */
  async #send(request: TransportRequest, signal: AbortSignal): Promise<http.IncomingMessage> {
    for (let attempt = 1; ; attempt++) {
      await this.#limiter?.take(signal);
      const response = await this.#observed(request, signal);
      const status = response.statusCode!;
      if (status >= 200 && status < 300) {
        this.#logWarnings(response);
        return response;
      }
      const error = await errorOf(response, contextOf(request));
      if (status === 401) this.#credentials.invalidate();
      const delayMs = retryDelayMs(status, response.headers['retry-after']);
      if (delayMs === undefined || attempt >= MAX_ATTEMPTS) throw error;
      this.#log.debug({ err: error, delayMs, attempt }, 'server asks to retry');
      await this.#clock.sleep(delayMs, signal);
      if (signal.aborted) throw error; // says more than "aborted" would
    }
  }

  async #observed(request: TransportRequest, signal: AbortSignal): Promise<http.IncomingMessage> {
    const { observe } = this.#opts;
    const startMs = this.#clock.monotonicMs();
    const tookSeconds = () => (this.#clock.monotonicMs() - startMs) / 1000;
    try {
      const response = await this.#attempt(request, signal);
      observe?.(request.method, response.statusCode!, this.#url.host, tookSeconds());
      return response;
    } catch (err) {
      observe?.(request.method, undefined, this.#url.host, tookSeconds());
      throw err;
    }
  }

  async #attempt(request: TransportRequest, signal: AbortSignal): Promise<http.IncomingMessage> {
    for (;;) {
      const reuse = { happened: false };
      try {
        signal.throwIfAborted();
        return await this.#exchange(request, signal, reuse);
      } catch (cause) {
        // The server closed an idle connection just as we took it. New connections are not retried, so this ends when
        // the pool of old ones is empty; writes are not, because they may have happened.
        const isStale = reuse.happened && request.method === 'GET' && !signal.aborted && isReset(cause);
        if (!isStale) throw this.#lost(reasonOf(signal, cause), request);
      }
    }
  }

  /** Where one connection gave no answer in time, those that have been idle meanwhile may be as dead: none is used again. */
  #lost(cause: unknown, request: TransportRequest): AgentError {
    const error = connectionError(cause, contextOf(request));
    if (error.code === 'API_TIMEOUT') this.renewConnections();
    return error;
  }

  async #exchange(
    request: TransportRequest,
    signal: AbortSignal,
    reuse: { happened: boolean },
  ): Promise<http.IncomingMessage> {
    const token = await untilAborted(this.#credentials.token(), signal);
    const tls = await untilAborted(this.#credentials.tls(), signal);
    const { method, body } = request;
    const headers: http.OutgoingHttpHeaders = {
      accept: request.accept ?? 'application/json',
      'user-agent': this.#opts.userAgent,
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
      ...(body === undefined ? {} : { 'content-type': request.contentType ?? 'application/json' }),
    };
    const path = this.#url.pathname.replace(/\/$/, '') + request.path;
    const isHttps = this.#url.protocol === 'https:';
    const target = { host: hostOf(this.#url), port: this.#url.port || (isHttps ? 443 : 80), path, method, headers };
    return new Promise((resolve, reject) => {
      const call = { ...target, agent: this.#agentFor(tls), signal };
      const req = (isHttps ? https : http).request(call);
      req.on('socket', (socket) => {
        socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
        if (socket.connecting) limitConnecting(socket, isHttps, this.#opts.connectMs ?? CONNECT_MS);
      });
      req.on('response', resolve);
      req.on('error', (err) => {
        reuse.happened = req.reusedSocket;
        reject(err); // after the response this does nothing: the error then comes from its stream
      });
      req.end(body);
    });
  }

  /** One agent for as long as the certificates are the same; an earlier one finishes its calls and is forgotten. */
  #agentFor(tls: TlsMaterial): http.Agent {
    if (this.#agent !== undefined && this.#agentTls === tls) return this.#agent;
    if (this.#agent !== undefined) retire(this.#agent);
    this.#agentTls = tls;
    this.#agent = this.#createAgent(tls);
    return this.#agent;
  }

  #createAgent(tls: TlsMaterial): http.Agent {
    const autoSelectFamilyAttemptTimeout = ADDRESS_TRY_MS;
    const pool = {
      keepAlive: true,
      keepAliveMsecs: TCP_KEEPALIVE_MS,
      timeout: IDLE_MS,
      autoSelectFamilyAttemptTimeout,
    };
    if (this.#url.protocol === 'http:') return new http.Agent(pool);
    const { tlsServerName, insecureSkipTlsVerify } = this.#config;
    return new https.Agent({
      ...pool,
      ...(tls.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls.cert === undefined ? {} : { cert: tls.cert }),
      ...(tls.key === undefined ? {} : { key: tls.key }),
      ...(tlsServerName === undefined ? {} : { servername: tlsServerName }),
      rejectUnauthorized: !insecureSkipTlsVerify,
    });
  }

  #logWarnings(response: http.IncomingMessage): void {
    const { warning } = response.headers;
    if (warning !== undefined) this.#log.debug({ warning }, 'server warns');
  }
}

function limitConnecting(socket: Socket, isHttps: boolean, ms: number): void {
  const timer = setTimeout(() => {
    socket.destroy(Object.assign(new Error(`no connection within ${ms / 1000} s`), { code: 'ETIMEDOUT' }));
  }, ms);
  const done = () => clearTimeout(timer);
  socket.once(isHttps ? 'secureConnect' : 'connect', done);
  socket.once('close', done);
}

/** Credentials may come from a plugin, or not be there yet: a call that is cancelled does not wait for them. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const stopped = Promise.withResolvers<never>();
  const stop = () => stopped.reject(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await Promise.race([work, stopped.promise]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function contextOf(request: TransportRequest): string {
  return `${request.method} ${request.path.split('?')[0]}`;
}

/** IPv6 literals stand in brackets in URLs but not in socket options. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1');
}

/** An aborted request fails with a general AbortError; why it was aborted says whether it was a timeout. */
function reasonOf(signal: AbortSignal, cause: unknown): unknown {
  return signal.aborted ? signal.reason : cause;
}

function isReset(err: unknown): boolean {
  const code = err instanceof Error && 'code' in err ? err.code : undefined;
  return code === 'ECONNRESET' || code === 'EPIPE';
}

/** Only answers that say so are repeated: 429 and 5xx with Retry-After in seconds. */
function retryDelayMs(status: number, retryAfter: string | undefined): number | undefined {
  if ((status !== 429 && status < 500) || retryAfter === undefined || !/^\d{1,6}$/.test(retryAfter)) return undefined;
  return Math.min(Number(retryAfter) * 1000, MAX_RETRY_AFTER_MS);
}

/** Lets busy sockets finish: Agent.destroy would cut them off. Sockets that come free later are closed. */
function retire(agent: http.Agent): void {
  agent.maxFreeSockets = 0;
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

/** @throws {AgentError} BODY_TOO_LARGE; what the stream throws. */
async function readBody(response: http.IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new AgentError(`the server's answer has more than ${maxBytes} bytes`, { code: 'BODY_TOO_LARGE' });
    }
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes);
}

/** The Status of an error answer, or one made of its code when something else answered. */
async function errorOf(response: http.IncomingMessage, context: string): Promise<ApiError | AgentError> {
  const code = response.statusCode!;
  let text: string;
  try {
    text = (await readBody(response, MAX_ERROR_BYTES)).toString('utf8');
  } catch {
    text = ''; // the status code alone still tells what happened
  }
  const retryAfter = response.headers['retry-after'];
  const seconds = retryAfter !== undefined && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) : undefined;
  return new ApiError(parseStatus(text, code), context, seconds);
}

function parseStatus(text: string, code: number): ReturnType<typeof statusOf> {
  try {
    const parsed = JSON.parse(text) as ReturnType<typeof statusOf> | null;
    if (parsed?.kind === 'Status') return { ...parsed, code: parsed.code ?? code };
  } catch {
    // Not JSON: a proxy's page, or plain text as http.Error writes it.
  }
  return statusOf(code, text.trim().slice(0, 1024) || reasonOfHttpStatus(code));
}
