// The messages of etcd's v3 API that are used here, by hand on the protobuf wire format (etcd api/etcdserverpb/rpc.proto
// and mvccpb/kv.proto). Lease ids are 64 bits wide and kept as decimal text.
import { type WireReader, WireWriter } from '../../api/protobuf-wire.ts';
import type { KeyEvent, KeyValue } from './kv.ts';

/** Fields by number, each already in bytes or a number; zero and empty ones are not sent. */
type Part = readonly [field: number, value: string | Uint8Array | bigint | number | undefined];

export function encode(...parts: readonly Part[]): Buffer {
  const w = new WireWriter();
  for (const [field, value] of parts) {
    if (value === undefined || value === 0 || value === 0n || value === '') continue;
    if (typeof value === 'string') {
      w.tag(field, 2);
      w.string(value);
    } else if (typeof value === 'object') {
      w.tag(field, 2);
      w.bytes(value);
    } else {
      w.tag(field, 0);
      w.integer(value);
    }
  }
  return w.finish();
}

/** Calls `read` for each field; what it does not take (returns false) is skipped. */
function decode(reader: WireReader, read: (field: number, r: WireReader) => boolean): void {
  while (!reader.done) {
    const tag = reader.tag();
    if (!read(tag >>> 3, reader)) reader.skip(tag & 7);
  }
}

/** The key just after every key that begins with `prefix`. Prefixes here end in an ASCII character. */
export function endOfPrefix(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
}

export function rangeRequest(key: string, rangeEnd = ''): Buffer {
  return encode([1, key], [2, rangeEnd]);
}

export function putRequest(key: string, value: string, leaseId: string): Buffer {
  return encode([1, key], [2, value], [3, BigInt(leaseId)]);
}

export type Condition = { readonly createdAt: 'never' } | { readonly modRevision: number };

/** "If the key is in this state, do this": `operation` is an encoded RequestOp. */
export function txnRequest(key: string, condition: Condition, operation: Buffer): Buffer {
  const compare =
    'createdAt' in condition
      ? // result EQUAL (0) and target VERSION (0) are zeros; version 0 itself must be sent: it is in a oneof
        Buffer.concat([encode([3, key]), Buffer.from([4 << 3, 0])])
      : encode([2, 2], [3, key], [6, condition.modRevision]); // target MOD
  return encode([1, compare], [2, operation]);
}

export const putOperation = (request: Buffer): Buffer => encode([2, request]);
export const deleteOperation = (key: string): Buffer => encode([3, encode([1, key])]);

/** `revision`: the first change that is wanted. */
export function watchCreateRequest(prefix: string, revision: number): Buffer {
  return encode([1, encode([1, prefix], [2, endOfPrefix(prefix)], [3, revision])]);
}

export interface RangeAnswer {
  readonly revision: number;
  readonly entries: readonly KeyValue[];
}

export function readRange(r: WireReader): RangeAnswer {
  let revision = 0;
  const entries: KeyValue[] = [];
  decode(r, (field, m) => {
    if (field === 1) revision = readHeader(m.message());
    else if (field === 2) entries.push(readKeyValue(m.message()));
    else return false;
    return true;
  });
  return { revision, entries };
}

/** Whether the condition held. */
export function readTxn(r: WireReader): boolean {
  let succeeded = false;
  decode(r, (field, m) => {
    if (field !== 2) return false;
    succeeded = m.bool();
    return true;
  });
  return succeeded;
}

/** LeaseGrantResponse and LeaseTimeToLiveResponse: the id, and the seconds that are left (−1: no such lease). */
export function readLease(r: WireReader): { readonly id: string; readonly ttlSeconds: number } {
  let [id, ttlSeconds] = ['0', 0];
  decode(r, (field, m) => {
    if (field === 2) id = String(m.bigint64());
    else if (field === 3) ttlSeconds = m.int64();
    else return false;
    return true;
  });
  return { id, ttlSeconds };
}

export interface WatchAnswer {
  readonly events: readonly KeyEvent[];
  readonly canceled: boolean;
  /** Non-zero: history before this revision is gone. */
  readonly compactRevision: number;
  readonly cancelReason: string;
}

export function readWatch(r: WireReader): WatchAnswer {
  const events: KeyEvent[] = [];
  let [canceled, compactRevision, cancelReason] = [false, 0, ''];
  decode(r, (field, m) => {
    if (field === 4) canceled = m.bool();
    else if (field === 5) compactRevision = m.int64();
    else if (field === 6) cancelReason = m.string();
    else if (field === 11) events.push(readEvent(m.message()));
    else return false;
    return true;
  });
  return { events, canceled, compactRevision, cancelReason };
}

export function readToken(r: WireReader): string {
  let token = '';
  decode(r, (field, m) => {
    if (field !== 2) return false;
    token = m.string();
    return true;
  });
  return token;
}

function readHeader(r: WireReader): number {
  let revision = 0;
  decode(r, (field, m) => {
    if (field !== 3) return false;
    revision = m.int64();
    return true;
  });
  return revision;
}

function readKeyValue(r: WireReader): KeyValue {
  let [key, value, createRevision, modRevision, leaseId] = ['', '', 0, 0, '0'];
  decode(r, (field, m) => {
    if (field === 1) key = m.string();
    else if (field === 2) createRevision = m.int64();
    else if (field === 3) modRevision = m.int64();
    else if (field === 5) value = m.string();
    else if (field === 6) leaseId = String(m.bigint64());
    else return false;
    return true;
  });
  return { key, value, createRevision, modRevision, leaseId };
}

function readEvent(r: WireReader): KeyEvent {
  let [isDelete, entry] = [false, undefined as KeyValue | undefined];
  decode(r, (field, m) => {
    if (field === 1) isDelete = m.uint32() === 1;
    else if (field === 2) entry = readKeyValue(m.message());
    else return false;
    return true;
  });
  const known = entry ?? { key: '', value: '', createRevision: 0, modRevision: 0, leaseId: '0' };
  return isDelete ? { type: 'delete', key: known.key } : { type: 'put', entry: known };
}
