// Unary calls and streams over one gRPC connection, with our codec and our errors.
import { type ClientHttp2Stream, constants } from 'node:http2';
import { GrpcFrameReader, type GrpcStatus, grpcFrame } from '../api/grpc-wire.ts';
import { MAX_TIMER_MS } from '../core/clock.ts';
import { errorMessage } from '../core/errors.ts';
import { decodeMessage, encodeMessage } from './codec.ts';
import { CriError, type GrpcCode } from './errors.ts';
import { type ConnectionObserver, GrpcConnection } from './grpc-connection.ts';

/** Largest message either way, as upstream for runtimes: a node with many images answers long lists. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

const NO_METADATA: Readonly<Record<string, string>> = {};

export interface Method {
  /** `/runtime.v1.RuntimeService/Version` */
  readonly path: string;
  readonly request: string;
  readonly response: string;
}

export function methodOf(
  service: string,
  name: string,
  request = `${name}Request`,
  response = `${name}Response`,
): Method {
  return { path: `/${service}/${name}`, request, response };
}

export class RpcChannel {
  readonly #connection: GrpcConnection;
  readonly #maxBytes: number;

  /** `endpoint`: `unix:///run/containerd/containerd.sock` or a path. `maxBytes`: of a message, either way. */
  constructor(endpoint: string, onConnection?: ConnectionObserver, maxBytes = MAX_MESSAGE_BYTES) {
    this.#connection = new GrpcConnection(endpoint, onConnection);
    this.#maxBytes = maxBytes;
  }

  /** Connects without a call, for whoever wants to know whether the server is there. */
  connect(): void {
    this.#connection.connect();
  }

  /** `timeoutMs` undefined: no deadline. `metadata` in lower case. @throws {CriError} */
  async call<T>(
    method: Method,
    request: object,
    timeoutMs: number | undefined,
    signal?: AbortSignal,
    metadata: Readonly<Record<string, string>> = NO_METADATA,
  ): Promise<T> {
    return decoded<T>(method, await this.#unary(method, request, timeoutMs, signal, metadata));
  }

  #unary(
    method: Method,
    request: object,
    timeoutMs: number | undefined,
    signal: AbortSignal | undefined,
    metadata: Readonly<Record<string, string>>,
  ): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const fail = (code: GrpcCode, details: string, cause?: unknown) =>
        reject(new CriError(method.path, code, details, cause));
      if (signal?.aborted) {
        fail('CANCELLED', 'context canceled', signal.reason);
        return;
      }
      const stream = this.#send(method, request, timeoutMs, metadata);
      /** What is left to come of it is of no use to anybody. */
      const giveUp = (code: GrpcCode, details: string) => {
        fail(code, details, signal?.reason);
        cancel(stream);
      };
      const onAbort = () => giveUp('CANCELLED', 'context canceled');
      signal?.addEventListener('abort', onAbort, { once: true });
      // A pod's grace period may be longer than any timer.
      const timer =
        timeoutMs === undefined ? undefined : setTimeout(() => giveUp(...EXPIRED), Math.min(timeoutMs, MAX_TIMER_MS));
      const messages = messagesOf(stream, this.#maxBytes);
      this.#connection.whenEnded(stream, ({ code, details }) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        if (code !== 'OK') fail(code, details);
        else if (messages.length !== 1) fail('INTERNAL', `${messages.length} messages in the answer to a unary call`);
        else resolve(messages[0]!);
      });
    });
  }

  /** Messages of a server stream until it ends, `signal` aborts (then it returns) or it fails. @throws {CriError} */
  async *stream<T>(method: Method, request: object, signal: AbortSignal): AsyncIterable<T> {
    if (signal.aborted) return;
    const stream = this.#send(method, request, undefined, NO_METADATA);
    const onAbort = () => cancel(stream);
    signal.addEventListener('abort', onAbort, { once: true });
    const ended = new Promise<GrpcStatus>((resolve) => this.#connection.whenEnded(stream, resolve));
    try {
      for await (const message of framesOf(stream, this.#maxBytes)) yield decoded<T>(method, message);
      const { code, details } = await ended;
      if (code !== 'OK' && !signal.aborted) throw new CriError(method.path, code, details);
    } finally {
      signal.removeEventListener('abort', onAbort);
      cancel(stream); // the consumer may have left the loop
    }
  }

  close(): void {
    this.#connection.close();
  }

  #send(
    method: Method,
    request: object,
    timeoutMs: number | undefined,
    metadata: Readonly<Record<string, string>>,
  ): ClientHttp2Stream {
    const message = encodeMessage(method.request, request);
    if (message.length > this.#maxBytes) {
      const text = `trying to send message larger than max (${message.length} vs. ${this.#maxBytes})`;
      throw new CriError(method.path, 'RESOURCE_EXHAUSTED', text);
    }
    const stream = this.#connection.request(method.path, metadata, timeoutMs);
    stream.end(grpcFrame(message));
    return stream;
  }
}

/** @throws {CriError} INTERNAL */
function decoded<T>(method: Method, bytes: Buffer): T {
  try {
    return decodeMessage<T>(method.response, bytes);
  } catch (err) {
    throw new CriError(method.path, 'INTERNAL', `the answer cannot be read: ${errorMessage(err)}`, err);
  }
}

function cancel(stream: ClientHttp2Stream): void {
  if (!stream.closed && !stream.destroyed) stream.close(constants.NGHTTP2_CANCEL);
}

/** Go's words, which users of kubelets know. */
const EXPIRED = ['DEADLINE_EXCEEDED', 'context deadline exceeded'] as const;

/** Of a unary call: what has come when the stream ends. An answer that cannot be read ends it. */
function messagesOf(stream: ClientHttp2Stream, maxBytes: number): Buffer[] {
  const messages: Buffer[] = [];
  const reader = new GrpcFrameReader(maxBytes);
  stream.on('data', (part: Buffer) => {
    try {
      messages.push(...reader.push(part));
    } catch (err) {
      stream.destroy(err as Error);
    }
  });
  return messages;
}

/** Reads no faster than it is asked to. What ends the stream is for `whenEnded` to tell. */
async function* framesOf(stream: ClientHttp2Stream, maxBytes: number): AsyncIterable<Buffer> {
  const reader = new GrpcFrameReader(maxBytes);
  try {
    for await (const part of stream) {
      try {
        yield* reader.push(part as Buffer);
      } catch (err) {
        stream.destroy(err as Error);
      }
    }
  } catch {
    // broken off: the status says why
  }
}
