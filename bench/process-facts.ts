// What a process uses, from /proc (proc(5)).
import { readFile } from 'node:fs/promises';

export interface MemoryFacts {
  readonly rssMB: number;
  /** Its share of pages that several processes map; undefined where the kernel does not say. */
  readonly pssMB: number | undefined;
  /** Memory that is its own alone. */
  readonly anonMB: number | undefined;
}

export async function memoryOf(pid: number): Promise<MemoryFacts> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
  return {
    rssMB: megabytes(status, 'VmRSS') ?? Number.NaN,
    pssMB: megabytes(rollup, 'Pss'),
    anonMB: megabytes(rollup, 'Pss_Anon'),
  };
}

/** MB of 10^6 bytes; the kernel counts in KiB. */
function megabytes(text: string, field: string): number | undefined {
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1];
  return kib === undefined ? undefined : (Number(kib) * 1024) / 1e6;
}

const TICKS_PER_SECOND = 100; // USER_HZ, fixed by the kernel's ABI

/** CPU time used so far by all threads, user and system, s; with that of children that have ended when asked for. */
export async function cpuSecondsOf(pid: number, children?: 'with children'): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const wanted = fields.slice(11, children === undefined ? 13 : 15); // utime, stime, cutime, cstime
  return wanted.reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_PER_SECOND;
}
