// A gRPC server on a unix socket of the node, for those who register with it or ask what it runs: unary calls and server
// streams. Over node:http2, like our client (docs/decisions/0012-grpc-over-node-http2.md). Who may call is a matter of the
// socket's directory; what comes is held to limits all the same.
import { chmod, lstat, mkdir, rm } from 'node:fs/promises';
import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import path from 'node:path';
import { type GrpcStatus, parseGrpcTimeout } from '../../api/grpc-wire.ts';
import { AgentError, errnoOf, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Method } from '../../cri/rpc.ts';
import { refuseStream, ServerCall } from './server-call.ts';

export interface CallContext {
  /** Aborts when the caller has gone or given up, when its deadline has passed and when the server stops. */
  readonly signal: AbortSignal;
}

/** Answers with messages of `Method.response`; what it throws ends the call: see `GrpcStatusError`. */
export type ServedMethod = Method &
  (
    | { readonly answer: (request: never, call: CallContext) => object | Promise<object> }
    | { readonly stream: (request: never, call: CallContext) => AsyncIterable<object> }
  );

export interface GrpcServerLimits {
  /** Of one request, bytes. Default 4 MiB, as Go's servers. */
  readonly maxRequestBytes?: number;
  /** Calls under way at a time, over all connections. Default 100. */
  readonly maxCalls?: number;
  /** Connections at a time; more are dropped at once. Default 128. */
  readonly maxConnections?: number;
  /** A request has to be there within so many ms. Default 30,000. */
  readonly receiveMs?: number;
}

const DEFAULTS: Required<GrpcServerLimits> = {
  maxRequestBytes: 4 * 1024 * 1024,
  maxCalls: 100,
  maxConnections: 128,
  receiveMs: 30_000,
};

/** A connection on which nothing has gone either way for so long is closed: clients connect anew. */
const IDLE_MS = 600_000;
/** What is under way when the server stops has so long to get its last answer through. */
const STOP_MS = 1000;
/** Nobody but the agent's own user may connect, whatever becomes of the directory. */
const SOCKET_MODE = 0o600;
const DIR_MODE = 0o750;

export class GrpcServer implements AsyncDisposable {
  readonly #methods: ReadonlyMap<string, ServedMethod>;
  readonly #limits: Required<GrpcServerLimits>;
  readonly #log: Logger;
  readonly #server: Http2Server;
  readonly #stopping = new AbortController();
  #calls = 0;

