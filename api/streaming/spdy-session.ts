// A SPDY/3.1 connection as streams, over any duplex. Behaves as moby/spdystream does, which is at the other end in the
// kubelet, containerd and kubectl: no flow-control windows, so a stream that is not read holds up its whole connection;
// a reset ends a stream's output instead of failing it.
import { Duplex } from 'node:stream';
import {
  RST_CANCEL,
  RST_REFUSED_STREAM,
  SpdyError,
  type SpdyFrame,
  type SpdyHeaders,
  SpdyParser,
  SpdyWriter,
} from './spdy-frames.ts';

/** Go's reader takes larger frames; small ones keep streams fair to each other. */
const MAX_DATA_BYTES = 64 * 1024;
/** kubectl port-forward opens two streams per connection; a node has no use for more than this at once. */
const MAX_STREAMS = 4096;

export interface SpdySessionOptions {
  readonly role: 'client' | 'server';
  /** Streams that the peer opens; without it they are refused. They must be read, or destroyed. */
  readonly onStream?: (stream: SpdyStream) => void;
}

export class SpdySession {
  readonly #socket: Duplex;
  readonly #options: SpdySessionOptions;
  readonly #parser = new SpdyParser();
  readonly #writer = new SpdyWriter();
  readonly #streams = new Map<number, SpdyStream>();
  readonly #full = new Set<SpdyStream>();
  readonly #closed = Promise.withResolvers<void>();
  #nextId: number;
  #lastPeerId = 0;
  #error: Error | undefined;

