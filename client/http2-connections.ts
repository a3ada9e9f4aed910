// HTTP/2 connections for watches. A node watches each ConfigMap and Secret of its pods by itself: hundreds of watches, each
// of which would take a connection over HTTP/1.1, with its handshake and its buffers on both sides. Here a hundred share one.
// After golang.org/x/net/http2, which client-go uses: pings notice a dead peer, GOAWAY lets what runs go on.
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { untilAborted } from '../core/abort.ts';
import type { ApiAnswer } from './api-answer.ts';
import { limitConnecting } from './connect-limit.ts';

export interface Http2Options {
  /** How long a new connection may take to stand, ms. */
  readonly connectMs: number;
  /** Between pings, ms. Default 30,000. */
  readonly pingMs?: number | undefined;
  /** A connection on which a ping has no answer for so long is dead, ms. Default 15,000. */
  readonly pongMs?: number | undefined;
}

/** What one stream, and all of a connection, may have sent before it was read, bytes: HTTP/2's own 64 KiB stall large objects. */
const STREAM_WINDOW_BYTES = 1 << 20;
const CONNECTION_WINDOW_BYTES = 4 << 20;
/** Of a connection's buffers, MB: node:http2 ends connections that need more than its 10. */
const SESSION_MEMORY_MB = 64;
/** Streams on one connection, where the server allows more: one that breaks takes all of its watches along. */
const MAX_STREAMS = 100;
const PING_MS = 30_000;
const PONG_MS = 15_000;

export class Http2Connections {
  readonly #opts: Http2Options;
  #connections: Http2Connection[] = [];
  #dialling: Promise<boolean> | undefined;

  constructor(opts: Http2Options) {
    this.#opts = opts;
  }

  /**
   * A request without a body; resolves when its answer begins. Undefined: the server speaks no HTTP/2. @throws what
   * connecting and the connection throw; `reuse` then tells whether a connection that had been used before has ended.
   */
  async request(
    { authority, headers, dial }: { authority: string; headers: OutgoingHttpHeaders; dial: () => ConnectionOptions },
    signal: AbortSignal,
    reuse: { happened: boolean },
  ): Promise<ApiAnswer | undefined> {
    for (;;) {
      signal.throwIfAborted();
      this.#connections = this.#connections.filter((c) => c.isOpen);
      const free = this.#connections.find((c) => c.hasRoom);
      if (free !== undefined) {
        const wasUsed = free.hasAnswered;
        try {
          return await free.request(headers, signal); // takes its room at once: others may wait for the same
        } catch (cause) {
          reuse.happened = wasUsed && !free.isOpen;
          throw cause;
        }
      }
      const speaksHttp2 = await untilAborted(this.#dialOnce(authority, dial), signal);
      if (!speaksHttp2) return undefined;
    }
  }

  /** New streams take new connections; those that run go on. */
  retire(): void {
    for (const connection of this.#connections.splice(0)) connection.retire();
  }

  destroy(): void {
    for (const connection of this.#connections.splice(0)) connection.destroy();
  }

  /** However many wait for it. */
  #dialOnce(authority: string, dial: () => ConnectionOptions): Promise<boolean> {
    this.#dialling ??= this.#dial(authority, dial()).finally(() => {
      this.#dialling = undefined;
    });
    return this.#dialling;
  }

  /** False: the server speaks no HTTP/2. */
  async #dial(authority: string, options: ConnectionOptions): Promise<boolean> {
    const socket = await connectedSocket(options, this.#opts.connectMs);
    if (socket.alpnProtocol !== 'h2') {
      socket.destroy();
      return false;
    }
    const connection = await Http2Connection.start(authority, socket, this.#opts);
    if (!connection.hasRoom) {
      connection.destroy();
      throw reset('the server takes no requests'); // nor on the next connection: who asked waits before it asks again
    }
    this.#connections.push(connection);
    return true;
  }
}

class Http2Connection {
  readonly #session: ClientHttp2Session;
  #streams = 0;
  hasAnswered = false;

  private constructor(session: ClientHttp2Session) {
    this.#session = session;
  }

