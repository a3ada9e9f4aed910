// What gRPC puts on top of HTTP/2 (grpc/grpc doc/PROTOCOL-HTTP2.md): messages in frames, and how a call ended in headers.
import type { IncomingHttpHeaders } from 'node:http2';

/** Names of the status codes, by number (grpc/grpc doc/statuscodes.md). */
export const GRPC_CODES = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const;

export type GrpcCode = (typeof GRPC_CODES)[number];

export interface GrpcStatus {
  readonly code: GrpcCode;
  readonly details: string;
}

/** One byte that tells of compression, four for the length. */
const FRAME_HEAD_BYTES = 5;

/** A message as it goes over the stream. */
export function grpcFrame(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, FRAME_HEAD_BYTES);
  return frame;
}

/** The bytes of an answer are no gRPC. `code` is what the call ended with. */
export class GrpcFrameError extends Error {
  readonly code: GrpcCode;

  constructor(code: GrpcCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Cuts what arrives, in pieces of any size, into messages. */
export class GrpcFrameReader {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  /** Of the frame that has begun, its head included; the head's alone until that is there. */
  #wanted = FRAME_HEAD_BYTES;

  /** `maxBytes` of one message. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The messages that `part` completes, in order. @throws {GrpcFrameError} */
  push(part: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    this.#parts.push(part);
    this.#bytes += part.length;
    while (this.#bytes >= this.#wanted) {
      const bytes = this.#join();
      this.#wanted = FRAME_HEAD_BYTES + this.#lengthOf(bytes);
      if (bytes.length < this.#wanted) break;
      messages.push(bytes.subarray(FRAME_HEAD_BYTES, this.#wanted));
      const rest = bytes.subarray(this.#wanted);
      this.#parts = rest.length === 0 ? [] : [rest];
      this.#bytes = rest.length;
      this.#wanted = FRAME_HEAD_BYTES;
    }
    return messages;
  }

  #join(): Buffer {
    const bytes = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    this.#parts = [bytes];
    return bytes;
  }

  #lengthOf(head: Buffer): number {
    if (head[0] !== 0) throw new GrpcFrameError('INTERNAL', 'the message is compressed, which was not asked for');
    const length = head.readUInt32BE(1);
    if (length > this.#maxBytes) {
      const text = `received message larger than max (${length} vs. ${this.#maxBytes})`;
      throw new GrpcFrameError('RESOURCE_EXHAUSTED', text);
    }
    return length;
  }
}

/** How a call ended. One that has no answer carries its status in the only headers that there are. */
export function grpcStatusOf(head: IncomingHttpHeaders, trailers: IncomingHttpHeaders): GrpcStatus {
  const from = trailers['grpc-status'] === undefined ? head : trailers;
  const code = from['grpc-status'];
  if (code !== undefined) {
    return { code: GRPC_CODES[Number(code)] ?? 'UNKNOWN', details: decoded(String(from['grpc-message'] ?? '')) };
  }
  const status = Number(head[':status']);
  if (status === 200) return { code: 'INTERNAL', details: 'the answer ended without a status' };
  const details = `unexpected HTTP status code received from server: ${status}`;
  return { code: CODES_OF_HTTP[status] ?? 'UNKNOWN', details };
}

/** How the answers of something else that speaks HTTP read in gRPC (grpc/grpc doc/http-grpc-status-mapping.md). */
const CODES_OF_HTTP: Readonly<Record<number, GrpcCode>> = {
  400: 'INTERNAL',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'UNIMPLEMENTED',
  429: 'UNAVAILABLE',
  502: 'UNAVAILABLE',
  503: 'UNAVAILABLE',
  504: 'UNAVAILABLE',
};

/** grpc-message is percent-encoded. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // not ours to mend
  }
}

/** What a status says, as it goes into grpc-message: printable ASCII is itself, all else is percent-encoded UTF-8. */
export function grpcMessage(details: string): string {
  return details.replace(/[^\x20-\x24\x26-\x7e]/gu, (char) =>
    [...Buffer.from(char)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
}

const TIMEOUT_UNITS_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** A grpc-timeout (`100m`, `5S`) in ms; undefined for what is none. */
export function parseGrpcTimeout(text: string): number | undefined {
  const parts = /^(\d{1,8})([HMSmun])$/.exec(text);
  return parts === null ? undefined : Number(parts[1]) * TIMEOUT_UNITS_MS[parts[2]!]!;
}

/** `NOT_FOUND` → `NotFound`, as Go prints codes. */
export function goCodeName(code: GrpcCode): string {
  if (code === 'OK') return 'OK';
  if (code === 'CANCELLED') return 'Canceled'; // Go has one l
  return code
    .split('_')
    .map((word) => word.charAt(0) + word.slice(1).toLowerCase())
    .join('');
}