  /** Takes `socket` over. `head`: bytes that came behind the upgrade's answer. */
  constructor(socket: Duplex, head: Buffer, options: SpdySessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#nextId = options.role === 'client' ? 1 : 2;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (err) => this.#end(err));
    socket.on('end', () => this.#end());
    socket.on('close', () => this.#end());
    if (head.length > 0) this.#receive(head);
  }

  /** Resolves when the connection is gone, for whatever reason. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /**
   * Opens a stream. It can be written at once; `accepted` tells when the peer took it.
   * @throws {SpdyError} when the connection is gone.
   */
  createStream(headers: SpdyHeaders): SpdyStream {
    if (this.#socket.destroyed) throw new SpdyError('connection is closed');
    const stream = new SpdyStream(this.#nextId, headers, this.#sink);
    this.#nextId += 2;
    this.#streams.set(stream.id, stream);
    this.#socket.write(this.#writer.synStream(stream.id, headers));
    return stream;
  }

  /** Keeps middle boxes and idle timers awake. */
  ping(): void {
    // Unread data may be the last: a peer that has gone behind it would answer with a reset, and that would be lost.
    if (this.#full.size > 0) return;
    if (this.#socket.writable) this.#socket.write(this.#writer.ping(this.#nextId)); // odd or even as the role wants
  }

  /** Ends the connection after what was written has been sent. */
  close(): void {
    if (this.#socket.writable) this.#socket.end(this.#writer.goAway(this.#lastPeerId));
    this.#end();
  }

  destroy(): void {
    this.#socket.destroy();
    this.#end();
  }

  readonly #sink: StreamSink = {
    write: (stream, data, fin, done) => {
      if (!this.#socket.writable) return done(this.#error ?? new SpdyError('connection is closed'));
      this.#socket.cork();
      let rest = data;
      do {
        const part = rest.subarray(0, MAX_DATA_BYTES);
        rest = rest.subarray(part.length);
        const last = rest.length === 0;
        this.#socket.write(this.#writer.dataHead(stream.id, part.length, fin && last));
        if (last) this.#socket.write(part, done);
        else this.#socket.write(part);
      } while (rest.length > 0);
      this.#socket.uncork();
    },
    reset: (stream) => {
      if (this.#socket.writable) this.#socket.write(this.#writer.rstStream(stream.id, RST_CANCEL));
    },
    full: (stream) => {
      this.#full.add(stream);
      this.#socket.pause();
    },
    wanted: (stream) => {
      if (this.#full.delete(stream) && this.#full.size === 0) this.#socket.resume();
    },
    gone: (stream) => {
      this.#streams.delete(stream.id);
      this.#sink.wanted(stream);
    },
  };

  #receive(chunk: Buffer): void {
    try {
      for (const frame of this.#parser.push(chunk)) this.#handle(frame);
    } catch (err) {
      this.#socket.destroy();
      this.#end(err instanceof Error ? err : new SpdyError(String(err)));
    }
  }

  #handle(frame: SpdyFrame): void {
    switch (frame.type) {
      case 'data':
        this.#streams.get(frame.streamId)?.receive(frame.data, frame.fin);
        return;
      case 'syn-stream':
        this.#accept(frame.streamId, frame.headers, frame.fin);
        return;
      case 'syn-reply':
        this.#streams.get(frame.streamId)?.receiveReply(frame.headers, frame.fin);
        return;
      case 'headers':
        if (frame.fin) this.#streams.get(frame.streamId)?.receive(Buffer.alloc(0), true);
        return;
      case 'rst-stream':
        this.#streams.get(frame.streamId)?.receiveReset();
        return;
      case 'ping': {
        const ours = (frame.id & 1) === (this.#options.role === 'client' ? 1 : 0);
        if (!ours) this.#socket.write(this.#writer.ping(frame.id));
        return;
      }
      case 'goaway':
        return; // the peer closes when it is done
    }
  }

  #accept(id: number, headers: SpdyHeaders, fin: boolean): void {
    const expected = this.#options.role === 'client' ? 0 : 1;
    if ((id & 1) !== expected || id <= this.#lastPeerId) throw new SpdyError(`peer opened stream ${id}`);
    this.#lastPeerId = id;
    const { onStream } = this.#options;
    if (onStream === undefined || this.#streams.size >= MAX_STREAMS) {
      this.#socket.write(this.#writer.rstStream(id, RST_REFUSED_STREAM));
      return;
    }
    const stream = new SpdyStream(id, headers, this.#sink);
    this.#streams.set(id, stream);
    this.#socket.write(this.#writer.synReply(id, {}));
    stream.receiveReply({}, fin);
    onStream(stream);
  }

  #end(err?: Error): void {
    this.#error ??= err;
    for (const stream of [...this.#streams.values()]) stream.connectionEnded(this.#error);
    this.#streams.clear();
    this.#closed.resolve();
  }
}

/** What a stream needs of its session. */
interface StreamSink {
  write(stream: SpdyStream, data: Buffer, fin: boolean, done: (err?: Error | null) => void): void;
  reset(stream: SpdyStream): void;
  /** The stream's reader is behind: the connection waits until `wanted`. */
  full(stream: SpdyStream): void;
  wanted(stream: SpdyStream): void;
  gone(stream: SpdyStream): void;
}

export class SpdyStream extends Duplex {
  readonly id: number;
  /** Those it was opened with, names in lower case. */
  readonly headers: SpdyHeaders;
  readonly #sink: StreamSink;
  readonly #accepted = Promise.withResolvers<void>();
  #remoteEnded = false;
  #reset = false;

  constructor(id: number, headers: SpdyHeaders, sink: StreamSink) {
    super({ allowHalfOpen: true });
    this.id = id;
    this.headers = headers;
    this.#sink = sink;
    this.#accepted.promise.catch(() => {}); // whoever does not wait for it sees the stream fail instead
  }

  /** Resolves when the peer has taken the stream; rejects when it refuses or goes away. */
  get accepted(): Promise<void> {
    return this.#accepted.promise;
  }

  receive(data: Buffer, fin: boolean): void {
    if (this.#remoteEnded) return;
    if (data.length > 0 && !this.destroyed && !this.push(data)) this.#sink.full(this);
    if (fin) this.#endRemote();
  }

  receiveReply(_headers: SpdyHeaders, fin: boolean): void {
    this.#accepted.resolve();
    if (fin) this.#endRemote();
  }

  receiveReset(): void {
    this.#reset = true;
    this.#accepted.reject(new SpdyError('the peer refused the stream'));
    this.#endRemote();
  }

  connectionEnded(err: Error | undefined): void {
    this.#reset = true;
    this.#accepted.reject(err ?? new SpdyError('connection is closed'));
    // What had ended before stays readable: the last bytes of a command come just before its connection goes.
    if (err !== undefined && !this.#remoteEnded) this.destroy(err);
    else this.#endRemote();
  }

  #endRemote(): void {
    if (this.#remoteEnded) return;
    this.#remoteEnded = true;
    if (!this.destroyed) this.push(null);
    this.#sink.wanted(this); // nobody asks an ended stream for more, and it must not hold up what follows for others
  }

  override _read(): void {
    this.#sink.wanted(this);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (err?: Error | null) => void): void {
    // A stream that the peer has reset swallows what is still on its way there, as a closed pipe's other end would.
    if (this.#reset) done();
    else this.#sink.write(this, chunk, false, done);
  }

  override _final(done: (err?: Error | null) => void): void {
    if (this.#reset) done();
    else this.#sink.write(this, Buffer.alloc(0), true, done);
  }

  override _destroy(err: Error | null, done: (err?: Error | null) => void): void {
    // Iterating a stream to its end destroys it. When the peer has said its last word it needs no reset; and a runtime
    // that hangs up behind a command's status answers a late frame by resetting the connection, status and all.
    if (!this.#remoteEnded && !this.#reset) this.#sink.reset(this);
    this.#reset = true;
    this.#sink.gone(this);
    done(err);
  }
}
