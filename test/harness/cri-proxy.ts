// A gRPC server between the agent and its runtime, which passes on what it gets and, when told to, does not: errors in
// place of calls, answers that come late, never, or after the call was made and then got lost, connections that break,
// events that are told twice. Knows nothing of CRI but the frames of its messages.
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  createServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from './random.ts';

/**
 * What is done to one call. `lost`: it is made, and its answer replaced by an error. `silent`: it is made and never
 * answered. `cut`: it is made, and the connection with all calls on it breaks.
 */
export type CallFault = 'error' | 'delay' | 'lost' | 'silent' | 'cut';

/** How many calls of a hundred have which fault. */
export type FaultRates = Readonly<Record<CallFault, number>>;

/** One call that is kept `before` it is made, or `after`, its answer in hand. `about`: what stands in its request. */
export interface HeldCall {
  readonly method: string;
  readonly about: string;
  readonly when: 'before' | 'after';
  readonly reached: PromiseWithResolvers<void>;
  readonly released: PromiseWithResolvers<void>;
  release(): void;
}

const DELAY_MS = { from: 50, to: 600 };
/** Of the events. */
const DOUBLED = 0.3;
/** Length of a message's head: one byte of flags, four of its length. */
const HEAD_BYTES = 5;
const GRPC = { unknown: 2, deadlineExceeded: 4, unavailable: 14 };
const STREAMS = /\/(GetContainerEvents|Subscribe)$/;

export class CriProxy implements AsyncDisposable {
  readonly socket: string;
  /** How often each fault was brought about. */
  readonly injected: Record<CallFault | 'doubled', number> = {
    ...{ error: 0, delay: 0, lost: 0, silent: 0, cut: 0 },
    doubled: 0,
  };
  readonly #target: string;
  readonly #random: Random;
  readonly #server = createServer();
  readonly #sessions = new Set<ServerHttp2Session>();
  #runtime: ClientHttp2Session | undefined;
  #rates: FaultRates | undefined;
  readonly #holds: HeldCall[] = [];
  /** Faults of the calls to come, in turn. */
  #plan: (CallFault | undefined)[] = [];

