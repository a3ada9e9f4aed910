// Answers as bytes: names compressed, cut where the client's limit is.
import { parseIp } from '../../api/cidr.ts';
import {
  CHECKING_DISABLED,
  CLASS_IN,
  EDNS_UDP_BYTES,
  FLAG,
  HEADER_BYTES,
  type Query,
  RCODE,
  RECURSION_AVAILABLE,
  TYPE,
} from './wire.ts';

/** Names are absolute, without the final dot; '' is the root. */
export type RecordData =
  | { readonly type: 'A' | 'AAAA'; readonly address: string }
  | { readonly type: 'CNAME' | 'NS' | 'PTR'; readonly target: string }
  | { readonly type: 'TXT'; readonly text: string }
  | {
      readonly type: 'SRV';
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: string;
    }
  | {
      readonly type: 'SOA';
      readonly primary: string;
      readonly mailbox: string;
      readonly serial: number;
      readonly refresh: number;
      readonly retry: number;
      readonly expire: number;
      readonly minimum: number;
    };

export interface DnsRecord {
  readonly name: string;
  /** Seconds. */
  readonly ttl: number;
  readonly data: RecordData;
}

export interface Answer {
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly answers: readonly DnsRecord[];
  readonly authority: readonly DnsRecord[];
  readonly additional: readonly DnsRecord[];
}

const OPT_BYTES = 11;

/**
 * The answer to `query` in at most `limit` bytes (512 or more). Answer records that do not fit are left out and TC is
 * set, so that the client asks again over TCP; additional records are left out silently (RFC 2181 section 9).
 */
export function encodeAnswer(query: Query, answer: Answer, limit: number): Buffer {
  const writer = new MessageWriter(query, query.edns === undefined ? limit : limit - OPT_BYTES);
  let truncated = false;
  let counts = [0, 0, 0];
  for (const [index, records] of [answer.answers, answer.authority, answer.additional].entries()) {
    if (truncated) break;
    const written = writer.addRecords(records);
    counts = counts.with(index, written);
    truncated = index < 2 && written < records.length;
  }
  if (query.edns !== undefined) {
    writer.addOpt(query.edns.dnssecOk);
    counts = counts.with(2, counts[2]! + 1);
  }
  const flags =
    (answer.authoritative ? FLAG.authoritative : 0) | (truncated ? FLAG.truncated : 0) | (answer.rcode & 0x0f);
  return writer.finish(flags, counts);
}

/** Refuses a message whose question is not echoed: it could not be read or need not be. */
export function encodeError(packet: Buffer, rcode: number): Buffer {
  const flags = packet.readUInt16BE(2) & (0x7800 | FLAG.recursionDesired | CHECKING_DISABLED);
  const extended = rcode > 0x0f;
  const answer = Buffer.alloc(HEADER_BYTES + (extended ? OPT_BYTES : 0));
  answer.writeUInt16BE(packet.readUInt16BE(0), 0);
  answer.writeUInt16BE(flags | FLAG.response | RECURSION_AVAILABLE | (rcode & 0x0f), 2);
  if (extended) {
    // The upper bits of the code are in an OPT record, where its TTL would be.
    answer.writeUInt16BE(1, 10);
    answer.writeUInt16BE(TYPE.OPT, HEADER_BYTES + 1);
    answer.writeUInt16BE(EDNS_UDP_BYTES, HEADER_BYTES + 3);
    answer.writeUInt8(rcode >> 4, HEADER_BYTES + 5);
  }
  return answer;
}

/** An answer without records. */
export function encodeEmpty(query: Query, rcode: number): Buffer {
  return encodeAnswer(query, { rcode, authoritative: false, answers: [], authority: [], additional: [] }, 512);
}

export const serverFailure = (query: Query): Buffer => encodeEmpty(query, RCODE.servFail);

/** Pointers have 14 bits. */
const MAX_POINTER = 0x3fff;

class MessageWriter {
  readonly #query: Query;
  readonly #limit: number;
  readonly #buffer: Buffer;
  /** Name → where it stands in the message. */
  readonly #names = new Map<string, number>();
  #length: number;

