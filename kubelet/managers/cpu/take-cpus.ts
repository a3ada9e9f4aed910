// Which of the free CPUs a container gets: whole sockets, NUMA nodes and cores before single threads, and of several that
// would do the one with the fewest free CPUs, so that large gaps stay. Pure. After pkg/kubelet/cm/cpumanager
// cpu_assignment.go takeByTopologyNUMAPacked.
import { type CpuSet, sortedCpus } from '../cpu-set.ts';
import type { CpuLayout, CpuLevel } from './cpu-layout.ts';

export interface TakeOptions {
  /** Threads of different cores rather than whole cores. */
  readonly spreadOverCores?: boolean;
  /** CPUs that share a cache, where that can be. */
  readonly byUncoreCache?: boolean;
}

/** @throws {Error} in upstream's words when there are too few. */
export function takePacked(layout: CpuLayout, free: CpuSet, count: number, opts: TakeOptions = {}): CpuSet {
  refuseTooFew(free, count);
  return new Packer(layout, free, count).pack(opts);
}

export function refuseTooFew(free: CpuSet, count: number): void {
  if (count <= free.size) return;
  throw new Error(`not enough cpus available to satisfy request: requested=${count}, available=${free.size}`);
}

class Packer {
  readonly #layout: CpuLayout;
  readonly #taken = new Set<number>();
  #free: CpuSet;
  #missing: number;

  constructor(layout: CpuLayout, free: CpuSet, count: number) {
    this.#layout = layout;
    this.#free = free;
    this.#missing = count;
  }

  pack({ spreadOverCores = false, byUncoreCache = false }: TakeOptions): CpuSet {
    for (const level of this.#outerLevels()) this.#takeWhole(level);
    if (byUncoreCache) {
      this.#takeWhole('uncoreCache');
      this.#takeWithinCache();
    }
    if (!spreadOverCores) this.#takeWhole('core');
    const order = spreadOverCores ? this.#bySocket() : this.#sorted('core').flatMap((id) => this.#freeOf('core', id));
    this.#take(order.slice(0, this.#missing));
    return this.#taken;
  }

  /** The larger one first: a NUMA node of several sockets, or a socket of several nodes. */
  #outerLevels(): readonly ['numaNode', 'socket'] | readonly ['socket', 'numaNode'] {
    const nodesFirst = this.#layout.count('socket') >= this.#layout.count('numaNode');
    return nodesFirst ? ['numaNode', 'socket'] : ['socket', 'numaNode'];
  }

  /** Everything that is free as a whole, while so much is missing. */
  #takeWhole(level: CpuLevel): void {
    for (const id of this.#sorted(level)) {
      const whole = this.#layout.cpusOf(level, id);
      if (whole.size <= this.#missing && whole.isSubsetOf(this.#free)) this.#take(whole);
    }
  }

  /** What is still missing from one cache, if any has that much: whole cores of it first. */
  #takeWithinCache(): void {
    if (this.#missing === 0) return;
    for (const id of this.#sorted('uncoreCache')) {
      const inCache = new Set(this.#freeOf('uncoreCache', id));
      if (inCache.size < this.#missing) continue;
      this.#take(new Packer(this.#layout, inCache, this.#missing).pack({}));
      return;
    }
  }

  /** Parts that have free CPUs, each within the larger part that it belongs to; the fewest free first. */
  #sorted(level: CpuLevel): number[] {
    const [outer, inner] = this.#outerLevels();
    const within = (parents: number[], parent: CpuLevel, child: CpuLevel) =>
      parents.flatMap((id) => this.#byFree(child, new Set(this.#freeOf(parent, id))));
    const first = this.#byFree(outer, this.#free);
    if (level === outer) return first;
    const second = within(first, outer, inner);
    return [...new Set(level === inner ? second : within(second, inner, level))];
  }

  #byFree(level: CpuLevel, among: CpuSet): number[] {
    const free = (id: number) => this.#freeOf(level, id).length;
    return this.#layout.idsOf(level, among).sort((a, b) => free(a) - free(b) || a - b);
  }

  #bySocket(): number[] {
    return this.#sorted('socket').flatMap((id) => this.#freeOf('socket', id));
  }

  /** Ascending. */
  #freeOf(level: CpuLevel, id: number): number[] {
    return sortedCpus(this.#layout.cpusOf(level, id).intersection(this.#free));
  }

  #take(cpus: Iterable<number>): void {
    const chosen = new Set(cpus);
    for (const cpu of chosen) this.#taken.add(cpu);
    this.#free = this.#free.difference(chosen);
    this.#missing -= chosen.size;
  }
}
