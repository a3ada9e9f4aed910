// Sets of CPUs as the kernel and Kubernetes write them: `0-3,8`. Pure. After k8s.io/utils/cpuset.
export type CpuSet = ReadonlySet<number>;

/** A list longer than any machine's is not read: it is counted one by one. */
const MAX_CPU = 65_535;

/** @throws {Error} saying what is wrong with `text`. */
export function parseCpuSet(text: string): CpuSet {
  const cpus = new Set<number>();
  if (text === '') return cpus;
  for (const range of text.split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(range);
    const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
    if (match === null || last < first || last > MAX_CPU) throw new Error(`"${text}" is no list of CPUs`);
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
  }
  return cpus;
}

export function formatCpuSet(cpus: Iterable<number>): string {
  const ranges: [number, number][] = [];
  for (const cpu of sortedCpus(cpus)) {
    const open = ranges.at(-1);
    if (open !== undefined && open[1] === cpu - 1) open[1] = cpu;
    else ranges.push([cpu, cpu]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}

/** Ascending. */
export function sortedCpus(cpus: Iterable<number>): number[] {
  return [...cpus].sort((a, b) => a - b);
}

export function sameCpus(a: CpuSet, b: CpuSet): boolean {
  return a.size === b.size && a.isSubsetOf(b);
}
