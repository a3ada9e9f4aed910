// Values of D-Bus as bytes and back, little endian (D-Bus Specification, "Type System"). Only what systemd's interfaces
// use: no file descriptors. What comes in is checked for its length; a peer can send anything.
import { AgentError } from '../core/errors.ts';

/** A value that carries its own type. */
export class Variant {
  readonly signature: string;
  readonly value: DBusValue;

  constructor(signature: string, value: DBusValue) {
    this.signature = signature;
    this.value = value;
  }
}

/** Structs and dictionary entries are arrays of their fields; 64-bit numbers are bigints. */
export type DBusValue = number | bigint | string | boolean | Variant | readonly DBusValue[];

/** The specification's bound on arrays, bytes. */
const MAX_ARRAY = 64 * 1024 * 1024;
const MAX_DEPTH = 32;
const ALIGNMENT: Readonly<Record<string, number>> = {
  ...{ y: 1, g: 1, v: 1, n: 2, q: 2, b: 4, i: 4, u: 4, s: 4, o: 4, a: 4 },
  ...{ x: 8, t: 8, d: 8, '(': 8, '{': 8 },
};

/** `sa(sv)` → `s`, `a(sv)`. @throws {AgentError} DBUS_MALFORMED */
export function splitSignature(signature: string): string[] {
  const types: string[] = [];
  for (let at = 0; at < signature.length; ) {
    const end = typeEnd(signature, at, 0);
    types.push(signature.slice(at, end));
    at = end;
  }
  return types;
}

function typeEnd(signature: string, start: number, depth: number): number {
  const code = signature[start];
  if (code === undefined || ALIGNMENT[code] === undefined || depth > MAX_DEPTH) {
    throw malformed(`signature ${JSON.stringify(signature)}`);
  }
  if (code === 'a') return typeEnd(signature, start + 1, depth + 1);
  if (code !== '(' && code !== '{') return start + 1;
  const close = code === '(' ? ')' : '}';
  // Neither may be empty: values without bytes could be as many as one likes.
  let at = typeEnd(signature, start + 1, depth + 1);
  while (signature[at] !== close) at = typeEnd(signature, at, depth + 1);
  return at + 1;
}

/** The bytes of values of these types, as they stand at a position that is a multiple of 8. */
export function marshal(signature: string, values: readonly DBusValue[]): Buffer {
  const writer = new Writer();
  for (const [i, type] of splitSignature(signature).entries()) writer.value(type, values[i]!);
  return writer.bytes();
}

class Writer {
  #buffer = Buffer.alloc(256);
  #length = 0;

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  value(type: string, value: DBusValue): void {
    const code = type[0]!;
    this.#align(ALIGNMENT[code]!);
    if (code === 's' || code === 'o') this.#text(String(value), 4);
    else if (code === 'g') this.#text(String(value), 1);
    else if (code === 'a') this.#array(type.slice(1), value as readonly DBusValue[]);
    else if (code === 'v') {
      const { signature, value: inner } = value as Variant;
      this.#text(signature, 1);
      this.value(signature, inner);
    } else if (code === '(' || code === '{') {
      const fields = value as readonly DBusValue[];
      for (const [i, field] of splitSignature(type.slice(1, -1)).entries()) this.value(field, fields[i]!);
    } else this.#number(code, value as number | bigint | boolean);
  }

