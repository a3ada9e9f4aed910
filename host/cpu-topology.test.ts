import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readCpuTopology } from './cpu-topology.ts';

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'cpu-topology-'));
});

afterEach(async () => {
  await rm(dir, { recursive: true });
});

async function write(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(dir, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, `${text}\n`);
  }
}

const MACHINE = { memoryBytes: 8 * 2 ** 30, hugePages: [{ pageBytes: 2 ** 21, count: 3 }] };

test('two sockets with two threads in each core, a NUMA node and a cache each', async () => {
  await write({ 'cpu/online': '0-7' });
  for (let id = 0; id < 8; id++) {
    const [core, socket] = [id % 4, Math.floor((id % 4) / 2)];
    await write({
      [`cpu/cpu${id}/topology/core_cpus_list`]: `${core},${core + 4}`,
      [`cpu/cpu${id}/topology/physical_package_id`]: `${socket}`,
      [`cpu/cpu${id}/cache/index0/level`]: '1',
      [`cpu/cpu${id}/cache/index3/level`]: '3',
      [`cpu/cpu${id}/cache/index3/shared_cpu_list`]: socket === 0 ? '0-1,4-5' : '2-3,6-7',
    });
  }
  for (const node of [0, 1]) {
    await write({
      [`node/node${node}/cpulist`]: node === 0 ? '0-1,4-5' : '2-3,6-7',
      [`node/node${node}/meminfo`]: `Node ${node} MemTotal:       ${(node + 1) * 1024} kB\nNode ${node} MemFree: 1 kB`,
      [`node/node${node}/distance`]: node === 0 ? '10 21' : '21 10',
      [`node/node${node}/hugepages/hugepages-2048kB/nr_hugepages`]: `${node * 4}`,
    });
  }
  await write({ 'node/online': '0-1', 'node/possible': '0-1' });
  const { cpus, nodes } = await readCpuTopology({ dir, ...MACHINE });
  expect(cpus).toHaveLength(8);
  expect(cpus[6]).toEqual({ id: 6, core: 2, socket: 1, numaNode: 1, uncoreCache: 2 });
  expect(cpus.map((cpu) => cpu.core)).toEqual([0, 1, 2, 3, 0, 1, 2, 3]);
  expect(nodes).toEqual([
    { id: 0, memoryBytes: 1024 * 1024, hugePages: [{ pageBytes: 2 ** 21, count: 0 }], distances: [10, 21] },
    { id: 1, memoryBytes: 2048 * 1024, hugePages: [{ pageBytes: 2 ** 21, count: 4 }], distances: [21, 10] },
  ]);
});

test('a machine without NUMA, and one that tells nothing of its cores', async () => {
  await write({ 'cpu/online': '0,2', 'cpu/cpu0/topology/physical_package_id': '-1' });
  expect(await readCpuTopology({ dir, ...MACHINE })).toEqual({
    cpus: [
      { id: 0, core: 0, socket: 0, numaNode: 0, uncoreCache: 0 },
      { id: 2, core: 2, socket: 0, numaNode: 0, uncoreCache: 0 },
    ],
    nodes: [{ id: 0, ...MACHINE, distances: [10] }],
  });
});

test('a thread that is offline is no CPU; siblings go by the older name', async () => {
  await write({ 'cpu/online': '1,3', 'cpu/cpu1/topology/thread_siblings_list': '1,3' });
  await write({ 'cpu/cpu3/topology/thread_siblings_list': '1,3' });
  const { cpus } = await readCpuTopology({ dir, ...MACHINE });
  expect(cpus.map(({ id, core }) => [id, core])).toEqual([
    [1, 1],
    [3, 1],
  ]);
});

test('without the list of CPUs there is nothing to go by', async () => {
  await expect(readCpuTopology({ dir, ...MACHINE })).rejects.toThrow('ENOENT');
});

test('this machine', async () => {
  const { cpus, nodes } = await readCpuTopology(MACHINE);
  expect(cpus.length).toBeGreaterThan(0);
  expect(nodes.length).toBeGreaterThan(0);
  expect(new Set(cpus.map(({ id }) => id)).size).toBe(cpus.length);
});