  /** Resolves when the server has said what it allows. */
  static async start(authority: string, socket: TLSSocket, opts: Http2Options): Promise<Http2Connection> {
    const session = connect(authority, {
      createConnection: () => socket,
      settings: { initialWindowSize: STREAM_WINDOW_BYTES, enablePush: false },
      maxSessionMemory: SESSION_MEMORY_MB,
    });
    const ready = Promise.withResolvers<void>();
    const late = setTimeout(() => session.destroy(timedOut('no HTTP/2 settings')), opts.connectMs);
    session.once('connect', () => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
    session.once('remoteSettings', () => ready.resolve());
    session.on('error', (err) => ready.reject(err)); // later ones are told to the streams
    session.once('close', () => ready.reject(reset('the connection was closed')));
    await ready.promise.finally(() => clearTimeout(late));
    const connection = new Http2Connection(session);
    connection.#keepAlive(opts.pingMs ?? PING_MS, opts.pongMs ?? PONG_MS);
    return connection;
  }

  /** False when the server is about to leave, or has left. */
  get isOpen(): boolean {
    return !this.#session.closed && !this.#session.destroyed;
  }

  get hasRoom(): boolean {
    const allowed = this.#session.remoteSettings?.maxConcurrentStreams ?? MAX_STREAMS;
    return this.isOpen && this.#streams < Math.min(allowed, MAX_STREAMS);
  }

  request(headers: OutgoingHttpHeaders, signal: AbortSignal): Promise<ApiAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<ApiAnswer>();
    const stream = this.#session.request(headers, { endStream: true, signal });
    this.#streams++;
    stream.once('response', (head) => {
      this.hasAnswered = true;
      resolve({ statusCode: head[':status']!, headers: head, body: bodyOf(stream) });
    });
    stream.on('error', (err) => reject(wasRefused(stream) ? reset(err.message) : err)); // later ones are told to who reads
    stream.once('close', () => {
      this.#streams--;
      reject(reset('the connection was closed before there was an answer'));
    });
    return promise;
  }

  retire(): void {
    this.#session.close();
  }

  destroy(): void {
    this.#session.destroy();
  }

  /** One that nobody needs any more is closed at the same occasion. */
  #keepAlive(pingMs: number, pongMs: number): void {
    const session = this.#session;
    let late: NodeJS.Timeout | undefined;
    const timer = setInterval(() => {
      if (this.#streams === 0) session.close();
      if (!this.isOpen) return; // node:http2 sends no pings then: TCP notices a dead peer
      late ??= setTimeout(() => session.destroy(timedOut('no answer to a ping')), pongMs);
      session.ping(() => {
        clearTimeout(late);
        late = undefined;
      });
    }, pingMs);
    session.once('close', () => {
      clearInterval(timer);
      clearTimeout(late);
    });
  }
}

/** Reads at once: node:http2 forgets what came when a stream has ended before somebody reads it. */
function bodyOf(stream: ClientHttp2Stream): AsyncIterable<Buffer> {
  const chunks = chunksOf(stream);
  const first = chunks.next();
  first.catch(() => {}); // whoever reads is told
  return begun(first, chunks);
}

async function* begun(
  first: Promise<IteratorResult<Buffer, void>>,
  rest: AsyncGenerator<Buffer, void>,
): AsyncGenerator<Buffer, void> {
  try {
    const { done, value } = await first;
    if (!done) yield value;
    yield* rest;
  } finally {
    await rest.return(undefined);
  }
}

/** Ends where the server ended it. @throws when the connection, or the server, broke it off. */
async function* chunksOf(stream: ClientHttp2Stream): AsyncGenerator<Buffer, void> {
  for await (const chunk of stream as AsyncIterable<Buffer>) yield chunk;
  if (stream.aborted || stream.rstCode !== constants.NGHTTP2_NO_ERROR) throw reset('the stream was reset');
}

async function connectedSocket(options: ConnectionOptions, ms: number): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  const socket = connectTls({ ...options, ALPNProtocols: ['h2', 'http/1.1'] });
  limitConnecting(socket, true, ms);
  socket.once('secureConnect', () => resolve(socket));
  socket.on('error', reject);
  socket.once('close', () => reject(reset('the connection was closed')));
  return promise;
}

/** The server has not looked at it, nor will it: what it says of all that come after its GOAWAY. */
function wasRefused(stream: ClientHttp2Stream): boolean {
  return stream.rstCode === constants.NGHTTP2_REFUSED_STREAM;
}

function reset(message: string): Error {
  return Object.assign(new Error(message), { code: 'ECONNRESET' });
}

function timedOut(message: string): Error {
  return Object.assign(new Error(message), { code: 'ETIMEDOUT' });
}
