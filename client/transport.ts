// HTTP requests to one API server over keep-alive connections: credentials, time limits, retries, and the bytes. What
// the bytes mean is rest.ts's business.
import http from 'node:http';
import https from 'node:https';
import { isIP, type TcpNetConnectOpts } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { linkedSignal, untilAborted } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { AgentError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { Slots } from '../core/slots.ts';
import { withoutUndefined } from '../core/without-undefined.ts';
import type { ApiAnswer } from './api-answer.ts';
import { limitConnecting } from './connect-limit.ts';
import type { Credentials, TlsMaterial } from './credentials.ts';
import { ApiError, connectionError, reasonOfHttpStatus, statusOf } from './errors.ts';
import { Http2Connections } from './http2-connections.ts';
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

/** Whose answer may take as long as the server likes. */
type StreamRequest = TransportRequest & { readonly signal: AbortSignal };

type DialMember = 'autoSelectFamilyAttemptTimeout' | 'keepAlive' | 'keepAliveInitialDelay';

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
/** A call that takes longer waits for the server, not for us, and makes room for another, ms. */
const SLOW_CALL_MS = 1_000;
/** All of them, slow ones too. */
const MAX_SLOW_CALLS = 64;

export class Transport {
  readonly #config: ClientConfig;
  readonly #credentials: Credentials;
  readonly #opts: TransportOptions;
  readonly #limiter: TokenBucket | undefined;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #url: URL;
  readonly #slots = new Slots(MAX_CALLS);
  readonly #places = new Slots(MAX_SLOW_CALLS);
  #agent: http.Agent | undefined;
  #agentTls: TlsMaterial | undefined;
  /** For streams; undefined where the server does not speak HTTP/2, plain HTTP among them. */
  #http2: Http2Connections | undefined;

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
    const connectMs = this.#opts.connectMs ?? CONNECT_MS;
    // Through a proxy each watch has its connection: agents know how to ask for one, node:http2 does not.
    if (this.#url.protocol === 'https:' && config.proxy === undefined)
      this.#http2 = new Http2Connections({ connectMs });
  }

  /** The whole body of a 2xx answer. @throws {ApiError} for others, {AgentError} when no answer came. */
  async fetch(request: TransportRequest): Promise<{ status: number; headers: http.IncomingHttpHeaders; body: Buffer }> {
    using scope = linkedSignal(request.signal, request.timeoutMs);
    const gaveUp = (cause: unknown): never => {
      throw connectionError(reasonOf(scope.signal, cause), contextOf(request));
    };
    using _place = await this.#places.take(scope.signal).catch(gaveUp);
    using slot = await this.#slots.take(scope.signal).catch(gaveUp);
    using _slow = this.#clock.setTimer(SLOW_CALL_MS, () => slot[Symbol.dispose]());
    const { statusCode: status, headers, body } = await this.#send(request, scope.signal, false);
    try {
      return { status, headers, body: await readBody(body, this.#opts.maxBodyBytes) };
    } catch (cause) {
      throw this.#lost(reasonOf(scope.signal, cause), request);
    }
  }

  /** The body of a 2xx answer as it comes. Ends or throws with the connection; destroyed when `signal` aborts. */
  async stream(request: StreamRequest): Promise<AsyncIterable<Buffer>> {
    return (await this.#send(request, request.signal, true)).body;
  }

  /** Calls that come now make connections of their own; those that are under way finish. */
  renewConnections(): void {
    this.#renewAgent();
    this.#http2?.retire();
  }

  #renewAgent(): void {
    if (this.#agent !== undefined) retire(this.#agent);
    this.#agent = undefined;
  }

  /** Closes all connections, busy ones too: their calls fail. */
  closeConnections(): void {
    this.#agent?.destroy();
    this.#agent = undefined;
    this.#http2?.destroy();
  }

  /** Sends until there is an answer that counts: see `retryDelayMs`. */
  async #send(request: TransportRequest, signal: AbortSignal, isStream: boolean): Promise<ApiAnswer> {
    for (let attempt = 1; ; attempt++) {
      await this.#limiter?.take(signal);
      const answer = await this.#observed(request, signal, isStream);
      const status = answer.statusCode;
      if (status >= 200 && status < 300) {
        this.#logWarnings(answer);
        return answer;
      }
      const error = await errorOf(answer, contextOf(request));
      if (status === 401) this.#credentials.invalidate();
      const delayMs = retryDelayMs(status, answer.headers['retry-after']);
      if (delayMs === undefined || attempt >= MAX_ATTEMPTS) throw error;
      this.#log.debug({ err: error, delayMs, attempt }, 'server asks to retry');
      await this.#clock.sleep(delayMs, signal);
      if (signal.aborted) throw error; // says more than "aborted" would
    }
  }

  async #observed(request: TransportRequest, signal: AbortSignal, isStream: boolean): Promise<ApiAnswer> {
    const { observe } = this.#opts;
    const startMs = this.#clock.monotonicMs();
    const tookSeconds = () => (this.#clock.monotonicMs() - startMs) / 1000;
    try {
      const answer = await this.#attempt(request, signal, isStream);
      observe?.(request.method, answer.statusCode, this.#url.host, tookSeconds());
      return answer;
    } catch (err) {
      observe?.(request.method, undefined, this.#url.host, tookSeconds());
      throw err;
    }
  }

  async #attempt(request: TransportRequest, signal: AbortSignal, isStream: boolean): Promise<ApiAnswer> {
    for (;;) {
      const reuse = { happened: false };
      try {
        signal.throwIfAborted();
        const streamed = isStream ? await this.#openStream(request, signal, reuse) : undefined;
        return streamed ?? (await this.#exchange(request, signal, reuse));
      } catch (cause) {
        // The server closed an idle connection just as we took it. New connections are not retried, so this ends when
        // the pool of old ones is empty; writes are not, because they may have happened.
        const isStale = reuse.happened && request.method === 'GET' && !signal.aborted && isReset(cause);
        if (!isStale) throw this.#lost(reasonOf(signal, cause), request, isStream);
      }
    }
  }

  /** Where one connection gave no answer in time, those that have been idle meanwhile may be as dead: none is used again. */
  #lost(cause: unknown, request: TransportRequest, isStream = false): AgentError {
    const error = connectionError(cause, contextOf(request));
    if (error.code === 'API_TIMEOUT') this.#renewAgent();
    if (error.code === 'API_TIMEOUT' && isStream) this.#http2?.retire();
    return error;
  }

  /** Undefined where the server does not speak HTTP/2. */
  async #openStream(
    request: TransportRequest,
    signal: AbortSignal,
    reuse: { happened: boolean },
  ): Promise<ApiAnswer | undefined> {
    if (this.#http2 === undefined) return undefined;
    const { headers, tls } = await this.#identified(request, signal);
    this.#agentFor(tls); // other certificates, other connections
    const pseudo = { ':method': request.method, ':path': this.#pathOf(request) };
    const call = {
      authority: this.#url.origin,
      headers: { ...pseudo, ...headers },
      dial: () => this.#dialOptions(tls),
    };
    const answer = await this.#http2?.request(call, signal, reuse);
    if (answer === undefined) this.#http2 = undefined;
    return answer;
  }

  #dialOptions(tls: TlsMaterial): ConnectionOptions & Pick<TcpNetConnectOpts, DialMember> {
    const host = hostOf(this.#url);
    return {
      host,
      port: Number(this.#url.port || 443),
      servername: this.#config.tlsServerName ?? (isIP(host) === 0 ? host : ''),
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEPALIVE_MS,
      autoSelectFamilyAttemptTimeout: ADDRESS_TRY_MS,
      ...this.#tlsOptions(tls),
    };
  }

  async #identified(
    { accept, body, contentType }: TransportRequest,
    signal: AbortSignal,
  ): Promise<{ headers: http.OutgoingHttpHeaders; tls: TlsMaterial }> {
    // They may come from a plugin, or not be there yet: a call that is cancelled does not wait for them.
    const token = await untilAborted(this.#credentials.token(), signal);
    const tls = await untilAborted(this.#credentials.tls(), signal);
    const headers = {
      accept: accept ?? 'application/json',
      'user-agent': this.#opts.userAgent,
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
      ...(body === undefined ? {} : { 'content-type': contentType ?? 'application/json' }),
    };
    return { headers, tls };
  }

  #pathOf(request: TransportRequest): string {
    return this.#url.pathname.replace(/\/$/, '') + request.path;
  }

  async #exchange(request: TransportRequest, signal: AbortSignal, reuse: { happened: boolean }): Promise<ApiAnswer> {
    const { headers, tls } = await this.#identified(request, signal);
    const { method, body } = request;
    const path = this.#pathOf(request);
    const isHttps = this.#url.protocol === 'https:';
    const target = { host: hostOf(this.#url), port: this.#url.port || (isHttps ? 443 : 80), path, method, headers };
    return new Promise((resolve, reject) => {
      const call = { ...target, agent: this.#agentFor(tls), signal };
      const req = (isHttps ? https : http).request(call);
      req.on('socket', (socket) => {
        socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
        if (socket.connecting) limitConnecting(socket, isHttps, this.#opts.connectMs ?? CONNECT_MS);
      });
      req.on('response', (res) => resolve({ statusCode: res.statusCode!, headers: res.headers, body: res }));
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
    if (this.#agent !== undefined) this.renewConnections();
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
    const { proxy, tlsServerName } = this.#config;
    const proxyEnv = proxy === undefined ? {} : { proxyEnv: { HTTP_PROXY: proxy, HTTPS_PROXY: proxy } };
    if (this.#url.protocol === 'http:') return new http.Agent({ ...pool, ...proxyEnv });
    return new https.Agent({
      ...pool,
      ...proxyEnv,
      ...this.#tlsOptions(tls),
      ...(tlsServerName === undefined ? {} : { servername: tlsServerName }),
    });
  }

  #tlsOptions({ ca, cert, key }: TlsMaterial): ConnectionOptions {
    const rejectUnauthorized = !this.#config.insecureSkipTlsVerify;
    return { ...withoutUndefined({ ca, cert, key }), rejectUnauthorized };
  }

  #logWarnings({ headers: { warning } }: ApiAnswer): void {
    if (warning !== undefined) this.#log.debug({ warning }, 'server warns');
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
async function readBody(body: AsyncIterable<Buffer>, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new AgentError(`the server's answer has more than ${maxBytes} bytes`, { code: 'BODY_TOO_LARGE' });
    }
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes);
}

/** The Status of an error answer, or one made of its code when something else answered. */
async function errorOf(
  { statusCode: code, headers, body }: ApiAnswer,
  context: string,
): Promise<ApiError | AgentError> {
  let text: string;
  try {
    text = (await readBody(body, MAX_ERROR_BYTES)).toString('utf8');
  } catch {
    text = ''; // the status code alone still tells what happened
  }
  const retryAfter = headers['retry-after'];
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