  private constructor(socket: string, target: string, random: Random) {
    this.socket = socket;
    this.#target = target;
    this.#random = random;
    this.#server.on('session', (session) => {
      this.#sessions.add(session);
      session.on('close', () => this.#sessions.delete(session));
      session.on('error', () => {}); // the agent was killed, or we cut the connection
    });
    // What goes wrong is told in the stream. The types say "any stream" of what a server's event always is.
    this.#server.on('stream', (stream, headers) => void this.#serve(stream as ServerHttp2Stream, headers));
  }

  /** Listens on `socket` and passes everything on to `target`; both are paths. */
  static async start(socket: string, target: string, random: Random): Promise<CriProxy> {
    const proxy = new CriProxy(socket, target, random);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(socket, resolve);
    });
    return proxy;
  }

  /** From now on; undefined: everything goes through as it is. */
  setFaults(rates: FaultRates | undefined): void {
    this.#rates = rates;
    this.#plan = [];
  }

  /** The next call of `method` whose request has `about` in it, and that no other hold waits for. */
  hold(method: string, when: HeldCall['when'], about = ''): HeldCall {
    const [reached, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const held = { method, about, when, reached, released, release: () => released.resolve() };
    this.#holds.push(held);
    return held;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.#sessions) session.destroy();
    this.#runtime?.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    stream.on('error', () => {}); // the agent gave the call up
    try {
      const path = String(headers[constants.HTTP2_HEADER_PATH]);
      const isMethod = ({ method }: HeldCall) => path.endsWith(`/${method}`);
      if (STREAMS.test(path)) this.#passStream(stream, this.#forward(headers, stream));
      else if (this.#holds.some(isMethod)) await this.#serveHeld(stream, headers, isMethod);
      else await this.#serveCall(stream, headers, this.#nextFault());
    } catch (err) {
      fail(stream, GRPC.unavailable, `proxy: ${String(err)}`);
    }
  }

  async #serveCall(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    fault: CallFault | undefined,
  ): Promise<void> {
    if (fault !== undefined) this.injected[fault]++;
    if (fault === 'error') {
      stream.resume();
      fail(stream, this.#random.pick([GRPC.unknown, GRPC.unavailable]), 'injected: the call was not made');
      return;
    }
    if (fault === 'delay') await sleep(this.#random.int(DELAY_MS.from, DELAY_MS.to));
    const answer = await completed(this.#forward(headers, stream));
    if (fault === 'lost') {
      fail(stream, this.#random.pick([GRPC.unavailable, GRPC.deadlineExceeded]), 'injected: the answer was lost');
    } else if (fault === 'cut') {
      stream.session?.destroy();
    } else if (fault !== 'silent' && !stream.destroyed) {
      reply(stream, answer);
    }
  }

  /** Perhaps: that is for its request to say. */
  async #serveHeld(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    isMethod: (held: HeldCall) => boolean,
  ): Promise<void> {
    const body = Buffer.concat((await stream.toArray()) as Buffer[]);
    const at = this.#holds.findIndex((held) => isMethod(held) && body.includes(held.about));
    const held = at < 0 ? undefined : this.#holds.splice(at, 1)[0];
    if (held?.when === 'before') await reached(held);
    if (stream.destroyed) return; // the agent is gone: what was not made is not made any more
    const answer = await completed(this.#forward(headers, stream, body));
    if (held?.when === 'after') await reached(held);
    if (!stream.destroyed) reply(stream, answer);
  }

  /** Each hundred calls have their share of each fault, at places that the seed gives. */
  #nextFault(): CallFault | undefined {
    if (this.#rates === undefined) return undefined;
    if (this.#plan.length === 0) {
      const faults = Object.entries(this.#rates).flatMap(([fault, count]) =>
        Array<CallFault | undefined>(count).fill(fault as CallFault),
      );
      this.#plan = this.#random.shuffle([...faults, ...Array<undefined>(100 - faults.length).fill(undefined)]);
    }
    return this.#plan.pop();
  }

  /** Makes the same call on the runtime, with the body as it comes, or as it came. */
  #forward(headers: IncomingHttpHeaders, stream: ServerHttp2Stream, body?: Buffer): ClientHttp2Stream {
    const call = this.#connected().request({ ...headers, [constants.HTTP2_HEADER_AUTHORITY]: 'localhost' });
    if (body === undefined) stream.pipe(call);
    else call.end(body);
    stream.on('close', () => call.close(constants.NGHTTP2_CANCEL));
    return call;
  }

  #connected(): ClientHttp2Session {
    if (this.#runtime === undefined || this.#runtime.closed || this.#runtime.destroyed) {
      this.#runtime = connect('http://localhost', { createConnection: () => connectSocket(this.#target) });
      this.#runtime.on('error', () => {}); // told by each call on it
    }
    return this.#runtime;
  }

  #passStream(stream: ServerHttp2Stream, call: ClientHttp2Stream): void {
    const frames = new FrameSplitter();
    let trailers: OutgoingHttpHeaders = {};
    call.on('response', (headers) => {
      stream.respond({ ...headers }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    });
    call.on('data', (chunk: Buffer) => {
      for (const frame of frames.push(chunk)) {
        stream.write(frame);
        if (this.#rates === undefined || !this.#random.chance(DOUBLED)) continue;
        stream.write(frame);
        this.injected.doubled++;
      }
    });
    call.on('trailers', (headers) => {
      trailers = { ...headers };
    });
    call.on('end', () => stream.end());
    call.on('error', () => stream.destroy());
  }
}

interface Answer {
  readonly headers: OutgoingHttpHeaders;
  readonly body: Buffer;
  readonly trailers: OutgoingHttpHeaders;
}

function reached(held: HeldCall): Promise<void> {
  held.reached.resolve();
  return held.released.promise;
}

async function completed(call: ClientHttp2Stream): Promise<Answer> {
  let headers: OutgoingHttpHeaders = {};
  let trailers: OutgoingHttpHeaders = {};
  call.on('response', (received) => {
    headers = { ...received };
  });
  call.on('trailers', (received) => {
    trailers = { ...received };
  });
  const chunks: Buffer[] = [];
  for await (const chunk of call) chunks.push(chunk as Buffer);
  return { headers, body: Buffer.concat(chunks), trailers };
}

function reply(stream: ServerHttp2Stream, { headers, body, trailers }: Answer): void {
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  stream.respond(headers, { waitForTrailers: Object.keys(trailers).length > 0 });
  stream.end(body);
}

/** An answer that is nothing but an error. */
function fail(stream: ServerHttp2Stream, code: number, message: string): void {
  if (stream.destroyed || stream.headersSent) return;
  const headers = { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(code) };
  stream.respond({ ...headers, 'grpc-message': encodeURIComponent(message) }, { endStream: true });
}

/** Cuts a stream of bytes into the messages of gRPC, heads included. */
class FrameSplitter {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Buffer[] {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    const frames: Buffer[] = [];
    while (this.#rest.length >= HEAD_BYTES) {
      const end = HEAD_BYTES + this.#rest.readUInt32BE(1);
      if (this.#rest.length < end) break;
      frames.push(this.#rest.subarray(0, end));
      this.#rest = this.#rest.subarray(end);
    }
    return frames;
  }
}
