// Samples of all cgroups that have figures. Nothing is read unless somebody asks, and what was read serves everybody who
// asks within a while: metrics-server, Prometheus and kubectl together cost what one of them costs. Reading gives way to
// other work every few milliseconds.
import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../../core/clock.ts';
import { errnoOf } from '../../core/errors.ts';
import type { CgroupSource } from '../../host/cgroup-stats.ts';
import { type InterfaceStats, networkStatsOf } from '../../host/network-stats.ts';
import { maxOpenFilesOf, openFilesOf } from '../../host/process-facts.ts';
import { Row } from './row.ts';
import type { ContainerTarget, PodTarget } from './targets.ts';

/** A group of processes of the node that is no pod's. */
export interface SystemGroup {
  /** `kubelet`, `runtime`, `misc`, `pods`. */
  readonly name: string;
  /** Undefined while it is not known. */
  readonly cgroup: () => string | undefined;
  /** One of the summary's system containers. */
  readonly inSummary: boolean;
  /** Wall ms, where that is not when the group was made. */
  readonly startedAtMs?: number;
}

export interface ContainerRow {
  readonly target: ContainerTarget;
  readonly row: Row;
}

export interface PodRows {
  readonly target: PodTarget;
  readonly row: Row | undefined;
  readonly sandbox: ContainerRow | undefined;
  readonly containers: readonly ContainerRow[];
}

export interface Sample {
  readonly root: Row;
  readonly groups: readonly { readonly name: string; readonly inSummary: boolean; readonly row: Row }[];
  readonly pods: readonly PodRows[];
  /** Wall ms of the newest look. */
  readonly atMs: number;
}

/** `use` is CPU and memory with their limits, `live` adds processes, interfaces and pressure, `details` all else. */
export type SampleDepth = 'use' | 'live' | 'details';

const DEPTHS = ['use', 'live', 'details'] as const;

export interface SamplerDeps {
  readonly source: CgroupSource;
  readonly targets: () => readonly PodTarget[];
  readonly groups: readonly SystemGroup[];
  readonly clock: Clock;
}

/** Longest time without giving way, ms. */
const SLICE_MS = 4;
/** Open files and sockets may be this old, and the details of sandboxes, ms. */
const SLOW_AGE_MS = 60_000;
/** So may limits, ms. */
const SPEC_AGE_MS = 30_000;
/** Rows whose slow facts are read again at one look; those that have none yet do not count. */
const SLOW_PER_LOOK = 64;

