// An HTTP/2 connection to a gRPC server on a unix socket, and how calls on it end. node:http2 does it: a call through
// @grpc/grpc-js costs twice the CPU time, and a pod's start has a dozen (docs/decisions/0012-grpc-over-node-http2.md).
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2';
import { createConnection } from 'node:net';
import { getSystemErrorMessage } from 'node:util';
import { type GrpcCode, GrpcFrameError, type GrpcStatus, grpcStatusOf } from '../api/grpc-wire.ts';

const { NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_INADEQUATE_SECURITY, NGHTTP2_REFUSED_STREAM } = constants;

/** What a server may send of one answer, and of all, before we have read it, bytes. HTTP/2's own 64 KiB stall long lists. */
const WINDOW_BYTES = 1024 * 1024;
/**
 * Of the headers, or trailers, of one answer, bytes as HTTP/2 counts them. nghttp2 reads no field above 64 KiB: it takes it
 * for broken compression and ends the connection with all its calls. A server that knows this limit, as grpc-go's does,
 * resets the one stream instead whose error message is too long.
 */
const HEADER_LIST_BYTES = 64 * 1024 - 1;
/** Of a connection's buffers, MB: node:http2 ends connections that need more than its 10. */
const SESSION_MEMORY_MB = 64;

/** Told when a connection is there, and when one has ended or could not be made; not after `close`. Must not throw. */
export type ConnectionObserver = (isThere: boolean) => void;

/** Connects with the first call, and with the next one after a connection was lost. Callers repeat what failed. */
export class GrpcConnection {
  readonly #path: string;
  readonly #onConnection: ConnectionObserver | undefined;
  #session: ClientHttp2Session | undefined;
  #isClosed = false;

  /** `endpoint`: `unix:///run/containerd/containerd.sock` or a path. */
  constructor(endpoint: string, onConnection?: ConnectionObserver) {
    this.#path = endpoint.replace(/^unix:(\/\/)?/, '');
    this.#onConnection = onConnection;
  }

  /** Connects without a call, unless it is connected or about to be. Whether that went well the observer is told. */
  connect(): void {
    this.#connected();
  }

  /** Opens a stream. What the server says of it comes to `whenEnded`. */
  request(path: string, metadata: Readonly<Record<string, string>>, timeoutMs: number | undefined): ClientHttp2Stream {
    return this.#connected().request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      'user-agent': 'nodelet',
      te: 'trailers',
      ...(timeoutMs === undefined ? {} : { 'grpc-timeout': timeoutText(timeoutMs) }),
      ...metadata,
    });
  }

  /** Calls that have not ended fail as UNAVAILABLE. */
  close(): void {
    this.#isClosed = true;
    this.#session?.destroy();
  }

  #connected(): ClientHttp2Session {
    const current = this.#session;
    // A server that is about to stop says so (GOAWAY): what runs goes on, what is new needs a new connection.
    if (current !== undefined && !current.closed && !current.destroyed) return current;
    const session = connect('http://localhost', {
      createConnection: () => createConnection(this.#path),
      settings: { initialWindowSize: WINDOW_BYTES, enablePush: false, maxHeaderListSize: HEADER_LIST_BYTES },
      maxSessionMemory: SESSION_MEMORY_MB,
    });
    session.once('connect', () => {
      session.setLocalWindowSize(WINDOW_BYTES);
      this.#onConnection?.(true);
    });
    session.on('error', () => {}); // every call of it is told
    if (this.#onConnection !== undefined) session.once('close', () => this.#ended(session));
    if (this.#isClosed) session.destroy();
    this.#session = session;
    return session;
  }

  /** Of a connection that another has replaced nobody is told. */
  #ended(session: ClientHttp2Session): void {
    if (session === this.#session && !this.#isClosed) this.#onConnection?.(false);
  }

  /** How a stream ended, told once: by the server's status, or by what broke it. */
  whenEnded(stream: ClientHttp2Stream, tell: (status: GrpcStatus) => void): void {
    const { session } = stream; // not known any more once it has closed
    let head: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    let failure: Error | undefined;
    stream.once('response', (headers) => {
      head = headers;
    });
    stream.once('trailers', (headers) => {
      trailers = headers;
    });
    stream.on('error', (err: Error) => {
      failure ??= err;
    });
    stream.once('close', () => {
      const hasStatus = trailers['grpc-status'] !== undefined || head['grpc-status'] !== undefined;
      const isPlainHttp = (head[':status'] ?? 200) !== 200; // whatever came with it is for people
      const isWhole = stream.readableEnded && head[':status'] !== undefined && failure === undefined;
      // What the server said counts, although it may have reset the stream after it: it does not read the rest then.
      if (hasStatus || isPlainHttp || isWhole) tell(grpcStatusOf(head, trailers));
      else tell(this.#broken(stream.rstCode, session?.destroyed ?? true, failure));
    });
  }

  #broken(resetCode: number, isLost: boolean, failure: Error | undefined): GrpcStatus {
    if (failure instanceof GrpcFrameError) return { code: failure.code, details: failure.message };
    const cause = (failure?.cause ?? failure) as NodeJS.ErrnoException | undefined; // of the connection, where there is one
    if (cause?.syscall === 'connect') return { code: 'UNAVAILABLE', details: dialText(this.#path, cause) };
    if (isLost) return { code: 'UNAVAILABLE', details: `error reading from server: ${cause?.message ?? 'EOF'}` };
    const details = `stream terminated by RST_STREAM with error code: ${resetCode}`;
    return { code: CODES_OF_RESET[resetCode] ?? 'INTERNAL', details };
  }
}

/** gRPC's reading of HTTP/2's error codes. */
const CODES_OF_RESET: Readonly<Record<number, GrpcCode>> = {
  [NGHTTP2_REFUSED_STREAM]: 'UNAVAILABLE',
  [NGHTTP2_CANCEL]: 'CANCELLED',
  [NGHTTP2_ENHANCE_YOUR_CALM]: 'RESOURCE_EXHAUSTED',
  [NGHTTP2_INADEQUATE_SECURITY]: 'PERMISSION_DENIED',
};

/** At most eight digits and a unit. */
function timeoutText(ms: number): string {
  return ms < 1e8 ? `${Math.max(1, Math.ceil(ms))}m` : `${Math.min(99_999_999, Math.ceil(ms / 1000))}S`;
}

/** As Go's gRPC says it: it stands in the Ready condition of nodes, where people look for it. */
function dialText(path: string, err: NodeJS.ErrnoException): string {
  const reason = err.errno === undefined ? err.message : getSystemErrorMessage(err.errno);
  return `connection error: desc = "transport: Error while dialing: dial unix ${path}: connect: ${reason}"`;
}
