// How the CPUs and the memory of this machine belong together: cores, sockets, caches and NUMA nodes, from sysfs below a
// root that tests replace. After cadvisor's machine topology and pkg/kubelet/cm/cpumanager/topology.
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { parseCpuList } from './cpu-list.ts';
import { type HugePages, readHugePages } from './huge-pages.ts';

/** One online logical CPU. */
export interface LogicalCpu {
  readonly id: number;
  /** The lowest CPU of the same core: unique on the machine. */
  readonly core: number;
  readonly socket: number;
  readonly numaNode: number;
  /** Of the last level that cores share; the socket where sysfs does not tell. Unique on the machine. */
  readonly uncoreCache: number;
}

export interface NumaNode {
  readonly id: number;
  readonly memoryBytes: number;
  readonly hugePages: readonly HugePages[];
  /** To every node in the order of their ids, this one included; as ACPI tells them: 10 is here. */
  readonly distances: readonly number[];
}

export interface CpuTopology {
  /** Ascending. */
  readonly cpus: readonly LogicalCpu[];
  /** Ascending; never empty. */
  readonly nodes: readonly NumaNode[];
}

export interface TopologySource {
  /** `/sys/devices/system` when absent. */
  readonly dir?: string;
  /** What a machine without NUMA has in its one node. */
  readonly memoryBytes: number;
  readonly hugePages: NumaNode['hugePages'];
}

/** @throws when the list of CPUs cannot be read. */
export async function readCpuTopology(source: TopologySource): Promise<CpuTopology> {
  const dir = source.dir ?? '/sys/devices/system';
  const nodes = await readNodes(path.join(dir, 'node'), source);
  const nodeOf = new Map(nodes.flatMap(({ node, cpus }) => cpus.map((cpu) => [cpu, node.id] as const)));
  const online = parseCpuList(await readFile(path.join(dir, 'cpu/online'), 'utf8'));
  const cpus = await Promise.all(
    online.map((id) => readCpu(path.join(dir, 'cpu', `cpu${id}`), id, nodeOf.get(id) ?? nodes[0]!.node.id)),
  );
  return { cpus, nodes: nodes.map(({ node }) => node) };
}

async function readCpu(dir: string, id: number, numaNode: number): Promise<LogicalCpu> {
  const siblings =
    (await text(path.join(dir, 'topology/core_cpus_list'))) || // the name since Linux 5.2
    (await text(path.join(dir, 'topology/thread_siblings_list')));
  const socket = Math.max(0, number(await text(path.join(dir, 'topology/physical_package_id')))); // -1: not known
  return { id, core: parseCpuList(siblings)[0] ?? id, socket, numaNode, uncoreCache: (await readL3(dir)) ?? socket };
}

/** The lowest CPU that shares the third-level cache stands for it: ids of caches are not unique everywhere. */
async function readL3(cpuDir: string): Promise<number | undefined> {
  const dir = path.join(cpuDir, 'cache');
  for (const index of await readdir(dir).catch(() => [])) {
    if ((await text(path.join(dir, index, 'level'))) !== '3') continue;
    return parseCpuList(await text(path.join(dir, index, 'shared_cpu_list')))[0];
  }
  return undefined;
}

async function readNodes(dir: string, source: TopologySource): Promise<{ node: NumaNode; cpus: number[] }[]> {
  const names = (await readdir(dir).catch(() => [])).filter((name) => /^node\d+$/.test(name));
  if (names.length === 0) {
    const { memoryBytes, hugePages } = source;
    return [{ node: { id: 0, memoryBytes, hugePages, distances: [10] }, cpus: [] }];
  }
  const ids = names.map((name) => Number(name.slice('node'.length))).sort((a, b) => a - b);
  return await Promise.all(ids.map((id) => readNode(path.join(dir, `node${id}`), id)));
}

async function readNode(dir: string, id: number): Promise<{ node: NumaNode; cpus: number[] }> {
  const memory = /MemTotal:\s+(\d+) kB/.exec(await text(path.join(dir, 'meminfo')))?.[1];
  const distances = (await text(path.join(dir, 'distance'))).split(/\s+/).filter((word) => word !== '');
  return {
    node: {
      id,
      memoryBytes: Number(memory ?? 0) * 1024,
      hugePages: await readHugePages(path.join(dir, 'hugepages')),
      distances: distances.map(Number),
    },
    cpus: parseCpuList(await text(path.join(dir, 'cpulist'))),
  };
}

/** '' for a file that is not there: kernels and machines tell different things. */
async function text(file: string): Promise<string> {
  return (await readFile(file, 'utf8').catch(() => '')).trim();
}

function number(word: string): number {
  const value = Number(word);
  return word === '' || !Number.isFinite(value) ? 0 : value;
}
