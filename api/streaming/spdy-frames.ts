// SPDY/3.1 framing (SPDY Protocol draft 3.1, section 2): bytes ↔ frames. Kubernetes still speaks it for exec, attach
// and port-forward. Header blocks are zlib streams that start from a dictionary which the draft fixes.
import { deflateRawSync, inflateRawSync, constants as zlib } from 'node:zlib';
import { SPDY_DICTIONARY } from './spdy-dictionary.ts';

export type SpdyHeaders = Readonly<Record<string, string>>;

export type SpdyFrame =
  | { readonly type: 'data'; readonly streamId: number; readonly fin: boolean; readonly data: Buffer }
  | { readonly type: 'syn-stream'; readonly streamId: number; readonly fin: boolean; readonly headers: SpdyHeaders }
  | { readonly type: 'syn-reply'; readonly streamId: number; readonly fin: boolean; readonly headers: SpdyHeaders }
  | { readonly type: 'headers'; readonly streamId: number; readonly fin: boolean; readonly headers: SpdyHeaders }
  | { readonly type: 'rst-stream'; readonly streamId: number; readonly status: number }
  | { readonly type: 'ping'; readonly id: number }
  | { readonly type: 'goaway'; readonly lastStreamId: number; readonly status: number };

export class SpdyError extends Error {
  override readonly name = 'SpdyError';
}

export const RST_REFUSED_STREAM = 3;
export const RST_CANCEL = 5;

const VERSION = 3;
const FLAG_FIN = 1;
const SYN_STREAM = 1;
const SYN_REPLY = 2;
const RST_STREAM = 3;
const PING = 6;
const GOAWAY = 7;
const HEADERS = 8;

