// The kernel's log as it grows (/dev/kmsg; Documentation/ABI/testing/dev-kmsg). Node cannot wait for a character device
// without giving up a thread of its pool for good, so it is looked at now and then, without blocking: 2 µs a look.
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import { errnoOf } from '../core/errors.ts';

/** CONSOLE_EXT_LOG_MAX: a read with less room for the record is refused. Bytes. */
const RECORD_BYTES = 8192;
const LOOK_MS = 1_000;
/** Old records are many; other work gets its turn between so many. */
const RECORDS_PER_TURN = 100;

export interface KmsgRecord {
  /** Since the boot, µs. */
  readonly atUs: number;
  readonly text: string;
}

/**
 * The records from `sinceUs` (µs after the boot) on, until `signal` aborts. Records that were overwritten before they
 * could be read are missing. @throws when the device cannot be opened or read.
 */
export async function* followKmsg(
  sinceUs: number,
  clock: Clock,
  signal: AbortSignal,
  device = '/dev/kmsg',
): AsyncGenerator<KmsgRecord> {
  const fd = openSync(device, constants.O_RDONLY | constants.O_NONBLOCK);
  const buffer = Buffer.allocUnsafe(RECORD_BYTES);
  try {
    for (let read = 0; !signal.aborted; read++) {
      const text = readRecord(fd, buffer);
      if (text === undefined) await clock.sleep(LOOK_MS, signal);
      else if (read % RECORDS_PER_TURN === RECORDS_PER_TURN - 1) await setImmediate();
      const record = text === undefined ? undefined : parseKmsg(text);
      if (record !== undefined && record.atUs >= sinceUs) yield record;
    }
  } finally {
    closeSync(fd);
  }
}

/** Undefined when there is none now. */
function readRecord(fd: number, buffer: Buffer): string | undefined {
  try {
    const length = readSync(fd, buffer, 0, buffer.length, null);
    return length === 0 ? undefined : buffer.toString('utf8', 0, length);
  } catch (err) {
    if (errnoOf(err) === 'EAGAIN') return undefined;
    if (errnoOf(err) === 'EPIPE') return ''; // overwritten: the next read goes on behind the gap
    throw err;
  }
}

/** Pure: `6,339,5140900,-;text`, further lines (` SUBSYSTEM=…`) left out. Undefined for what is none of that form. */
export function parseKmsg(record: string): KmsgRecord | undefined {
  const match = /^\d+,\d+,(\d+),[^;\n]*;([^\n]*)/.exec(record);
  return match === null ? undefined : { atUs: Number(match[1]), text: match[2]! };
}
