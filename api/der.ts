// Distinguished Encoding Rules (ITU-T X.690), as much of them as certificates need. Written out because the ready
// X.509 libraries cost 23 MB and 95 ms of every process that loads them, and node:crypto reads but cannot make.

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** One element: the content of its tag, and all its bytes. */
export interface DerNode {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag, length and content. */
  readonly raw: Uint8Array;
}

class DerError extends Error {
  override readonly name = 'DerError';
}

export function encode(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, c) => sum + c.length, 0);
  return concat([Uint8Array.of(tag, ...encodeLength(length)), ...contents]);
}

export const sequence = (...items: readonly Uint8Array[]): Uint8Array => encode(TAG.sequence, ...items);

/** A SET OF: DER wants its members in the order of their encodings. */
export function setOf(...items: readonly Uint8Array[]): Uint8Array {
  return encode(TAG.set, ...items.toSorted(compareBytes));
}

/** An explicit context tag, constructed. */
export const explicit = (number: number, ...items: readonly Uint8Array[]): Uint8Array =>
  encode(0xa0 | number, ...items);

export const utf8 = (text: string): Uint8Array => encode(TAG.utf8String, new TextEncoder().encode(text));

export const boolean = (value: boolean): Uint8Array => encode(TAG.boolean, Uint8Array.of(value ? 0xff : 0));

/** A non-negative integer from its big-endian bytes. */
export function unsignedInteger(bytes: Uint8Array): Uint8Array {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const trimmed = bytes.subarray(start);
  const negative = ((trimmed[0] ?? 0) & 0x80) !== 0;
  return encode(TAG.integer, negative ? concat([Uint8Array.of(0), trimmed]) : trimmed);
}

export const smallInteger = (value: number): Uint8Array => unsignedInteger(Uint8Array.of(value));

/** Whole bytes; `unusedBits` of the last one do not count. */
export const bitString = (bytes: Uint8Array, unusedBits = 0): Uint8Array =>
  encode(TAG.bitString, Uint8Array.of(unusedBits), bytes);

export function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const groups = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return encode(TAG.oid, Uint8Array.from(bytes));
}

/** UTCTime through 2049, GeneralizedTime after, as RFC 5280 4.1.2.5 asks. */
export function time(wallMs: number): Uint8Array {
  const iso = new Date(wallMs).toISOString();
  const digits = `${iso.slice(0, 19).replaceAll(/[-:T]/g, '')}Z`;
  const early = Number(iso.slice(0, 4)) < 2050;
  return encode(early ? TAG.utcTime : TAG.generalizedTime, new TextEncoder().encode(early ? digits.slice(2) : digits));
}

/**
 * The elements that follow each other in `bytes`.
 * @throws {DerError} for indefinite or overlong lengths and elements that reach beyond the end.
 */
export function readAll(bytes: Uint8Array): DerNode[] {
  const nodes: DerNode[] = [];
  for (let at = 0; at < bytes.length; ) {
    const node = readAt(bytes, at);
    nodes.push(node);
    at += node.raw.length;
  }
  return nodes;
}

/** Exactly one element of this tag and nothing behind it. @throws {DerError} */
export function readOne(bytes: Uint8Array, tag: number): DerNode {
  const [node, ...more] = readAll(bytes);
  if (node === undefined || more.length > 0 || node.tag !== tag)
    throw new DerError(`expected one element 0x${tag.toString(16)}`);
  return node;
}

export function readOid(node: DerNode): string {
  if (node.tag !== TAG.oid) throw new DerError('expected an object identifier');
  const arcs: number[] = [];
  let arc = 0;
  for (const byte of node.content) {
    arc = arc * 128 + (byte & 0x7f);
    if (byte & 0x80) continue;
    if (arcs.length === 0) arcs.push(Math.min(2, Math.floor(arc / 40)), arc - 40 * Math.min(2, Math.floor(arc / 40)));
    else arcs.push(arc);
    arc = 0;
  }
  return arcs.join('.');
}

export const readText = (node: DerNode): string => new TextDecoder().decode(node.content);

function readAt(bytes: Uint8Array, at: number): DerNode {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) throw new DerError('truncated or unusual tag');
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  // Four bytes of length are 4 GB: nobody's certificate.
  if (first === 0x80 || lengthBytes > 4) throw new DerError('length is indefinite or too long');
  let length = first < 0x80 ? first : 0;
  for (let i = 0; i < lengthBytes; i++) length = length * 256 + (bytes[at + 2 + i] ?? 0);
  const start = at + 2 + lengthBytes;
  if (start + length > bytes.length) throw new DerError('element reaches beyond the end');
  return { tag, content: bytes.subarray(start, start + length), raw: bytes.subarray(at, start + length) };
}

function encodeLength(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let left = length; left > 0; left = Math.floor(left / 256)) bytes.unshift(left & 0xff);
  return [0x80 | bytes.length, ...bytes];
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}
