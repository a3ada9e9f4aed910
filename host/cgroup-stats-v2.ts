// The files of cgroup v2: one directory for all controllers (Documentation/admin-guide/cgroup-v2.rst).
import { readFileSync } from 'node:fs';
import type { CgroupHierarchies } from './cgroup.ts';
import {
  type CgroupDetails,
  type CgroupReader,
  type CgroupSource,
  type CgroupSpec,
  type CgroupUse,
  type CpuThrottling,
  type DeviceIo,
  directoryTime,
  flatValue,
  GroupFiles,
  type GroupPressure,
  groupDir,
  limitIn,
  type MemoryFigures,
  type Pressure,
  type PressureLine,
  parsePids,
} from './cgroup-stats.ts';

const DEFAULT_PERIOD_US = 100_000;

/** `meminfo` stands in for what the root group does not tell. */
export function v2Source({ mounts }: CgroupHierarchies, meminfo = '/proc/meminfo'): CgroupSource {
  return {
    open(name) {
      const mount = mounts.get('unified');
      if (mount === undefined) return undefined;
      const dir = groupDir(mount, name);
      const createdAtMs = directoryTime(dir);
      if (createdAtMs === undefined) return undefined;
      return new V2Reader(name, createdAtMs, new GroupFiles(dir), name === '/' ? meminfo : undefined);
    },
  };
}

class V2Reader implements CgroupReader {
  readonly name: string;
  readonly createdAtMs: number;
  readonly #files: GroupFiles;
  /** Of the root alone. */
  readonly #meminfo: string | undefined;
  /** What `use` has seen of the details: their files are read once for both. */
  #seen: Pick<CgroupDetails, 'userNs' | 'systemNs' | 'kernelBytes'> | undefined;

  constructor(name: string, createdAtMs: number, files: GroupFiles, meminfo: string | undefined) {
    this.name = name;
    this.createdAtMs = createdAtMs;
    this.#files = files;
    this.#meminfo = meminfo;
  }

  use(): CgroupUse {
    const stat = this.#files.read('memory.stat');
    const memory =
      this.#meminfo === undefined
        ? memoryOfV2(
            stat,
            numberIn(this.#files.read('memory.current')),
            numberIn(this.#files.readOptional('memory.swap.current')),
          )
        : memoryOfV2(stat, flatValue(stat, 'anon') + flatValue(stat, 'file'), usedSwap(this.#meminfo));
    const cpu = this.#files.read('cpu.stat');
    this.#seen = {
      userNs: flatValue(cpu, 'user_usec') * 1000,
      systemNs: flatValue(cpu, 'system_usec') * 1000,
      kernelBytes: flatValue(stat, 'kernel'),
    };
    return { cpuNs: flatValue(cpu, 'usage_usec') * 1000, memory };
  }

  details(): CgroupDetails {
    const files = this.#files;
    if (this.#seen === undefined) this.use();
    const events = files.readOptional('memory.events');
    const threads = files.readOptional('pids.current');
    return {
      ...this.#seen!,
      maxUsageBytes: numberIn(files.readOptional('memory.peak')),
      failures: flatValue(events, 'max'),
      oomKills: flatValue(events, 'oom_kill'),
      threads: threads === '' ? undefined : numberIn(threads),
      io: parseIoStat(files.readOptional('io.stat')),
    };
  }

  throttling(): CpuThrottling {
    const text = this.#files.read('cpu.stat');
    return {
      periods: flatValue(text, 'nr_periods'),
      throttledPeriods: flatValue(text, 'nr_throttled'),
      throttledNs: flatValue(text, 'throttled_usec') * 1000,
    };
  }

  spec(): CgroupSpec {
    const files = this.#files;
    const [quota = 'max', period = ''] = files.readOptional('cpu.max').split(' ');
    const reserved = limitIn(files.readOptional('memory.min'));
    return {
      cpuShares: sharesOfWeight(numberIn(files.readOptional('cpu.weight'))),
      cpuPeriodUs: numberIn(period) || DEFAULT_PERIOD_US,
      cpuQuotaUs: limitIn(quota),
      memoryLimitBytes: limitIn(files.readOptional('memory.max')),
      memoryReservationBytes: reserved === 0 ? undefined : reserved,
      swapLimitBytes: limitIn(files.readOptional('memory.swap.max')),
      maxThreads: limitIn(files.readOptional('pids.max')),
    };
  }

  pressure(): GroupPressure | undefined {
    const cpu = parsePressure(this.#files.readOptional('cpu.pressure'));
    if (cpu === undefined) return undefined;
    return {
      cpu,
      memory: parsePressure(this.#files.readOptional('memory.pressure')),
      io: parsePressure(this.#files.readOptional('io.pressure')),
    };
  }

  pids(): readonly number[] {
    return parsePids(this.#files.readOptional('cgroup.procs')); // not readable in a threaded group
  }
}

function numberIn(text: string): number {
  return Number.parseInt(text, 10) || 0;
}

function usedSwap(meminfo: string): number {
  const text = readFileSync(meminfo, 'utf8');
  const kib = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
  return (kib('SwapTotal') - kib('SwapFree')) * 1024;
}

/** Pure. */
function memoryOfV2(stat: string, usageBytes: number, swapBytes: number): MemoryFigures {
  const inactiveFileBytes = flatValue(stat, 'inactive_file');
  const [pageFaults, majorPageFaults] = [flatValue(stat, 'pgfault'), flatValue(stat, 'pgmajfault')];
  return {
    usageBytes,
    workingSetBytes: Math.max(0, usageBytes - inactiveFileBytes),
    rssBytes: flatValue(stat, 'anon'),
    cacheBytes: flatValue(stat, 'file'),
    mappedBytes: flatValue(stat, 'file_mapped'),
    activeFileBytes: flatValue(stat, 'active_file'),
    inactiveFileBytes,
    swapBytes,
    pageFaults,
    majorPageFaults,
    ownPageFaults: pageFaults, // v2 does not tell them apart
    ownMajorPageFaults: majorPageFaults,
  };
}

/** Pure: lines as `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`. */
export function parseIoStat(text: string): DeviceIo[] {
  const devices: DeviceIo[] = [];
  for (const line of text.split('\n')) {
    const match = /^(\d+):(\d+) (.*)$/.exec(line);
    if (match === null) continue;
    const values = new Map(match[3]!.split(' ').map((pair) => pair.split('=') as [string, string]));
    const value = (key: string) => Number(values.get(key) ?? 0);
    devices.push({
      major: Number(match[1]),
      minor: Number(match[2]),
      readBytes: value('rbytes'),
      writeBytes: value('wbytes'),
      reads: value('rios'),
      writes: value('wios'),
    });
  }
  return devices;
}

const SOME = /^some avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)/m;
const FULL = /^full avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)/m;
const NO_PRESSURE: PressureLine = { avg10: 0, avg60: 0, avg300: 0, total: 0 };

/** Pure: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and `full` likewise. Undefined for an empty text. */
export function parsePressure(text: string): Pressure | undefined {
  const line = (pattern: RegExp): PressureLine | undefined => {
    const match = pattern.exec(text);
    if (match === null) return undefined;
    const [avg10, avg60, avg300, total] = match.slice(1).map(Number) as [number, number, number, number];
    return { avg10, avg60, avg300, total };
  };
  const some = line(SOME);
  return some && { some, full: line(FULL) ?? NO_PRESSURE };
}

/** Pure: 1 → 2, 10000 → 262144; 0 (no such file) → 0. */
export function sharesOfWeight(weight: number): number {
  return weight === 0 ? 0 : 2 + Math.floor(((weight - 1) * 262_142) / 9999);
}
