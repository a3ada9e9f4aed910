// Foreign answers for as long as they may be kept, as the bytes they came in: what a validating client needs (DNSSEC
// records, AD) passes through untouched.
import type { Clock } from '../../core/clock.ts';
import { FLAG, HEADER_BYTES, MalformedMessage, type Query, RCODE, TYPE, walkRecords } from './wire.ts';

/** Longest time an answer is kept, s: CoreDNS's `cache 30`. */
const MAX_TTL = 30;
const MAX_ENTRIES = 4096;
/** Larger answers are rare and not worth their room. */
const MAX_ANSWER_BYTES = 4096;

interface Entry {
  readonly answer: Buffer;
  readonly ttlOffsets: readonly number[];
  readonly storedMs: number;
  readonly expiresMs: number;
}

export class AnswerCache {
  readonly #entries = new Map<string, Entry>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A copy for this query: its id, its question's letter case, TTLs less the time passed. */
  get(query: Query): Buffer | undefined {
    const key = keyOf(query);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs >= entry.expiresMs) {
      this.#entries.delete(key);
      return undefined;
    }
    const answer = Buffer.from(entry.answer);
    query.packet.copy(answer, 0, 0, 2);
    query.packet.copy(answer, HEADER_BYTES, HEADER_BYTES, query.questionEnd);
    const ageS = Math.floor((nowMs - entry.storedMs) / 1000);
    for (const offset of entry.ttlOffsets) {
      answer.writeUInt32BE(Math.max(0, answer.readUInt32BE(offset) - ageS), offset);
    }
    return answer;
  }

  /** Keeps `answer` if it may be kept. */
  set(query: Query, answer: Buffer): void {
    const lifetime = lifetimeOf(query, answer);
    if (lifetime === undefined || lifetime.ttl === 0 || answer.length > MAX_ANSWER_BYTES) return;
    const [oldest] = this.#entries.keys();
    if (this.#entries.size >= MAX_ENTRIES && oldest !== undefined) this.#entries.delete(oldest);
    const storedMs = this.#clock.monotonicMs();
    this.#entries.set(keyOf(query), {
      answer: Buffer.from(answer),
      ttlOffsets: lifetime.ttlOffsets,
      storedMs,
      expiresMs: storedMs + lifetime.ttl * 1000,
    });
  }
}

/** All that a server may answer by: everything but the id, with the name in lower case. */
function keyOf({ packet, question, questionEnd }: Query): string {
  return `${packet.toString('latin1', 2, HEADER_BYTES)}${question.labels.join('\0')}\0${packet.toString('latin1', questionEnd - 4)}`;
}

/** Seconds an answer may be kept, at most MAX_TTL; undefined for failures and for what says nothing about itself. */
function lifetimeOf(query: Query, answer: Buffer): { ttl: number; ttlOffsets: number[] } | undefined {
  const flags = answer.readUInt16BE(2);
  const rcode = flags & 0x0f;
  if ((flags & FLAG.truncated) !== 0 || (rcode !== RCODE.noError && rcode !== RCODE.nxDomain)) return undefined;
  const ttlOffsets: number[] = [];
  let ttl = MAX_TTL;
  let [answers, hasSoa] = [0, false];
  try {
    walkRecords(answer, query.questionEnd, (record) => {
      if (record.type === TYPE.OPT) return;
      ttlOffsets.push(record.ttlOffset);
      ttl = Math.min(ttl, answer.readUInt32BE(record.ttlOffset));
      if (record.section === 'answer') answers++;
      if (record.section !== 'authority' || record.type !== TYPE.SOA || record.dataEnd - record.dataOffset < 4) return;
      hasSoa = true;
      ttl = Math.min(ttl, answer.readUInt32BE(record.dataEnd - 4)); // MINIMUM, RFC 2308 section 5
    });
  } catch (err) {
    if (err instanceof MalformedMessage) return undefined;
    throw err;
  }
  return answers > 0 || hasSoa ? { ttl, ttlOffsets } : undefined;
}
