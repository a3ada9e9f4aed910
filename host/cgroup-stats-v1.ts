// The files of cgroup v1: one directory per controller (Documentation/admin-guide/cgroup-v1).
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
  groupDir,
  limitIn,
  type MemoryFigures,
  parsePids,
} from './cgroup-stats.ts';

/** cpuacct.stat counts in these (USER_HZ), 100 per second on every Linux. */
const TICK_NS = 10_000_000;
const DEFAULT_PERIOD_US = 100_000;

export function v1Source({ mounts }: CgroupHierarchies): CgroupSource {
  return {
    open(name) {
      const dir = (controller: string) => {
        const mount = mounts.get(controller);
        return mount === undefined ? undefined : groupDir(mount, name);
      };
      const [cpuacct, memory] = [dir('cpuacct'), dir('memory')];
      if (cpuacct === undefined || memory === undefined) return undefined;
      const createdAtMs = directoryTime(memory);
      if (createdAtMs === undefined || directoryTime(cpuacct) === undefined) return undefined;
      const files = (at: string | undefined) => (at === undefined ? undefined : new GroupFiles(at));
      return new V1Reader(name, createdAtMs, {
        cpuacct: new GroupFiles(cpuacct),
        memory: new GroupFiles(memory),
        cpu: files(dir('cpu')),
        pids: files(dir('pids')),
        blkio: files(dir('blkio')),
      });
    },
  };
}

interface V1Files {
  readonly cpuacct: GroupFiles;
  readonly memory: GroupFiles;
  readonly cpu: GroupFiles | undefined;
  readonly pids: GroupFiles | undefined;
  readonly blkio: GroupFiles | undefined;
}

class V1Reader implements CgroupReader {
  readonly name: string;
  readonly createdAtMs: number;
  readonly #files: V1Files;

  constructor(name: string, createdAtMs: number, files: V1Files) {
    this.name = name;
    this.createdAtMs = createdAtMs;
    this.#files = files;
  }

  use(): CgroupUse {
    const { cpuacct, memory } = this.#files;
    return {
      cpuNs: Number.parseInt(cpuacct.read('cpuacct.usage'), 10),
      memory: memoryOfV1(memory.read('memory.stat'), Number.parseInt(memory.read('memory.usage_in_bytes'), 10)),
    };
  }

  details(): CgroupDetails {
    const { cpuacct, memory, pids, blkio } = this.#files;
    const ticks = cpuacct.readOptional('cpuacct.stat');
    const failures = numberIn(memory.readOptional('memory.failcnt'));
    const threads = pids?.readOptional('pids.current') ?? '';
    return {
      userNs: flatValue(ticks, 'user') * TICK_NS,
      systemNs: flatValue(ticks, 'system') * TICK_NS,
      maxUsageBytes: numberIn(memory.readOptional('memory.max_usage_in_bytes')),
      kernelBytes: numberIn(memory.readOptional('memory.kmem.usage_in_bytes')),
      failures,
      // The kernel kills for a limit only what has run against it.
      oomKills: failures === 0 ? 0 : flatValue(memory.readOptional('memory.oom_control'), 'oom_kill'),
      threads: threads === '' ? undefined : numberIn(threads),
      io: blkio === undefined ? [] : ioOf(blkio),
    };
  }

  throttling(): CpuThrottling {
    const text = this.#files.cpu?.readOptional('cpu.stat') ?? '';
    return {
      periods: flatValue(text, 'nr_periods'),
      throttledPeriods: flatValue(text, 'nr_throttled'),
      throttledNs: flatValue(text, 'throttled_time'),
    };
  }

