// Messages of D-Bus as bytes, as much of them as calls to systemd and logind need. Pure. D-Bus specification, "Message
// Protocol". File descriptors are not passed: Node.js cannot receive them.

export type MessageType = 'call' | 'return' | 'error' | 'signal';

export interface DBusMessage {
  readonly type: MessageType;
  readonly serial: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly errorName?: string;
  readonly replySerial?: number;
  readonly destination?: string;
  readonly sender?: string;
  /** Of the body, e.g. `ssi`. */
  readonly signature?: string;
  readonly body?: readonly unknown[];
}

/** A value with its own type, as properties are given. */
export interface Variant {
  readonly signature: string;
  readonly value: unknown;
}

const TYPES: readonly MessageType[] = ['call', 'return', 'error', 'signal'];
const FIELDS = [
  ['path', 1, 'o'],
  ['interface', 2, 's'],
  ['member', 3, 's'],
  ['errorName', 4, 's'],
  ['replySerial', 5, 'u'],
  ['destination', 6, 's'],
  ['sender', 7, 's'],
  ['signature', 8, 'g'],
] as const;
const FIXED_HEADER_BYTES = 16;
const LITTLE_ENDIAN = 'l'.charCodeAt(0);
const BIG_ENDIAN = 'B'.charCodeAt(0);
/** The specification's own limit is 128 MiB; nothing that is read here comes near this. */
const MAX_MESSAGE_BYTES = 1 << 20;
const MAX_DEPTH = 16;

export class DBusFormatError extends Error {
  override readonly name = 'DBusFormatError';
}

export function encodeMessage(message: DBusMessage): Buffer {
  const body = new Writer();
  body.values(message.signature ?? '', message.body ?? []);
  const fields = FIELDS.flatMap(([name, code, signature]) => {
    const value = message[name];
    return value === undefined || value === '' ? [] : [[code, { signature, value }]];
  });
  const head = new Writer();
  head.values('yyyyuua(yv)', [
    ...[LITTLE_ENDIAN, TYPES.indexOf(message.type) + 1, 0, 1],
    ...[body.length, message.serial, fields],
  ]);
  head.align(8);
  return Buffer.concat([head.bytes(), body.bytes()]);
}

/** Takes one message off the front of `bytes`; undefined when it is not all there yet. @throws {DBusFormatError} */
export function decodeMessage(bytes: Buffer): { readonly message: DBusMessage; readonly size: number } | undefined {
  if (bytes.length < FIXED_HEADER_BYTES) return undefined;
  const endian = bytes[0];
  if (endian !== LITTLE_ENDIAN && endian !== BIG_ENDIAN) throw new DBusFormatError('unknown byte order');
  const little = endian === LITTLE_ENDIAN;
  const at = (offset: number) => (little ? bytes.readUInt32LE(offset) : bytes.readUInt32BE(offset));
  const [bodyBytes, fieldBytes] = [at(4), at(12)];
  const bodyStart = aligned(FIXED_HEADER_BYTES + fieldBytes, 8);
  const size = bodyStart + bodyBytes;
  if (size > MAX_MESSAGE_BYTES) throw new DBusFormatError(`a message of ${size} bytes`);
  if (bytes.length < size) return undefined;
  const head = new Reader(bytes.subarray(0, bodyStart), little).values('yyyyuua(yv)');
  const found = new Map((head[6] as [number, Variant][]).map(([code, { value }]) => [code, value]));
  const fields = FIELDS.flatMap(([name, code]) => (found.has(code) ? [[name, found.get(code)]] : []));
  const signature = String(found.get(8) ?? '');
  const type = TYPES[(head[1] as number) - 1];
  if (type === undefined) throw new DBusFormatError('unknown type of message');
  const body = new Reader(bytes.subarray(bodyStart, size), little).values(signature);
  return { message: { ...Object.fromEntries(fields), type, serial: head[5] as number, signature, body }, size };
}

/** Size and reader or writer of the types of fixed size. */
const FIXED: Readonly<Record<string, number>> = { y: 1, n: 2, q: 2, b: 4, i: 4, u: 4, h: 4, x: 8, t: 8, d: 8 };
const ALIGNMENT: Readonly<Record<string, number>> = { ...FIXED, s: 4, o: 4, g: 1, v: 1, a: 4, '(': 8, '{': 8 };

function aligned(offset: number, to: number): number {
  return Math.ceil(offset / to) * to;
}

/** The first complete type of `signature`, e.g. `a(yv)` of `a(yv)s`. */
function firstType(signature: string): string {
  const open = signature[0];
  if (open === 'a') return `a${firstType(signature.slice(1))}`;
  if (open !== '(' && open !== '{') {
    if (open === undefined || ALIGNMENT[open] === undefined)
      throw new DBusFormatError(`unknown type in "${signature}"`);
    return open;
  }
  let depth = 0;
  for (let i = 0; i < signature.length; i++) {
    if ('({'.includes(signature[i]!)) depth++;
    if (')}'.includes(signature[i]!) && --depth === 0) return signature.slice(0, i + 1);
  }
  throw new DBusFormatError(`"${signature}" does not end`);
}

function typesOf(signature: string): string[] {
  const types: string[] = [];
  for (let rest = signature; rest !== ''; rest = rest.slice(types.at(-1)!.length)) types.push(firstType(rest));
  return types;
}

class Writer {
  #parts = Buffer.alloc(256);
  length = 0;