export class CgroupSampler {
  readonly #deps: SamplerDeps;
  /** By the name under which the group was looked for. */
  #rows = new Map<string, Row>();
  readonly #atMs: Record<SampleDepth, number> = { use: -Infinity, live: -Infinity, details: -Infinity };
  #newestMs = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(deps: SamplerDeps) {
    this.#deps = deps;
  }

  /**
   * Everything that runs, with figures at most `maxAgeMs` old; pods that came since the last look are read now.
   * @throws when the root group cannot be read.
   */
  async sample(depth: SampleDepth, maxAgeMs: number): Promise<Sample> {
    // One look at a time: who comes second mostly finds what he wanted.
    const mine = this.#turn.catch(() => {}).then(() => this.#look(depth, maxAgeMs));
    this.#turn = mine;
    return await mine;
  }

  async #look(depth: SampleDepth, maxAgeMs: number): Promise<Sample> {
    const { clock } = this.#deps;
    const isFresh = (d: SampleDepth) => clock.monotonicMs() - this.#atMs[d] < maxAgeMs;
    const stale = { use: !isFresh('use'), live: !isFresh('live'), details: !isFresh('details') };
    const depths = DEPTHS.slice(0, DEPTHS.indexOf(depth) + 1);
    const sample = this.#arrange();
    const startMs = clock.monotonicMs();
    const gone = new Set<Row>();
    const slow = { left: SLOW_PER_LOOK };
    let sliceMs = startMs;
    for (const { row, network, isSandbox } of rowsOf(sample)) {
      try {
        if (stale.use || row.use === undefined) row.sample(clock.now(), clock.monotonicMs());
        if (clock.monotonicMs() - row.specReadMs >= SPEC_AGE_MS) {
          row.spec = row.reader.spec();
          row.specReadMs = clock.monotonicMs();
        }
        if (depth !== 'use' && (stale.live || row.live === undefined)) {
          this.#readLive(row, (pids) => (network === 'root' ? sample.root.live?.network : networkOf(network, pids)));
        }
        if (depth === 'details' && (row.details === undefined || (stale.details && !this.#isIdle(row, isSandbox))))
          this.#readDetails(row, slow);
      } catch (err) {
        if (row === sample.root || !isGone(err)) throw err;
        gone.add(row);
      }
      if (clock.monotonicMs() - sliceMs >= SLICE_MS) {
        await setImmediate();
        sliceMs = clock.monotonicMs();
      }
    }
    if (stale.use) this.#newestMs = clock.now();
    for (const d of depths) if (stale[d]) this.#atMs[d] = startMs;
    return { ...withoutRows(sample, gone), atMs: this.#newestMs };
  }

  #readLive(row: Row, networkOf: (pids: readonly number[]) => readonly InterfaceStats[] | undefined): void {
    const pids = row.reader.pids();
    row.live = {
      atMs: this.#deps.clock.now(),
      pids,
      network: networkOf(pids),
      pressure: row.reader.pressure(),
    };
  }

  /** The process of a sandbox does nothing: it is looked at as closely only now and then. */
  #isIdle({ details }: Row, isSandbox: boolean): boolean {
    return isSandbox && this.#deps.clock.monotonicMs() - (details?.monotonicMs ?? 0) < SLOW_AGE_MS;
  }

  #readDetails(row: Row, slow: { left: number }): void {
    const { clock } = this.#deps;
    const pids = row.live?.pids ?? [];
    const known = row.slow;
    if (known === undefined || (clock.monotonicMs() - known.monotonicMs > SLOW_AGE_MS && slow.left-- > 0)) {
      const open = openFilesOf(pids);
      row.slow = {
        monotonicMs: clock.monotonicMs(),
        fileDescriptors: open.files,
        sockets: open.sockets,
        maxOpenFiles: pids[0] === undefined ? undefined : maxOpenFilesOf(pids[0]),
      };
    }
    row.details = {
      monotonicMs: clock.monotonicMs(),
      ...row.reader.details(),
      throttling: row.spec?.cpuQuotaUs === undefined ? undefined : row.reader.throttling(),
    };
  }

  /** The rows of what runs now; those of the past are forgotten. */
  #arrange(): Sample {
    const { targets, groups } = this.#deps;
    const before = this.#rows;
    this.#rows = new Map();
    const root = this.#row(before, '/');
    if (root === undefined) throw new Error('the root cgroup cannot be read');
    const system = groups.flatMap(({ name, inSummary, cgroup, startedAtMs }) => {
      const at = cgroup();
      const row = at === undefined ? undefined : this.#row(before, at, startedAtMs);
      return row === undefined ? [] : [{ name, inSummary, row }];
    });
    const pods = targets().map((target): PodRows => {
      const container = (c: ContainerTarget): ContainerRow | undefined => {
        const row = this.#firstRow(before, c);
        return row && { target: c, row };
      };
      return {
        target,
        row: target.cgroup === '' ? undefined : this.#row(before, target.cgroup, target.sandbox.createdAtMs),
        sandbox: container(target.sandbox),
        containers: target.containers.flatMap((c) => container(c) ?? []),
      };
    });
    return { root, groups: system, pods, atMs: this.#newestMs };
  }

  #firstRow(before: ReadonlyMap<string, Row>, { cgroups, createdAtMs }: ContainerTarget): Row | undefined {
    const known = cgroups.find((name) => before.has(name));
    if (known !== undefined) return this.#row(before, known, createdAtMs);
    for (const name of cgroups) {
      const row = this.#row(before, name, createdAtMs);
      if (row !== undefined) return row;
    }
    return undefined;
  }

  #row(before: ReadonlyMap<string, Row>, name: string, startedAtMs?: number): Row | undefined {
    let row = this.#rows.get(name) ?? before.get(name);
    if (row === undefined) {
      const reader = this.#deps.source.open(name);
      if (reader === undefined) return undefined;
      row = new Row(reader, startedAtMs);
    }
    this.#rows.set(name, row);
    return row;
  }
}

/** Whose interfaces a row shows: this process's, those of the group's first process, what the root has, or none. */
type NetworkOf = 'self' | 'first process' | 'root' | undefined;

function* rowsOf(sample: Sample): Generator<{ row: Row; network: NetworkOf; isSandbox: boolean }> {
  yield { row: sample.root, network: 'self', isSandbox: false };
  for (const { row } of sample.groups) yield { row, network: undefined, isSandbox: false };
  for (const { target, row, sandbox, containers } of sample.pods) {
    if (row !== undefined) yield { row, network: undefined, isSandbox: false };
    // A pod on the host's network shows the host's interfaces, as with cAdvisor: many, and they need to be read only once.
    if (sandbox !== undefined) {
      yield { row: sandbox.row, network: target.hostNetwork ? 'root' : 'first process', isSandbox: true };
    }
    for (const container of containers) yield { row: container.row, network: undefined, isSandbox: false };
  }
}

function networkOf(whose: Exclude<NetworkOf, 'root'>, pids: readonly number[]): readonly InterfaceStats[] | undefined {
  if (whose === 'self') return networkStatsOf('self');
  return whose === undefined || pids[0] === undefined ? undefined : networkStatsOf(pids[0]);
}

function withoutRows(sample: Sample, gone: ReadonlySet<Row>): Sample {
  if (gone.size === 0) return sample;
  const isThere = (row: Row) => !gone.has(row);
  return {
    ...sample,
    groups: sample.groups.filter((g) => isThere(g.row)),
    pods: sample.pods.map((p) => ({
      target: p.target,
      row: p.row !== undefined && isThere(p.row) ? p.row : undefined,
      sandbox: p.sandbox !== undefined && isThere(p.sandbox.row) ? p.sandbox : undefined,
      containers: p.containers.filter((c) => isThere(c.row)),
    })),
  };
}

/** ENODEV is what a file says whose group was removed between open and read. */
function isGone(err: unknown): boolean {
  const errno = errnoOf(err);
  return errno === 'ENOENT' || errno === 'ENODEV';
}
