// What is known of one cgroup: its two newest samples, and what only some endpoints ask for.
import type {
  CgroupDetails,
  CgroupReader,
  CgroupSpec,
  CgroupUse,
  CpuThrottling,
  GroupPressure,
} from '../../host/cgroup-stats.ts';
import type { InterfaceStats } from '../../host/network-stats.ts';

export interface UseSample extends CgroupUse {
  /** Wall clock, ms. */
  readonly atMs: number;
  readonly monotonicMs: number;
}

export interface LiveSample {
  /** Wall clock, ms. */
  readonly atMs: number;
  /** Processes in this very group. */
  readonly pids: readonly number[];
  /** Interfaces of a sandbox, and of the node. */
  readonly network: readonly InterfaceStats[] | undefined;
  /** Undefined where the kernel does not tell. */
  readonly pressure: GroupPressure | undefined;
}

export interface DetailSample extends CgroupDetails {
  readonly monotonicMs: number;
  /** Undefined without a CPU quota. */
  readonly throttling: CpuThrottling | undefined;
}

/** What is costly to count. */
export interface SlowFacts {
  readonly monotonicMs: number;
  readonly fileDescriptors: number;
  readonly sockets: number;
  /** Soft limit of open files of the first process; undefined when there is none, or no limit. */
  readonly maxOpenFiles: number | undefined;
}

type CpuPoint = Pick<UseSample, 'cpuNs' | 'monotonicMs'>;

/** Samples closer together than this give no rate: the kernel's own counters move in steps, ms. */
const MIN_SPACING_MS = 500;
/** A rate over a longer time says nothing about now, ms. */
const MAX_SPACING_MS = 120_000;

export class Row {
  readonly reader: CgroupReader;
  /** Wall ms. */
  readonly startedAtMs: number;
  use: UseSample | undefined;
  #before: CpuPoint | undefined;
  live: LiveSample | undefined;
  /** Limits change seldom: they are read less often than the rest. */
  spec: CgroupSpec | undefined;
  specReadMs = Number.NEGATIVE_INFINITY;
  details: DetailSample | undefined;
  slow: SlowFacts | undefined;

  constructor(reader: CgroupReader, startedAtMs: number = reader.createdAtMs) {
    this.reader = reader;
    this.startedAtMs = startedAtMs;
  }

  /** @throws ENOENT when the group is gone. */
  sample(nowMs: number, monotonicMs: number): void {
    const { cpuNs, memory } = this.reader.use();
    const last = this.use;
    if (last === undefined) this.#before = this.#start(nowMs, monotonicMs);
    else if (monotonicMs - last.monotonicMs >= MIN_SPACING_MS) this.#before = last;
    this.use = { atMs: nowMs, monotonicMs, cpuNs, memory };
  }

  /** CPU of late in 1e-9 cores. Undefined until it was looked at twice in a useful distance. */
  get usageNanoCores(): number | undefined {
    const [last, before] = [this.use, this.#before];
    if (last === undefined || before === undefined) return undefined;
    const spacingMs = last.monotonicMs - before.monotonicMs;
    if (spacingMs < MIN_SPACING_MS || spacingMs > MAX_SPACING_MS) return undefined;
    return Math.max(0, Math.round(((last.cpuNs - before.cpuNs) * 1000) / spacingMs));
  }

  /** A young group had used nothing when it was made, which is a sample too. */
  #start(nowMs: number, monotonicMs: number): CpuPoint | undefined {
    const ageMs = nowMs - this.startedAtMs;
    return ageMs < 0 || ageMs > MAX_SPACING_MS ? undefined : { cpuNs: 0, monotonicMs: monotonicMs - ageMs };
  }
}