  bytes(): Buffer {
    return this.#parts.subarray(0, this.length);
  }

  align(to: number): void {
    this.#grow(aligned(this.length, to) - this.length);
  }

  values(signature: string, values: readonly unknown[]): void {
    for (const [i, type] of typesOf(signature).entries()) this.#value(type, values[i]);
  }

  #value(type: string, value: unknown): void {
    const kind = type[0]!;
    this.align(ALIGNMENT[kind]!);
    if (kind === 'v') {
      const { signature, value: inner } = value as Variant;
      this.#value('g', signature);
      this.#value(signature, inner);
    } else if (kind === 'a') this.#array(type.slice(1), value as readonly unknown[]);
    else if (kind === '(' || kind === '{') this.values(type.slice(1, -1), value as readonly unknown[]);
    else if (kind === 's' || kind === 'o' || kind === 'g') this.#text(kind, String(value));
    else this.#number(kind, value);
  }

  #array(type: string, items: readonly unknown[]): void {
    const lengthAt = this.length;
    this.#grow(4);
    this.align(ALIGNMENT[type[0]!]!);
    const start = this.length;
    for (const item of items) this.#value(type, item);
    this.#parts.writeUInt32LE(this.length - start, lengthAt); // without what aligns the first item
  }

  #text(kind: string, text: string): void {
    const bytes = Buffer.from(text);
    if (kind === 'g') this.#number('y', bytes.length);
    else this.#number('u', bytes.length);
    const at = this.#grow(bytes.length + 1);
    bytes.copy(this.#parts, at);
  }

  #number(kind: string, value: unknown): void {
    const at = this.#grow(FIXED[kind]!);
    const to = this.#parts;
    if (kind === 'y') to.writeUInt8(Number(value), at);
    else if (kind === 'n') to.writeInt16LE(Number(value), at);
    else if (kind === 'q') to.writeUInt16LE(Number(value), at);
    else if (kind === 'i') to.writeInt32LE(Number(value), at);
    else if (kind === 'x') to.writeBigInt64LE(BigInt(value as bigint), at);
    else if (kind === 't') to.writeBigUInt64LE(BigInt(value as bigint), at);
    else if (kind === 'd') to.writeDoubleLE(Number(value), at);
    else to.writeUInt32LE(Number(value), at);
  }

  /** Room for `bytes` more, all zero. @returns where they begin. */
  #grow(bytes: number): number {
    const at = this.length;
    this.length += bytes;
    if (this.length > this.#parts.length) this.#parts = Buffer.concat([this.#parts, Buffer.alloc(this.length * 2)]);
    return at;
  }
}

class Reader {
  readonly #bytes: Buffer;
  readonly #little: boolean;
  #at = 0;

  constructor(bytes: Buffer, little: boolean) {
    this.#bytes = bytes;
    this.#little = little;
  }

  values(signature: string, depth = 0): unknown[] {
    return typesOf(signature).map((type) => this.#value(type, depth));
  }

  #value(type: string, depth: number): unknown {
    if (depth > MAX_DEPTH) throw new DBusFormatError('too deep');
    const kind = type[0]!;
    this.#at = aligned(this.#at, ALIGNMENT[kind]!);
    if (kind === 'v') {
      const signature = this.#text('g');
      return { signature, value: this.#value(firstType(signature), depth + 1) };
    }
    if (kind === 'a') return this.#array(type.slice(1), depth);
    if (kind === '(' || kind === '{') return this.values(type.slice(1, -1), depth + 1);
    if (kind === 's' || kind === 'o' || kind === 'g') return this.#text(kind);
    return this.#number(kind);
  }

  #array(type: string, depth: number): unknown[] {
    const length = this.#number('u') as number;
    this.#at = aligned(this.#at, ALIGNMENT[type[0]!]!);
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new DBusFormatError('an array that is longer than its message');
    const items: unknown[] = [];
    while (this.#at < end) items.push(this.#value(type, depth + 1));
    return items;
  }

  #text(kind: string): string {
    const length = this.#number(kind === 'g' ? 'y' : 'u') as number;
    const start = this.#take(length + 1);
    return this.#bytes.toString('utf8', start, start + length);
  }

  #number(kind: string): unknown {
    const [from, little] = [this.#bytes, this.#little];
    this.#at = aligned(this.#at, FIXED[kind]!);
    const at = this.#take(FIXED[kind]!);
    switch (kind) {
      case 'y':
        return from.readUInt8(at);
      case 'b':
        return (little ? from.readUInt32LE(at) : from.readUInt32BE(at)) !== 0;
      case 'n':
        return little ? from.readInt16LE(at) : from.readInt16BE(at);
      case 'q':
        return little ? from.readUInt16LE(at) : from.readUInt16BE(at);
      case 'i':
        return little ? from.readInt32LE(at) : from.readInt32BE(at);
      case 'x':
        return little ? from.readBigInt64LE(at) : from.readBigInt64BE(at);
      case 't':
        return little ? from.readBigUInt64LE(at) : from.readBigUInt64BE(at);
      case 'd':
        return little ? from.readDoubleLE(at) : from.readDoubleBE(at);
      default:
        return little ? from.readUInt32LE(at) : from.readUInt32BE(at);
    }
  }

  #take(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    if (this.#at > this.#bytes.length) throw new DBusFormatError('a value that reaches beyond its message');
    return at;
  }
}