  spec(): CgroupSpec {
    const { cpu, memory, pids } = this.#files;
    const memoryLimitBytes = limitIn(memory.readOptional('memory.limit_in_bytes'));
    const bothBytes = limitIn(memory.readOptional('memory.memsw.limit_in_bytes'));
    const swap = bothBytes === undefined ? undefined : Math.max(0, bothBytes - (memoryLimitBytes ?? 0));
    return {
      cpuShares: numberIn(cpu?.readOptional('cpu.shares') ?? ''),
      cpuPeriodUs: numberIn(cpu?.readOptional('cpu.cfs_period_us') ?? '') || DEFAULT_PERIOD_US,
      cpuQuotaUs: limitIn(cpu?.readOptional('cpu.cfs_quota_us') ?? ''),
      memoryLimitBytes,
      memoryReservationBytes: limitIn(memory.readOptional('memory.soft_limit_in_bytes')),
      swapLimitBytes: swap,
      maxThreads: limitIn(pids?.readOptional('pids.max') ?? ''),
    };
  }

  pressure(): undefined {
    return undefined; // only v2 accounts pressure per group
  }

  pids(): readonly number[] {
    return parsePids(this.#files.cpuacct.read('cgroup.procs'));
  }
}

/** The second file is not looked at where the first one says that there is nothing to see. */
function ioOf(blkio: GroupFiles): DeviceIo[] {
  const bytes = blkio.readOptional('blkio.throttle.io_service_bytes_recursive');
  return isIdle(bytes) ? [] : parseBlkio(bytes, blkio.readOptional('blkio.throttle.io_serviced_recursive'));
}

function numberIn(text: string): number {
  return Number.parseInt(text, 10) || 0;
}

/** Pure: with `total_`, values count what is below the group too. */
function memoryOfV1(stat: string, usageBytes: number): MemoryFigures {
  const inactiveFileBytes = flatValue(stat, 'total_inactive_file');
  return {
    usageBytes,
    workingSetBytes: Math.max(0, usageBytes - inactiveFileBytes),
    rssBytes: flatValue(stat, 'total_rss'),
    cacheBytes: flatValue(stat, 'total_cache'),
    mappedBytes: flatValue(stat, 'total_mapped_file'),
    activeFileBytes: flatValue(stat, 'total_active_file'),
    inactiveFileBytes,
    swapBytes: flatValue(stat, 'total_swap'),
    pageFaults: flatValue(stat, 'total_pgfault'),
    majorPageFaults: flatValue(stat, 'total_pgmajfault'),
    ownPageFaults: flatValue(stat, 'pgfault'),
    ownMajorPageFaults: flatValue(stat, 'pgmajfault'),
  };
}

/** v1 lists every device of the machine in every group: most groups have used none of them. */
const NO_IO = 'Total 0\n';

function isIdle(bytes: string): boolean {
  return bytes === '' || bytes === NO_IO || bytes.endsWith(`\n${NO_IO}`);
}

/** Pure: `8:0 Read 4096` lines of bytes and of operations. Devices that were not used are left out. */
export function parseBlkio(bytes: string, operations: string): DeviceIo[] {
  if (bytes === '' || bytes.endsWith(`\n${NO_IO}`) || bytes === NO_IO) return [];
  const devices = new Map<string, { -readonly [K in keyof DeviceIo]: DeviceIo[K] }>();
  const take = (text: string, read: 'readBytes' | 'reads', write: 'writeBytes' | 'writes') => {
    for (const line of text.split('\n')) {
      const [id = '', operation, value] = line.split(' ');
      if (value === undefined) continue; // the line of the sum names no device
      const [major, minor] = id.split(':').map(Number);
      let device = devices.get(id);
      if (device === undefined) {
        device = { major: major!, minor: minor!, readBytes: 0, writeBytes: 0, reads: 0, writes: 0 };
        devices.set(id, device);
      }
      if (operation === 'Read') device[read] = Number(value);
      if (operation === 'Write') device[write] = Number(value);
    }
  };
  take(bytes, 'readBytes', 'writeBytes');
  take(operations, 'reads', 'writes');
  return [...devices.values()].filter((d) => d.reads + d.writes > 0);
}
