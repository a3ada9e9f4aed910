// Queries as clients write them, for tests.
import { parseQuery, type Query } from './wire.ts';

export interface QueryParts {
  readonly id?: number;
  readonly flags?: number;
  readonly class?: number;
  /** UDP size of an OPT record. */
  readonly edns?: number;
}

export function queryPacket(name: string, type: number, parts: QueryParts = {}): Buffer {
  const labels = name === '' ? [] : name.split('.');
  const header = Buffer.alloc(12);
  header.writeUInt16BE(parts.id ?? 4711, 0);
  header.writeUInt16BE(parts.flags ?? 0x0100, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(parts.edns === undefined ? 0 : 1, 10);
  const encoded = labels.flatMap((l) => [Buffer.from([l.length]), Buffer.from(l, 'latin1')]);
  const tail = Buffer.from([0, type >> 8, type & 0xff, 0, parts.class ?? 1]);
  const opt =
    parts.edns === undefined ? [] : [Buffer.from([0, 0, 41, parts.edns >> 8, parts.edns & 0xff, 0, 0, 0, 0, 0, 0])];
  return Buffer.concat([header, ...encoded, tail, ...opt]);
}

export function query(name: string, type: number, parts: QueryParts = {}): Query {
  const parsed = parseQuery(queryPacket(name, type, parts));
  if (parsed.kind !== 'query') throw new Error(`not a query: ${parsed.kind}`);
  return parsed;
}

export const rcodeOf = (message: Buffer): number => message.readUInt16BE(2) & 0x0f;
export const isTruncated = (message: Buffer): boolean => (message.readUInt16BE(2) & 0x0200) !== 0;
export const answerCount = (message: Buffer): number => message.readUInt16BE(6);
