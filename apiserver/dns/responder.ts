// From a message to its answer: who is asked, the cluster's zone or a server upstream, and how it is put on the wire.
import { formatIp } from '../../api/cidr.ts';
import type { Forwarder } from './forward.ts';
import { limitAnswer } from './forward.ts';
import { type DnsRecord, encodeAnswer, encodeEmpty, encodeError } from './message-writer.ts';
import type { ClusterZone, ZoneAnswer } from './records.ts';
import {
  CLASS_IN,
  EDNS_UDP_BYTES,
  HEADER_BYTES,
  MalformedMessage,
  PLAIN_UDP_BYTES,
  parseQuery,
  type Query,
  RCODE,
  readName,
  TYPE,
  walkRecords,
} from './wire.ts';

/** Longest a followed CNAME's addresses may be kept, s. */
const MAX_FOREIGN_TTL = 30;

export class Responder {
  readonly #zone: Pick<ClusterZone, 'answer'>;
  readonly #forwarder: Pick<Forwarder, 'resolve'>;

  constructor(zone: Pick<ClusterZone, 'answer'>, forwarder: Pick<Forwarder, 'resolve'>) {
    this.#zone = zone;
    this.#forwarder = forwarder;
  }

  /**
   * The answer to one message in at most `limit` bytes (TCP) or what the client takes over UDP; undefined when there is
   * nothing to say. A promise only where an upstream must be asked, so that the zone's own answers cost no turn.
   */
  respond(packet: Buffer, limit: number | 'udp', signal: AbortSignal): Buffer | undefined | Promise<Buffer> {
    const query = parseQuery(packet);
    if (query.kind === 'drop') return undefined;
    if (query.kind === 'error') return encodeError(packet, query.rcode);
    const { type, class: klass } = query.question;
    if (klass !== CLASS_IN || type === TYPE.AXFR || type === TYPE.IXFR) return encodeEmpty(query, RCODE.refused);
    const bytes = limit === 'udp' ? udpLimit(query) : limit;
    const answer = this.#zone.answer(query.question);
    if (answer === undefined) return this.#forward(query, bytes, signal);
    if (answer.chase !== undefined) return this.#follow(query, answer, answer.chase, bytes, signal);
    return encodeAnswer(query, answer, bytes);
  }

  async #forward(query: Query, limit: number, signal: AbortSignal): Promise<Buffer> {
    return limitAnswer(query, await this.#forwarder.resolve(query, signal), limit);
  }

  /** Appends the addresses of the name a CNAME leads to. Without them the client may ask for them itself. */
  async #follow(query: Query, answer: ZoneAnswer, target: string, limit: number, signal: AbortSignal): Promise<Buffer> {
    const { type } = query.question;
    if (type !== TYPE.A && type !== TYPE.AAAA) return encodeAnswer(query, answer, limit);
    const asked = addressQuery(query.id, target, type);
    const found = addressesIn(asked, await this.#forwarder.resolve(asked, signal));
    return encodeAnswer(query, { ...answer, answers: [...answer.answers, ...found] }, limit);
  }
}

function udpLimit({ edns }: Query): number {
  return edns === undefined ? PLAIN_UDP_BYTES : Math.min(EDNS_UDP_BYTES, Math.max(PLAIN_UDP_BYTES, edns.udpBytes));
}

/** A recursive question of our own. */
function addressQuery(id: number, name: string, type: number): Query {
  const labels = name.split('.');
  const encoded = labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, 'latin1')]);
  const header = Buffer.from([id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  const packet = Buffer.concat([header, ...encoded, Buffer.from([0, 0, type, 0, CLASS_IN])]);
  const question = { labels, type, class: CLASS_IN };
  return { kind: 'query', packet, id, flags: 0x0100, question, questionEnd: packet.length };
}

/** Addresses and the CNAMEs that lead to them; nothing from an answer that cannot be read. */
function addressesIn(query: Query, answer: Buffer): DnsRecord[] {
  const found: DnsRecord[] = [];
  try {
    if (answer.length < HEADER_BYTES) return [];
    walkRecords(answer, query.questionEnd, (record) => {
      if (record.section !== 'answer' || record.class !== CLASS_IN) return;
      const name = readName(answer, record.nameOffset, 'compressed').labels.join('.');
      const ttl = Math.min(MAX_FOREIGN_TTL, answer.readUInt32BE(record.ttlOffset));
      if (record.type === TYPE.CNAME) {
        const target = readName(answer, record.dataOffset, 'compressed').labels.join('.');
        found.push({ name, ttl, data: { type: 'CNAME', target } });
      } else if (record.type === query.question.type) {
        const data = answer.subarray(record.dataOffset, record.dataEnd);
        const isV4 = record.type === TYPE.A;
        if (data.length !== (isV4 ? 4 : 16)) throw new MalformedMessage();
        const address = formatIp({ version: isV4 ? 4 : 6, value: BigInt(`0x${data.toString('hex')}`) });
        found.push({ name, ttl, data: { type: isV4 ? 'A' : 'AAAA', address } });
      }
    });
  } catch (err) {
    if (err instanceof MalformedMessage) return [];
    throw err;
  }
  return found;
}