  constructor(query: Query, limit: number) {
    this.#query = query;
    this.#limit = limit;
    // One record more than the limit may be written before it is found not to fit.
    this.#buffer = Buffer.allocUnsafe(limit + OPT_BYTES + 1024);
    query.packet.copy(this.#buffer, 0, 0, query.questionEnd); // the question in the letter case it was asked in
    this.#length = query.questionEnd;
    let at = HEADER_BYTES;
    for (const [i, label] of query.question.labels.entries()) {
      // A dot inside a label would make this name look like another one.
      if (label.includes('.')) this.#names.clear();
      else this.#names.set(query.question.labels.slice(i).join('.'), at);
      at += label.length + 1;
    }
  }

  /** Writes records until one does not fit; returns how many were written. No names may follow what did not fit. */
  addRecords(records: readonly DnsRecord[]): number {
    for (const [i, record] of records.entries()) {
      const start = this.#length;
      this.#record(record);
      if (this.#length <= this.#limit) continue;
      this.#length = start;
      return i;
    }
    return records.length;
  }

  addOpt(dnssecOk: boolean): void {
    this.#buffer.writeUInt8(0, this.#length);
    this.#length += 1;
    this.#u16(TYPE.OPT);
    this.#u16(EDNS_UDP_BYTES);
    this.#u32(dnssecOk ? 0x8000 : 0);
    this.#u16(0);
  }

  finish(flags: number, counts: readonly number[]): Buffer {
    const echoed = this.#query.flags & (FLAG.recursionDesired | CHECKING_DISABLED);
    this.#buffer.writeUInt16BE(FLAG.response | RECURSION_AVAILABLE | echoed | flags, 2);
    for (const [i, count] of counts.entries()) this.#buffer.writeUInt16BE(count, 6 + 2 * i);
    return this.#buffer.subarray(0, this.#length);
  }

  #record({ name, ttl, data }: DnsRecord): void {
    this.#name(name);
    this.#u16(TYPE[data.type]);
    this.#u16(CLASS_IN);
    this.#u32(ttl);
    const lengthAt = this.#length;
    this.#length += 2;
    this.#data(data);
    this.#buffer.writeUInt16BE(this.#length - lengthAt - 2, lengthAt);
  }

  #data(data: RecordData): void {
    switch (data.type) {
      case 'A':
      case 'AAAA':
        this.#address(data.address, data.type === 'A' ? 4 : 16);
        return;
      case 'CNAME':
      case 'NS':
      case 'PTR':
        this.#name(data.target);
        return;
      case 'TXT':
        this.#label(data.text);
        return;
      case 'SRV':
        this.#u16(data.priority);
        this.#u16(data.weight);
        this.#u16(data.port);
        this.#name(data.target, false); // RFC 2782: the target is not compressed
        return;
      case 'SOA':
        this.#name(data.primary);
        this.#name(data.mailbox);
        for (const n of [data.serial, data.refresh, data.retry, data.expire, data.minimum]) this.#u32(n);
    }
  }

  #address(text: string, bytes: 4 | 16): void {
    let { value } = parseIp(text);
    for (let i = bytes - 1; i >= 0; i--) {
      this.#buffer[this.#length + i] = Number(value & 0xffn);
      value >>= 8n;
    }
    this.#length += bytes;
  }

  #name(name: string, compress = true): void {
    let rest = name;
    while (rest !== '') {
      const known = this.#names.get(rest.toLowerCase());
      if (compress && known !== undefined) {
        this.#u16(0xc000 | known);
        return;
      }
      if (known === undefined && this.#length <= MAX_POINTER) this.#names.set(rest.toLowerCase(), this.#length);
      const dot = rest.indexOf('.');
      this.#label(dot < 0 ? rest : rest.slice(0, dot));
      rest = dot < 0 ? '' : rest.slice(dot + 1);
    }
    this.#buffer.writeUInt8(0, this.#length);
    this.#length += 1;
  }

  #label(text: string): void {
    this.#buffer.writeUInt8(text.length, this.#length);
    this.#buffer.write(text, this.#length + 1, 'latin1');
    this.#length += 1 + text.length;
  }

  #u16(value: number): void {
    this.#buffer.writeUInt16BE(value, this.#length);
    this.#length += 2;
  }

  #u32(value: number): void {
    this.#buffer.writeUInt32BE(value >>> 0, this.#length);
    this.#length += 4;
  }
}
