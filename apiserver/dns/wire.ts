// DNS messages as they arrive (RFC 1035 section 4, RFC 6891): only what a server must understand of a query, and what a
// forwarder must of an answer. A codec of our own rather than dns-packet's: that one neither compresses names, which
// decides how many addresses fit in 512 bytes, nor leaves the bytes of foreign answers as they are.

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

export const CLASS_IN = 1;

export const RCODE = {
  noError: 0,
  formErr: 1,
  servFail: 2,
  nxDomain: 3,
  notImp: 4,
  refused: 5,
  badVersion: 16,
} as const;

export const HEADER_BYTES = 12;
/** What a UDP client takes that sent no OPT record (RFC 1035 section 4.2.1). */
export const PLAIN_UDP_BYTES = 512;
/** What passes every common path in one piece (DNS flag day 2020); offered to clients and the most that is sent. */
export const EDNS_UDP_BYTES = 1232;
const MAX_NAME_BYTES = 255;
const MAX_LABEL_BYTES = 63;

export const FLAG = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursionDesired: 0x0100 } as const;
export const RECURSION_AVAILABLE = 0x0080;
export const CHECKING_DISABLED = 0x0010;
const OPCODE_MASK = 0x7800;

export interface Question {
  /** Labels in lower case, without the root; bytes above 127 as Latin-1. */
  readonly labels: readonly string[];
  readonly type: number;
  readonly class: number;
}

export interface Edns {
  readonly udpBytes: number;
  readonly dnssecOk: boolean;
}

export interface Query {
  readonly kind: 'query';
  /** The whole message, for passing on. */
  readonly packet: Buffer;
  readonly id: number;
  readonly flags: number;
  readonly question: Question;
  /** Where the question ends in `packet`. */
  readonly questionEnd: number;
  readonly edns?: Edns;
}

/** A message that is answered with an error only, or (`drop`) not at all. */
export type Unusable = { readonly kind: 'drop' } | { readonly kind: 'error'; readonly rcode: number };

/** Reads a query. Never throws: what cannot be read says how to refuse it. */
export function parseQuery(packet: Buffer): Query | Unusable {
  if (packet.length < HEADER_BYTES) return { kind: 'drop' };
  const flags = packet.readUInt16BE(2);
  // To answer an answer would let two servers talk to each other for ever.
  if ((flags & FLAG.response) !== 0) return { kind: 'drop' };
  if ((flags & OPCODE_MASK) !== 0) return { kind: 'error', rcode: RCODE.notImp };
  try {
    return readQuery(packet, flags);
  } catch (err) {
    if (err instanceof MalformedMessage) return { kind: 'error', rcode: RCODE.formErr };
    throw err;
  }
}

function readQuery(packet: Buffer, flags: number): Query | Unusable {
  if (packet.readUInt16BE(4) !== 1) throw new MalformedMessage();
  const name = readName(packet, HEADER_BYTES, 'plain');
  const questionEnd = name.end + 4;
  if (questionEnd > packet.length) throw new MalformedMessage();
  let edns: (Edns & { readonly version: number }) | undefined;
  const end = walkRecords(packet, questionEnd, (record) => {
    if (record.type !== TYPE.OPT) return;
    if (edns !== undefined) throw new MalformedMessage(); // RFC 6891 6.1.1: at most one
    const extended = packet.readUInt32BE(record.ttlOffset);
    edns = { udpBytes: record.class, version: (extended >>> 16) & 0xff, dnssecOk: (extended & 0x8000) !== 0 };
  });
  if (end !== packet.length) throw new MalformedMessage();
  if (edns !== undefined && edns.version !== 0) return { kind: 'error', rcode: RCODE.badVersion };
  return {
    kind: 'query',
    packet,
    id: packet.readUInt16BE(0),
    flags,
    question: {
      labels: name.labels,
      type: packet.readUInt16BE(name.end),
      class: packet.readUInt16BE(name.end + 2),
    },
    questionEnd,
    ...(edns === undefined ? {} : { edns }),
  };
}

export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage';
}

/** One resource record's place in a message. */
export interface RecordView {
  readonly section: 'answer' | 'authority' | 'additional';
  readonly nameOffset: number;
  readonly type: number;
  readonly class: number;
  readonly ttlOffset: number;
  readonly dataOffset: number;
  readonly dataEnd: number;
}

/**
 * Calls `visit` for every record after the question, as the header counts them; returns where the last one ends.
 * @throws {MalformedMessage}
 */
export function walkRecords(packet: Buffer, from: number, visit: (record: RecordView) => void): number {
  let at = from;
  for (const [section, countOffset] of SECTIONS) {
    for (let left = packet.readUInt16BE(countOffset); left > 0; left--) {
      const nameEnd = skipName(packet, at);
      const dataOffset = nameEnd + 10;
      if (dataOffset > packet.length) throw new MalformedMessage();
      const dataEnd = dataOffset + packet.readUInt16BE(nameEnd + 8);
      if (dataEnd > packet.length) throw new MalformedMessage();
      visit({
        section,
        nameOffset: at,
        type: packet.readUInt16BE(nameEnd),
        class: packet.readUInt16BE(nameEnd + 2),
        ttlOffset: nameEnd + 4,
        dataOffset,
        dataEnd,
      });
      at = dataEnd;
    }
  }
  return at;
}

const SECTIONS = [
  ['answer', 6],
  ['authority', 8],
  ['additional', 10],
] as const;

/**
 * Reads the name at `offset`. `compressed` names may point backwards (RFC 1035 section 4.1.4), each time further back,
 * so that no chain of pointers is endless; a question's name has nothing to point to.
 * @throws {MalformedMessage}
 */
export function readName(
  packet: Buffer,
  offset: number,
  form: 'plain' | 'compressed',
): { readonly labels: readonly string[]; readonly end: number } {
  const labels: string[] = [];
  let [at, bytes, limit] = [offset, 1, offset];
  let end: number | undefined;
  for (;;) {
    const length = byteAt(packet, at);
    if (length >= 0xc0) {
      const target = ((length & 0x3f) << 8) | byteAt(packet, at + 1);
      if (form === 'plain' || target >= limit) throw new MalformedMessage();
      end ??= at + 2;
      at = target;
      limit = target;
      continue;
    }
    if (length > MAX_LABEL_BYTES) throw new MalformedMessage();
    if (length === 0) return { labels, end: end ?? at + 1 };
    bytes += length + 1;
    if (bytes > MAX_NAME_BYTES || at + 1 + length > packet.length) throw new MalformedMessage();
    labels.push(lowerAscii(packet.toString('latin1', at + 1, at + 1 + length)));
    at += length + 1;
  }
}

function skipName(packet: Buffer, offset: number): number {
  let at = offset;
  for (;;) {
    const length = byteAt(packet, at);
    if (length >= 0xc0) return at + 2;
    if (length > MAX_LABEL_BYTES) throw new MalformedMessage();
    if (length === 0) return at + 1;
    at += length + 1;
  }
}

function byteAt(packet: Buffer, at: number): number {
  const byte = packet[at];
  if (byte === undefined) throw new MalformedMessage();
  return byte;
}

/** DNS compares ASCII letters only without case (RFC 4343); `toLowerCase` alone would fold Latin-1 letters as well. */
function lowerAscii(label: string): string {
  return label.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
