// One call of the gRPC server: its request is read, its handler answers, its status ends it. Whatever the caller does in
// between, the handler is told by its signal and the call ends once.
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import {
  GRPC_CODES,
  GrpcFrameError,
  GrpcFrameReader,
  type GrpcStatus,
  grpcFrame,
  grpcMessage,
} from '../../api/grpc-wire.ts';
import { linkedSignal } from '../../core/abort.ts';
import { MAX_TIMER_MS } from '../../core/clock.ts';
import { drained } from '../../core/drained.ts';
import { errorMessage } from '../../core/errors.ts';
import { decodeMessage, encodeMessage } from '../../cri/codec.ts';
import type { GrpcCode } from '../../cri/errors.ts';
import type { ServedMethod } from './grpc-server.ts';

/** Thrown by handlers to end a call with a status of their choice; whatever else they throw is UNKNOWN, as in Go. */
export class GrpcStatusError extends Error {
  readonly code: GrpcCode;

  constructor(code: GrpcCode, details: string) {
    super(details);
    this.code = code;
  }
}

export interface ServerCallOptions {
  readonly maxRequestBytes: number;
  /** The request has to be there by then, ms. */
  readonly receiveMs: number;
  /** Of the whole call, ms; undefined: the caller waits. */
  readonly timeoutMs: number | undefined;
  /** Aborts when the server stops. */
  readonly stopping: AbortSignal;
}

const OK: GrpcStatus = { code: 'OK', details: '' };
const EXPIRED: GrpcStatus = { code: 'DEADLINE_EXCEEDED', details: 'context deadline exceeded' };
const STOPPED: GrpcStatus = { code: 'UNAVAILABLE', details: 'the server is stopping' };

const HEAD: OutgoingHttpHeaders = { ':status': 200, 'content-type': 'application/grpc' };
/** Clients take some KiB of headers; details may repeat what a caller sent. */
const MAX_DETAILS = 2048;

/** How long a caller that has its answer already may go on sending its request. */
const DRAIN_MS = 1000;

/**
 * Ends a stream on which nothing was answered. What it still sends is thrown away: a reset would overtake the answer.
 */
export function refuseStream(stream: ServerHttp2Stream, status: GrpcStatus & { readonly httpStatus?: number }): void {
  if (stream.destroyed || stream.closed) return;
  stream.respond({ ...HEAD, ':status': status.httpStatus ?? 200, ...statusHeaders(status) }, { endStream: true });
  if (stream.readableEnded) return;
  const timer = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), DRAIN_MS);
  stream.once('close', () => clearTimeout(timer));
  stream.removeAllListeners('data').resume();
}

export class ServerCall {
  readonly #stream: ServerHttp2Stream;
  readonly #method: ServedMethod;
  readonly #opts: ServerCallOptions;
  #status: GrpcStatus = OK;
  #isOver = false;

  constructor(stream: ServerHttp2Stream, method: ServedMethod, opts: ServerCallOptions) {
    this.#stream = stream;
    this.#method = method;
    this.#opts = opts;
  }

  /** Resolves when the handler has ended, which may be after the caller went. */
  async run(): Promise<void> {
    using call = linkedSignal();
    const { stopping, timeoutMs = MAX_TIMER_MS, receiveMs } = this.#opts;
    const giveUp = (status: GrpcStatus) => {
      this.#finish(status);
      call.abort();
    };
    const onStop = () => giveUp(STOPPED);
    stopping.addEventListener('abort', onStop, { once: true });
    const late = setTimeout(() => giveUp(EXPIRED), Math.min(receiveMs, timeoutMs));
    const expired = setTimeout(() => giveUp(EXPIRED), Math.min(timeoutMs, MAX_TIMER_MS));
    const forget = () => {
      clearTimeout(late);
      clearTimeout(expired);
      stopping.removeEventListener('abort', onStop);
    };
    // Nobody can be given up any more: a handler that ignores its signal must not keep the timers.
    this.#stream.once('close', () => {
      forget();
      call.abort();
    });
    try {
      if (stopping.aborted) onStop();
      const request = await this.#receive();
      clearTimeout(late);
      if (!call.signal.aborted) await this.#answer(request as never, call.signal);
      this.#finish(OK);
    } catch (err) {
      this.#finish(statusOf(err));
    } finally {
      forget();
    }
  }

  /** The one message of the request. @throws {GrpcStatusError} */
  async #receive(): Promise<unknown> {
    const bytes = await new Promise<Buffer>((resolve, reject) => {
      const reader = new GrpcFrameReader(this.#opts.maxRequestBytes);
      const messages: Buffer[] = [];
      this.#stream.on('data', (part: Buffer) => {
        try {
          messages.push(...reader.push(part));
          if (messages.length > 1) throw new GrpcFrameError('INTERNAL', 'more than one message in the request');
        } catch (err) {
          reject(err);
        }
      });
      this.#stream.once('end', () => {
        if (messages.length === 1) resolve(messages[0]!);
        else reject(new GrpcStatusError('INTERNAL', `${messages.length} messages in the request`));
      });
      this.#stream.once('close', () => reject(new GrpcStatusError('CANCELLED', 'context canceled')));
    });
    try {
      return decodeMessage(this.#method.request, bytes);
    } catch (err) {
      throw new GrpcStatusError('INTERNAL', `grpc: error unmarshalling request: ${errorMessage(err)}`);
    }
  }

  async #answer(request: never, signal: AbortSignal): Promise<void> {
    if ('answer' in this.#method) {
      await this.#send(await this.#method.answer(request, { signal }));
      return;
    }
    for await (const message of this.#method.stream(request, { signal })) {
      if (signal.aborted) return;
      await this.#send(message);
    }
  }

  /** Resolves when more may be sent. */
  async #send(message: object): Promise<void> {
    const stream = this.#stream;
    const frame = grpcFrame(encodeMessage(this.#method.response, message));
    if (this.#isOver || stream.destroyed || stream.closed) return;
    if (!stream.headersSent) {
      stream.respond(HEAD, { waitForTrailers: true });
      stream.once('wantTrailers', () => stream.sendTrailers(statusHeaders(this.#status)));
    }
    if (!stream.write(frame)) await drained(stream);
  }

  /** The first status counts. */
  #finish(status: GrpcStatus): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#status = status;
    if (!this.#stream.headersSent) refuseStream(this.#stream, status);
    else if (!this.#stream.writableEnded) this.#stream.end();
  }
}

function statusHeaders({ code, details }: GrpcStatus): OutgoingHttpHeaders {
  const number = String(GRPC_CODES.indexOf(code));
  return details === ''
    ? { 'grpc-status': number }
    : { 'grpc-status': number, 'grpc-message': grpcMessage(details.slice(0, MAX_DETAILS)) };
}

function statusOf(err: unknown): GrpcStatus {
  const code = err instanceof GrpcStatusError || err instanceof GrpcFrameError ? err.code : 'UNKNOWN';
  return { code, details: errorMessage(err) };
}
