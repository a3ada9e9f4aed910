// What the processes of a cgroup use, read from cgroup v1 or v2 (after opencontainers/cgroups and cadvisor's libcontainer
// handler). Reads are synchronous: a file of the kernel's takes 3 µs that way and thirty times as much event-loop time
// through the thread pool. Whoever reads hundreds of groups gives way between them.
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { errnoOf } from '../core/errors.ts';

/** CPU and memory: what every consumer asks for. */
export interface CgroupUse {
  readonly cpuNs: number;
  readonly memory: MemoryFigures;
}

/** Bytes, or counts of events. */
export interface MemoryFigures {
  readonly usageBytes: number;
  /** Usage less the file pages that were not used of late, never below 0. */
  readonly workingSetBytes: number;
  readonly rssBytes: number;
  readonly cacheBytes: number;
  readonly mappedBytes: number;
  readonly activeFileBytes: number;
  readonly inactiveFileBytes: number;
  readonly swapBytes: number;
  readonly pageFaults: number;
  readonly majorPageFaults: number;
  /** Of the group alone, without those below it. */
  readonly ownPageFaults: number;
  readonly ownMajorPageFaults: number;
}

export interface DeviceIo {
  readonly major: number;
  readonly minor: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly reads: number;
  readonly writes: number;
}

/** The rest of what /metrics/cadvisor shows. */
export interface CgroupDetails {
  readonly userNs: number;
  readonly systemNs: number;
  readonly maxUsageBytes: number;
  readonly kernelBytes: number;
  /** How often the group ran against its memory limit. */
  readonly failures: number;
  /** Processes that the kernel killed for it. */
  readonly oomKills: number;
  /** Threads, as the pids controller counts; undefined without it. */
  readonly threads: number | undefined;
  readonly io: readonly DeviceIo[];
}

export interface CpuThrottling {
  readonly periods: number;
  readonly throttledPeriods: number;
  readonly throttledNs: number;
}

/** What the group may use. */
export interface CgroupSpec {
  /** v1 shares; a weight of v2 is turned into them. */
  readonly cpuShares: number;
  readonly cpuPeriodUs: number;
  /** Undefined: no quota. */
  readonly cpuQuotaUs: number | undefined;
  /** Undefined: no limit. */
  readonly memoryLimitBytes: number | undefined;
  readonly memoryReservationBytes: number | undefined;
  /** Swap alone, beside memory. */
  readonly swapLimitBytes: number | undefined;
  readonly maxThreads: number | undefined;
}

export interface PressureLine {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  /** µs. */
  readonly total: number;
}

export interface Pressure {
  readonly some: PressureLine;
  readonly full: PressureLine;
}

export interface GroupPressure {
  readonly cpu: Pressure | undefined;
  readonly memory: Pressure | undefined;
  readonly io: Pressure | undefined;
}

/** Reads one group, whose name was joined to the hierarchies' mount points once. All throw ENOENT when it is gone. */
export interface CgroupReader {
  readonly name: string;
  /** Wall ms at which the group was made, as its directory says. */
  readonly createdAtMs: number;
  use(): CgroupUse;
  details(): CgroupDetails;
  /** Zeros where no quota was ever set. */
  throttling(): CpuThrottling;
  spec(): CgroupSpec;
  /** Undefined where the kernel does not tell (v1, or PSI off). */
  pressure(): GroupPressure | undefined;
  /** Processes in this very group. */
  pids(): readonly number[];
}

export interface CgroupSource {
  /** A reader for `name` (absolute, relative to the hierarchies' roots); undefined when there is no such group. */
  open(name: string): CgroupReader | undefined;
}

/** No limit that anybody set is larger (bytes). */
const UNLIMITED = 2 ** 62;

/** `max`, a negative number and what is too large to be meant are no limit. */
export function limitIn(text: string): number | undefined {
  const limit = text.startsWith('max') ? Number.NaN : Number.parseInt(text, 10);
  return Number.isNaN(limit) || limit < 0 || limit >= UNLIMITED ? undefined : limit;
}

/** The value behind `key` in a file of `key value` lines; 0 when it is not there. */
export function flatValue(text: string, key: string): number {
  let at = text.startsWith(`${key} `) ? 0 : text.indexOf(`\n${key} `);
  if (at < 0) return 0;
  if (at > 0) at += 1;
  return Number.parseInt(text.slice(at + key.length + 1, at + key.length + 22), 10) || 0;
}

export function parsePids(text: string): number[] {
  if (text === '') return [];
  const pids = text.trimEnd().split('\n').map(Number);
  return pids.filter((pid) => pid > 0); // 0: a process of another PID namespace
}

/**
 * Reads of one directory. Files that the group does not have are asked for once and then taken as empty. Another group
 * may have them: the parent enables controllers for its children alone, and the root has fewer files than all.
 */
export class GroupFiles {
  readonly #dir: string;
  readonly #missing = new Set<string>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** @throws ENOENT when the group is gone. */
  read(file: string): string {
    return readFileSync(`${this.#dir}/${file}`, 'utf8');
  }

  /**
   * '' when the group has no such file, or the kernel does not let it be read (EOPNOTSUPP: switched off).
   * @throws ENOENT when the group is gone; EMFILE, ENFILE: nothing is known then.
   */
  readOptional(file: string): string {
    if (this.#missing.has(file)) return '';
    try {
      return readFileSync(`${this.#dir}/${file}`, 'utf8');
    } catch (err) {
      const code = errnoOf(err);
      if (code === 'EMFILE' || code === 'ENFILE' || directoryTime(this.#dir) === undefined) throw err;
      if (code === 'ENOENT') this.#missing.add(file);
      return '';
    }
  }
}

/** When the directory was made or last changed, wall ms; undefined when there is none. */
export function directoryTime(dir: string): number | undefined {
  return statSync(dir, { throwIfNoEntry: false })?.mtimeMs;
}

export function groupDir(mount: string, name: string): string {
  return path.join(mount, name);
}
