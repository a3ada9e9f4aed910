// Which CPUs belong to which core, cache, socket and NUMA node. Pure. After pkg/kubelet/cm/cpumanager/topology.
import type { CpuTopology, LogicalCpu } from '../../../host/cpu-topology.ts';
import type { CpuSet } from '../cpu-set.ts';

/** What CPUs are parts of. */
export type CpuLevel = 'core' | 'uncoreCache' | 'socket' | 'numaNode';

export class CpuLayout {
  /** All of the machine. */
  readonly cpus: CpuSet;
  readonly #byId: ReadonlyMap<number, LogicalCpu>;
  readonly #groups: Readonly<Record<CpuLevel, ReadonlyMap<number, CpuSet>>>;

  constructor({ cpus }: Pick<CpuTopology, 'cpus'>) {
    this.cpus = new Set(cpus.map(({ id }) => id));
    this.#byId = new Map(cpus.map((cpu) => [cpu.id, cpu]));
    const grouped = (level: CpuLevel) =>
      new Map([...Map.groupBy(cpus, (cpu) => cpu[level])].map(([id, part]) => [id, new Set(part.map((c) => c.id))]));
    this.#groups = {
      core: grouped('core'),
      uncoreCache: grouped('uncoreCache'),
      socket: grouped('socket'),
      numaNode: grouped('numaNode'),
    };
  }

  /** Ids, ascending, of what `cpus` are parts of; of the whole machine when absent. */
  idsOf(level: CpuLevel, cpus: CpuSet = this.cpus): number[] {
    const ids = new Set([...cpus].flatMap((cpu) => this.#byId.get(cpu)?.[level] ?? []));
    return [...ids].sort((a, b) => a - b);
  }

  /** All CPUs of one part. */
  cpusOf(level: CpuLevel, id: number): CpuSet {
    return this.#groups[level].get(id) ?? new Set();
  }

  /** All CPUs of some parts. */
  cpusOfAll(level: CpuLevel, ids: Iterable<number>): CpuSet {
    return new Set([...ids].flatMap((id) => [...this.cpusOf(level, id)]));
  }

  numaNodeOf(cpu: number): number {
    return this.#byId.get(cpu)?.numaNode ?? 0;
  }

  count(level: CpuLevel): number {
    return this.#groups[level].size;
  }

  /** Threads of a core, rounded down where cores differ. */
  get cpusPerCore(): number {
    return this.#groups.core.size === 0 ? 0 : Math.floor(this.cpus.size / this.#groups.core.size);
  }

  /** All of `cpus` share one cache. */
  sharesUncoreCache(cpus: CpuSet): boolean {
    return this.idsOf('uncoreCache', cpus).length === 1;
  }
}
