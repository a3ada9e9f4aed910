// Reads one HTTP/1 response as it arrives (RFC 9112): status, redirect target, the start of the body. As lenient as Go's
// reader, since small servers end their lines with a mere \n. Node's own client costs 0.3 ms more per request, which is
// most of what a probe costs (bench/probes.ts). Pure: bytes in, facts out.
import { MAX_OUTPUT_BYTES } from './outcome.ts';

export interface HttpResponse {
  readonly status: number;
  /** The Location header, undefined when there is none. */
  readonly location: string | undefined;
  /** At most MAX_OUTPUT_BYTES of it. */
  readonly body: string;
}

/** Bytes of status lines and headers that are taken, interim answers included; Go's limit is 10 MB, no health endpoint comes near this one. */
const MAX_HEAD_BYTES = 256 * 1024;
const CR = 0x0d;
const LF = 0x0a;

/** What cannot be read as HTTP; the message is the one that Go's client gives. */
export class MalformedResponse extends Error {}

export class ResponseReader {
  #buffer: Buffer | undefined;
  #head: Head | undefined;
  #chunks: ChunkedBody | undefined;
  readonly #body: Buffer[] = [];
  #bodyBytes = 0;
  /** Of the body; infinite while only the end of the connection ends it. */
  #expectedBytes = Number.POSITIVE_INFINITY;

  /**
   * Takes the next bytes; they are copied where they are kept. Returns true once nothing further is needed.
   * @throws {MalformedResponse}
   */
  push(bytes: Buffer): boolean {
    if (this.#head === undefined) {
      this.#buffer = this.#buffer === undefined ? Buffer.from(bytes) : Buffer.concat([this.#buffer, bytes]);
      const rest = this.#readHead(this.#buffer);
      if (rest === undefined) return false;
      this.#buffer = undefined;
      return this.#takeBody(rest);
    }
    return this.#takeBody(Buffer.from(bytes));
  }

  /** Status and headers have been read. */
  get hasHead(): boolean {
    return this.#head !== undefined;
  }

  /** At the end of the connection: whether the body is whole, as far as the server has told its length. */
  get isWhole(): boolean {
    if (this.#head === undefined) return false;
    return this.#chunks === undefined
      ? this.#expectedBytes === Number.POSITIVE_INFINITY || this.#bodyBytes >= this.#expectedBytes
      : this.#chunks.ended;
  }

  /** Valid once the head has been read. */
  response(): HttpResponse {
    const { status, location } = this.#head!;
    const body = this.#body.length === 0 ? '' : Buffer.concat(this.#body).toString('utf8', 0, MAX_OUTPUT_BYTES);
    return { status, location, body };
  }

  /** The bytes behind the head, undefined while the head is not whole. Interim answers (1xx) are skipped. */
  #readHead(all: Buffer): Buffer | undefined {
    for (let start = 0; ; ) {
      const end = headEnd(all, start);
      if (end === undefined) {
        if (all.length > MAX_HEAD_BYTES) throw new MalformedResponse('server response headers exceeded limit');
        refuseOtherProtocol(all, start);
        return undefined;
      }
      const head = parseHead(all.toString('latin1', start, end));
      start = end;
      if (head.status >= 100 && head.status < 200 && head.status !== 101) continue;
      this.#head = head;
      this.#frameBody(head);
      return all.subarray(end);
    }
  }

  #frameBody({ status, length, coding }: Head): void {
    if (status === 204 || status === 304 || status === 101) this.#expectedBytes = 0;
    else if (coding?.toLowerCase().includes('chunked')) this.#chunks = new ChunkedBody();
    else if (length !== undefined) {
      if (!/^\d+$/.test(length)) throw new MalformedResponse(`bad Content-Length ${JSON.stringify(length)}`);
      this.#expectedBytes = Number(length);
    }
  }

  #takeBody(bytes: Buffer): boolean {
    const parts = this.#chunks === undefined ? [bytes] : this.#chunks.push(bytes);
    for (const part of parts) {
      if (part.length === 0) continue;
      this.#body.push(part);
      this.#bodyBytes += part.length;
    }
    if (this.#bodyBytes >= MAX_OUTPUT_BYTES) return true;
    return this.#chunks?.ended ?? this.#bodyBytes >= this.#expectedBytes;
  }
}

/** Index behind the empty line that ends a head, undefined when it has not come yet. */
function headEnd(bytes: Buffer, start: number): number | undefined {
  for (let at = bytes.indexOf(LF, start); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    const next = bytes[at + 1] === CR ? at + 2 : at + 1;
    if (bytes[next] === LF) return next + 1;
  }
  return undefined;
}

/** A server of another protocol may wait for us for ever after its greeting. */
function refuseOtherProtocol(bytes: Buffer, start: number): void {
  const line = firstLine(bytes.toString('latin1', start, Math.min(bytes.length, start + 512)));
  if (line !== undefined && !line.startsWith('HTTP/')) throw malformed(line);
}

function firstLine(text: string): string | undefined {
  const end = text.indexOf('\n');
  return end < 0 ? undefined : text.slice(0, end).replace(/\r$/, '');
}

/** What counts of a head. */
interface Head {
  readonly status: number;
  readonly location: string | undefined;
  readonly length: string | undefined;
  readonly coding: string | undefined;
}

function parseHead(text: string): Head {
  const status = /^HTTP\/1\.[01] +(\d{3})(?=[ \r\n])/.exec(text)?.[1];
  if (status === undefined) throw malformed(firstLine(text) ?? text);
  return {
    status: Number(status),
    location: /\nlocation:(.*)/i.exec(text)?.[1]?.trim(),
    length: /\ncontent-length:(.*)/i.exec(text)?.[1]?.trim(),
    coding: /\ntransfer-encoding:(.*)/i.exec(text)?.[1]?.trim(),
  };
}

function malformed(line: string): MalformedResponse {
  return new MalformedResponse(
    `net/http: HTTP/1.x transport connection broken: malformed HTTP response ${JSON.stringify(line)}`,
  );
}

/** Undoes the chunked transfer coding; the trailer is not looked at. */
class ChunkedBody {
  /** The last chunk has been seen. */
  ended = false;
  #pending: Buffer = Buffer.alloc(0);
  /** Bytes left of the present chunk with its line end; 0 where a size line is expected. */
  #left = 0;

  push(bytes: Buffer): Buffer[] {
    const parts: Buffer[] = [];
    let rest = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    while (rest.length > 0 && !this.ended) {
      if (this.#left > 0) {
        const piece = rest.subarray(0, this.#left);
        this.#left -= piece.length;
        rest = rest.subarray(piece.length);
        parts.push(piece);
        continue;
      }
      const end = rest.indexOf(LF);
      if (end < 0) break;
      const line = rest.toString('latin1', 0, end).trim();
      rest = rest.subarray(end + 1);
      if (line === '') continue; // the line end behind a chunk's data
      const size = /^([0-9a-fA-F]{1,12})(?:\s*;|$)/.exec(line)?.[1];
      if (size === undefined) throw new MalformedResponse('invalid byte in chunk length');
      this.#left = Number.parseInt(size, 16);
      this.ended = this.#left === 0;
    }
    if (rest.length > MAX_HEAD_BYTES) throw new MalformedResponse('chunk line too long');
    this.#pending = rest;
    return parts;
  }
}