  constructor(methods: readonly ServedMethod[], deps: { readonly log: Logger }, limits: GrpcServerLimits = {}) {
    this.#methods = new Map(methods.map((m) => [m.path, m]));
    this.#limits = { ...DEFAULTS, ...limits };
    this.#log = deps.log;
    this.#server = createServer({ settings: { maxConcurrentStreams: this.#limits.maxCalls } });
    this.#server.maxConnections = this.#limits.maxConnections;
    this.#server.on('session', (session) => {
      const stop = () => {
        session.close(); // calls under way end first
        setTimeout(() => session.destroy(), STOP_MS).unref();
      };
      session.setTimeout(IDLE_MS, stop);
      this.#stopping.signal.addEventListener('abort', stop, { once: true });
      session.once('close', () => this.#stopping.signal.removeEventListener('abort', stop));
    });
    this.#server.on('sessionError', (err) => this.#log.debug({ err }, 'connection of a gRPC client broken'));
    this.#server.on('stream', (stream, headers) => this.#handle(stream as ServerHttp2Stream, headers));
  }

  /** Accepts connections now. */
  get listening(): boolean {
    return this.#server.listening;
  }

  /**
   * Listens at `socket`. Its directory is made when missing; a socket that is left there is taken away.
   * @throws {AgentError} GRPC_SOCKET_FAILED
   */
  async listen(socket: string): Promise<void> {
    try {
      await mkdir(path.dirname(socket), { recursive: true, mode: DIR_MODE });
      await removeSocket(socket);
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen(socket, () => {
          this.#server.off('error', reject);
          resolve();
        });
      });
      this.#server.on('error', (err) => this.#log.warn({ err, socket }, 'cannot accept a connection'));
      await chmod(socket, SOCKET_MODE);
    } catch (cause) {
      throw new AgentError(`cannot listen on ${socket}: ${errorMessage(cause)}`, {
        code: 'GRPC_SOCKET_FAILED',
        cause,
        retryable: true,
        hint: 'check that the directory can be written, holds no other file of that name, and that the path has fewer than 108 bytes',
      });
    }
  }

  /** Ends all calls as UNAVAILABLE, closes all connections and takes the socket away. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#stopping.abort();
    await closed;
  }

  #handle(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    stream.on('error', () => {}); // callers go; 'close' tells the call
    const method = this.#methods.get(headers[':path'] ?? '');
    const refusal = httpFault(headers) ?? grpcFault(headers, method !== undefined);
    if (refusal !== undefined || method === undefined) {
      refuseStream(stream, refusal ?? { code: 'UNIMPLEMENTED', details: 'unknown method' });
      return;
    }
    if (this.#calls >= this.#limits.maxCalls) {
      refuseStream(stream, {
        code: 'RESOURCE_EXHAUSTED',
        details: `more than ${this.#limits.maxCalls} calls at a time`,
      });
      return;
    }
    this.#calls++;
    const timeoutMs = parseGrpcTimeout(String(headers['grpc-timeout'] ?? ''));
    const call = new ServerCall(stream, method, { ...this.#limits, timeoutMs, stopping: this.#stopping.signal });
    call.run().then(
      () => this.#calls--,
      (err: unknown) => {
        this.#calls--;
        this.#log.error({ err, method: method.path }, 'a gRPC call was not answered');
      },
    );
  }
}

interface Refusal extends GrpcStatus {
  /** 200 when absent. */
  readonly httpStatus?: number;
}

/** What is no gRPC at all (grpc/grpc doc/PROTOCOL-HTTP2.md). */
function httpFault(headers: IncomingHttpHeaders): Refusal | undefined {
  if (headers[':method'] !== 'POST') {
    const details = `http2Server.operateHeaders parsed a :method field with value "${headers[':method']}" which should be POST`;
    return { httpStatus: 405, code: 'INTERNAL', details };
  }
  const type = headers['content-type'] ?? '';
  if (/^application\/grpc($|[+;])/.test(type)) return undefined;
  return { httpStatus: 415, code: 'INVALID_ARGUMENT', details: `invalid gRPC request content-type "${type}"` };
}

/** In the words of Go's servers: what those who write plugins know. */
function grpcFault(headers: IncomingHttpHeaders, isKnown: boolean): GrpcStatus | undefined {
  const encoding = headers['grpc-encoding'] ?? 'identity';
  if (encoding !== 'identity') {
    const details = `grpc: Decompressor is not installed for grpc-encoding "${String(encoding)}"`;
    return { code: 'UNIMPLEMENTED', details };
  }
  const timeout = headers['grpc-timeout'];
  if (timeout !== undefined && parseGrpcTimeout(String(timeout)) === undefined) {
    return { code: 'INTERNAL', details: `malformed grpc-timeout: "${String(timeout)}"` };
  }
  if (isKnown) return undefined;
  const parts = /^\/(.+)\/([^/]+)$/.exec(headers[':path'] ?? '');
  if (parts === null) return { code: 'UNIMPLEMENTED', details: `malformed method name: "${headers[':path']}"` };
  return { code: 'UNIMPLEMENTED', details: `unknown method ${parts[2]} for service ${parts[1]}` };
}

/** Only a socket: what else has that name is somebody's, and listening will say so. */
async function removeSocket(file: string): Promise<void> {
  try {
    if ((await lstat(file)).isSocket()) await rm(file);
  } catch (err) {
    if (errnoOf(err) !== 'ENOENT') throw err;
  }
}