  #number(code: string, value: number | bigint | boolean): void {
    const size = ALIGNMENT[code]!;
    const at = this.#grow(size);
    if (code === 'y') this.#buffer.writeUInt8(Number(value), at);
    else if (code === 'n') this.#buffer.writeInt16LE(Number(value), at);
    else if (code === 'q') this.#buffer.writeUInt16LE(Number(value), at);
    else if (code === 'i') this.#buffer.writeInt32LE(Number(value), at);
    else if (code === 'b' || code === 'u') this.#buffer.writeUInt32LE(Number(value), at);
    else if (code === 'x') this.#buffer.writeBigInt64LE(BigInt(value), at);
    else if (code === 't') this.#buffer.writeBigUInt64LE(BigInt(value), at);
    else this.#buffer.writeDoubleLE(Number(value), at);
  }

  #text(text: string, lengthBytes: 1 | 4): void {
    const bytes = Buffer.from(text, 'utf8');
    const at = this.#grow(lengthBytes + bytes.length + 1); // a zero byte ends it
    this.#buffer.writeUIntLE(bytes.length, at, lengthBytes);
    bytes.copy(this.#buffer, at + lengthBytes);
  }

  #array(type: string, items: readonly DBusValue[]): void {
    const lengthAt = this.#grow(4);
    this.#align(ALIGNMENT[type[0]!]!); // not part of its length
    const start = this.#length;
    for (const item of items) this.value(type, item);
    this.#buffer.writeUInt32LE(this.#length - start, lengthAt);
  }

  #align(to: number): void {
    this.#grow((to - (this.#length % to)) % to);
  }

  /** Room for `bytes` zeros; returns where they begin. */
  #grow(bytes: number): number {
    const at = this.#length;
    this.#length += bytes;
    if (this.#length > this.#buffer.length) {
      this.#buffer = Buffer.concat([this.#buffer], Math.max(this.#length, this.#buffer.length * 2));
    }
    return at;
  }
}

/** @throws {AgentError} DBUS_MALFORMED when the bytes are not values of these types. */
export function unmarshal(signature: string, bytes: Buffer): DBusValue[] {
  const reader = new Reader(bytes);
  return splitSignature(signature).map((type) => reader.value(type, 0));
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  value(type: string, depth: number): DBusValue {
    if (depth > MAX_DEPTH) throw malformed('values nested too deep');
    const code = type[0]!;
    this.#align(ALIGNMENT[code]!);
    if (code === 's' || code === 'o') return this.#text(4);
    if (code === 'g') return this.#text(1);
    if (code === 'a') return this.#array(type.slice(1), depth);
    if (code === 'v') {
      const signature = this.#text(1);
      if (splitSignature(signature).length !== 1) throw malformed(`a variant of ${signature}`);
      return new Variant(signature, this.value(signature, depth + 1));
    }
    if (code === '(' || code === '{') {
      return splitSignature(type.slice(1, -1)).map((field) => this.value(field, depth + 1));
    }
    return this.#number(code);
  }

  #number(code: string): DBusValue {
    const at = this.#take(ALIGNMENT[code]!);
    if (code === 'y') return this.#bytes.readUInt8(at);
    if (code === 'n') return this.#bytes.readInt16LE(at);
    if (code === 'q') return this.#bytes.readUInt16LE(at);
    if (code === 'i') return this.#bytes.readInt32LE(at);
    if (code === 'b') return this.#bytes.readUInt32LE(at) !== 0;
    if (code === 'u') return this.#bytes.readUInt32LE(at);
    if (code === 'x') return this.#bytes.readBigInt64LE(at);
    if (code === 't') return this.#bytes.readBigUInt64LE(at);
    return this.#bytes.readDoubleLE(at);
  }

  #text(lengthBytes: 1 | 4): string {
    const length = this.#bytes.readUIntLE(this.#take(lengthBytes), lengthBytes);
    const at = this.#take(length + 1);
    return this.#bytes.toString('utf8', at, at + length);
  }

  #array(type: string, depth: number): DBusValue[] {
    const length = this.#bytes.readUInt32LE(this.#take(4));
    this.#align(ALIGNMENT[type[0]!]!);
    const end = this.#at + length;
    if (length > MAX_ARRAY || end > this.#bytes.length) throw malformed(`an array of ${length} bytes`);
    const items: DBusValue[] = [];
    while (this.#at < end) items.push(this.value(type, depth + 1));
    return items;
  }

  #align(to: number): void {
    this.#take((to - (this.#at % to)) % to);
  }

  #take(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    if (this.#at > this.#bytes.length) throw malformed('values that end too early');
    return at;
  }
}

function malformed(what: string): AgentError {
  return new AgentError(`D-Bus: cannot read ${what}`, { code: 'DBUS_MALFORMED' });
}