/** Control frames carry a few short headers; larger ones are an attack or an error. */
const MAX_CONTROL_BYTES = 64 * 1024;
/** What a header block may unfold to. */
const MAX_HEADER_BYTES = 256 * 1024;
/** How far back deflate looks. */
const WINDOW_BYTES = 32 * 1024;
/** CMF and FLG of a zlib stream with a preset dictionary, and the dictionary's Adler-32. */
const ZLIB_HEAD = Buffer.from([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);

/**
 * Unfolds the header blocks of one direction of a connection. They are one zlib stream, flushed to a byte boundary
 * after each block; so every block can be inflated alone, given what came before as its dictionary.
 */
class HeaderInflater {
  #window: Buffer = SPDY_DICTIONARY;
  #first = true;

  inflate(block: Buffer): Buffer {
    let raw = block;
    if (this.#first) {
      if (block.length < 2) throw new SpdyError('header block is too short');
      raw = block.subarray((block[1]! & 0x20) === 0 ? 2 : 6); // FDICT: the dictionary's checksum follows
      this.#first = false;
    }
    try {
      const options = { dictionary: this.#window, finishFlush: zlib.Z_SYNC_FLUSH, maxOutputLength: MAX_HEADER_BYTES };
      const plain = inflateRawSync(raw, options);
      this.#window = Buffer.concat([this.#window, plain]).subarray(-WINDOW_BYTES);
      return plain;
    } catch (cause) {
      throw new SpdyError('header block cannot be decompressed', { cause });
    }
  }
}

/** Folds header blocks. Each is compressed for itself: they are few and short, and no window has to be kept. */
class HeaderDeflater {
  #first = true;

  deflate(plain: Buffer): Buffer {
    const block = deflateRawSync(plain, { finishFlush: zlib.Z_SYNC_FLUSH });
    if (!this.#first) return block;
    this.#first = false;
    return Buffer.concat([ZLIB_HEAD, block]);
  }
}

/** Takes bytes as they arrive and gives frames. Data frames are given in pieces, without waiting for their end. */
export class SpdyParser {
  readonly #inflater = new HeaderInflater();
  #pending: Buffer = Buffer.alloc(0);
  /** The data frame whose rest is still to come. */
  #data: { readonly streamId: number; readonly fin: boolean; left: number } | undefined;

  /** @throws {SpdyError} for bytes that are no SPDY/3.1; the connection is then of no use. */
  *push(chunk: Buffer): Generator<SpdyFrame> {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    for (;;) {
      const frame = this.#data === undefined ? this.#next() : this.#nextData(this.#data);
      if (frame === undefined) return;
      if (frame !== 'skipped') yield frame;
    }
  }

  #next(): SpdyFrame | 'skipped' | undefined {
    const head = this.#pending;
    if (head.length < 8) return undefined;
    const length = head.readUInt32BE(4) & 0xffffff;
    if ((head[0]! & 0x80) === 0) {
      const fin = (head[4]! & FLAG_FIN) !== 0;
      this.#data = { streamId: head.readUInt32BE(0), fin, left: length };
      this.#pending = head.subarray(8);
      return 'skipped';
    }
    if (length > MAX_CONTROL_BYTES) throw new SpdyError(`control frame of ${length} bytes`);
    if (head.length < 8 + length) return undefined;
    if ((head.readUInt16BE(0) & 0x7fff) !== VERSION) throw new SpdyError('not SPDY/3');
    this.#pending = head.subarray(8 + length);
    return this.#control(head.readUInt16BE(2), head[4]!, head.subarray(8, 8 + length)) ?? 'skipped';
  }

  #nextData(frame: { readonly streamId: number; readonly fin: boolean; left: number }): SpdyFrame | undefined {
    if (this.#pending.length === 0 && frame.left > 0) return undefined;
    const data = this.#pending.subarray(0, frame.left);
    this.#pending = this.#pending.subarray(data.length);
    frame.left -= data.length;
    if (frame.left === 0) this.#data = undefined;
    return { type: 'data', streamId: frame.streamId, fin: frame.fin && frame.left === 0, data };
  }

  #control(type: number, flags: number, body: Buffer): SpdyFrame | undefined {
    const fin = (flags & FLAG_FIN) !== 0;
    switch (type) {
      case SYN_STREAM:
        return { type: 'syn-stream', streamId: streamIdOf(body), fin, headers: this.#headers(body, 10) };
      case SYN_REPLY:
        return { type: 'syn-reply', streamId: streamIdOf(body), fin, headers: this.#headers(body, 4) };
      case HEADERS:
        return { type: 'headers', streamId: streamIdOf(body), fin, headers: this.#headers(body, 4) };
      case RST_STREAM:
        return { type: 'rst-stream', streamId: streamIdOf(body), status: uint32(body, 4) };
      case PING:
        return { type: 'ping', id: uint32(body, 0) };
      case GOAWAY:
        return { type: 'goaway', lastStreamId: streamIdOf(body), status: uint32(body, 4) };
      default:
        return undefined; // SETTINGS, WINDOW_UPDATE, CREDENTIAL: Kubernetes' peers send none or ignore them
    }
  }

  #headers(body: Buffer, offset: number): SpdyHeaders {
    const block = this.#inflater.inflate(body.subarray(offset));
    const headers: Record<string, string> = {};
    let at = 4;
    const text = (): string => {
      const length = uint32(block, at);
      if (at + 4 + length > block.length) throw new SpdyError('header block is truncated');
      const value = block.toString('utf8', at + 4, at + 4 + length);
      at += 4 + length;
      return value;
    };
    for (let left = uint32(block, 0); left > 0; left--) {
      const name = text().toLowerCase();
      // Several values of one name are separated by NUL.
      headers[name] = text().replaceAll('\0', ',');
    }
    return headers;
  }
}

/** Frames → bytes, of one direction of a connection. */
export class SpdyWriter {
  readonly #deflater = new HeaderDeflater();

  synStream(streamId: number, headers: SpdyHeaders, fin = false): Buffer {
    const fixed = Buffer.alloc(10); // associated stream, priority and slot are zero
    fixed.writeUInt32BE(streamId);
    return control(SYN_STREAM, fin ? FLAG_FIN : 0, fixed, this.#block(headers));
  }

  synReply(streamId: number, headers: SpdyHeaders, fin = false): Buffer {
    return control(SYN_REPLY, fin ? FLAG_FIN : 0, uint32s(streamId), this.#block(headers));
  }

  rstStream(streamId: number, status: number): Buffer {
    return control(RST_STREAM, 0, uint32s(streamId, status));
  }

  ping(id: number): Buffer {
    return control(PING, 0, uint32s(id));
  }

  goAway(lastStreamId: number): Buffer {
    return control(GOAWAY, 0, uint32s(lastStreamId, 0));
  }

  /** The head of a data frame; `length` bytes of data follow it on the wire. */
  dataHead(streamId: number, length: number, fin: boolean): Buffer {
    return uint32s(streamId, ((fin ? FLAG_FIN : 0) << 24) | length);
  }

  #block(headers: SpdyHeaders): Buffer {
    const entries = Object.entries(headers);
    const parts = [uint32s(entries.length)];
    for (const text of entries.flat()) {
      const bytes = Buffer.from(text);
      parts.push(uint32s(bytes.length), bytes);
    }
    return this.#deflater.deflate(Buffer.concat(parts));
  }
}

function control(type: number, flags: number, ...body: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(0x8000 | VERSION, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt32BE(
    body.reduce((sum, b) => sum + b.length, 0),
    4,
  );
  head[4] = flags;
  return Buffer.concat([head, ...body]);
}

function uint32s(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, i * 4);
  return bytes;
}

function uint32(bytes: Buffer, at: number): number {
  if (at + 4 > bytes.length) throw new SpdyError('frame is truncated');
  return bytes.readUInt32BE(at);
}

const streamIdOf = (body: Buffer): number => uint32(body, 0) & 0x7fffffff;
