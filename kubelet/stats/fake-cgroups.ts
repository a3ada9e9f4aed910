// Cgroups in memory, for tests: those that were put there can be opened, and read until they are removed.
import type {
  CgroupDetails,
  CgroupReader,
  CgroupSource,
  CgroupSpec,
  GroupPressure,
  MemoryFigures,
} from '../../host/cgroup-stats.ts';

export interface FakeGroup {
  cpuNs: number;
  memory: MemoryFigures;
  details: CgroupDetails;
  spec: CgroupSpec;
  pids: readonly number[];
  pressure: GroupPressure | undefined;
  createdAtMs: number;
  /** How often its CPU and memory, and its details were read. */
  uses: number;
  detailReads: number;
}

const MEMORY: MemoryFigures = {
  usageBytes: 5000,
  workingSetBytes: 4000,
  rssBytes: 3000,
  cacheBytes: 1500,
  mappedBytes: 100,
  activeFileBytes: 500,
  inactiveFileBytes: 1000,
  swapBytes: 10,
  pageFaults: 70,
  majorPageFaults: 7,
  ownPageFaults: 60,
  ownMajorPageFaults: 6,
};
const DETAILS: CgroupDetails = {
  userNs: 2e9,
  systemNs: 1e9,
  maxUsageBytes: 6000,
  kernelBytes: 200,
  failures: 1,
  oomKills: 0,
  threads: 2,
  io: [],
};
const SPEC: CgroupSpec = {
  cpuShares: 2,
  cpuPeriodUs: 100_000,
  cpuQuotaUs: undefined,
  memoryLimitBytes: undefined,
  memoryReservationBytes: undefined,
  swapLimitBytes: undefined,
  maxThreads: undefined,
};

export class FakeCgroups implements CgroupSource {
  readonly groups = new Map<string, FakeGroup>();

  add(name: string, group: Partial<FakeGroup> = {}): FakeGroup {
    const made: FakeGroup = {
      cpuNs: 0,
      memory: MEMORY,
      details: DETAILS,
      spec: SPEC,
      pids: [],
      pressure: undefined,
      createdAtMs: 0,
      uses: 0,
      detailReads: 0,
      ...group,
    };
    this.groups.set(name, made);
    return made;
  }

  open(name: string): CgroupReader | undefined {
    const opened = this.groups.get(name);
    if (opened === undefined) return undefined;
    const group = () => {
      const found = this.groups.get(name);
      if (found === undefined) throw Object.assign(new Error(`no group ${name}`), { code: 'ENOENT' });
      return found;
    };
    return {
      name,
      createdAtMs: opened.createdAtMs,
      use: () => {
        group().uses += 1;
        return { cpuNs: group().cpuNs, memory: group().memory };
      },
      details: () => {
        group().detailReads += 1;
        return group().details;
      },
      throttling: () => ({ periods: 10, throttledPeriods: 4, throttledNs: 2e9 }),
      spec: () => group().spec,
      pressure: () => group().pressure,
      pids: () => group().pids,
    };
  }
}
