import { expect, test } from 'vitest';
import { formatCpuSet, parseCpuSet } from '../cpu-set.ts';
import { fakeMachine, type MachineShape } from '../fake-machine.ts';
import { CpuLayout } from './cpu-layout.ts';
import { takeDistributed } from './distribute-cpus.ts';
import { type TakeOptions, takePacked } from './take-cpus.ts';

/** CPUs 0-3 are first threads, 4-7 second ones. */
const ONE_SOCKET_HT: MachineShape = { cores: 4, threads: 2 };
/** Cores 0-2 on the first socket, 3-5 on the second; second threads from 6 on. */
const TWO_SOCKETS_HT: MachineShape = { sockets: 2, cores: 3, threads: 2 };
/** A socket of two NUMA nodes: 0-1, 2-3, 4-5, 6-7. */
const TWO_NODES_PER_SOCKET: MachineShape = { sockets: 2, numaNodes: 2, cores: 2 };

function take(shape: MachineShape, free: string, count: number, opts: TakeOptions = {}): string {
  return formatCpuSet(takePacked(new CpuLayout(fakeMachine(shape)), parseCpuSet(free), count, opts));
}

test.each<[string, MachineShape, string, number, string]>([
  ['nothing', ONE_SOCKET_HT, '0-7', 0, ''],
  ['one thread of the first core', ONE_SOCKET_HT, '0-7', 1, '0'],
  ['both threads of a core', ONE_SOCKET_HT, '0-7', 2, '0,4'],
  ['a core and a thread', ONE_SOCKET_HT, '0-7', 3, '0-1,4'],
  ['the whole socket', ONE_SOCKET_HT, '0-7', 8, '0-7'],
  ['a core that is free as a whole, not two halves', ONE_SOCKET_HT, '0-2,5-7', 2, '1,5'],
  ['a single thread where only one is free anyway', ONE_SOCKET_HT, '0-2,5-7', 1, '0'],
  ['what is left of cores where none is whole', ONE_SOCKET_HT, '0-2', 2, '0-1'],
  ['the socket with the fewest free CPUs', TWO_SOCKETS_HT, '0-4,6-11', 2, '3,9'],
  ['a whole socket before parts of two', TWO_SOCKETS_HT, '0-11', 6, '0-2,6-8'],
  ['a whole socket and a core of the other', TWO_SOCKETS_HT, '1-11', 8, '1,3-5,7,9-11'],
  ['a NUMA node of a socket', TWO_NODES_PER_SOCKET, '0-7', 2, '0-1'],
  ['the second node when the first is used', TWO_NODES_PER_SOCKET, '1-7', 2, '2-3'],
  ['a whole socket of two nodes', TWO_NODES_PER_SOCKET, '1-7', 4, '4-7'],
])('%s', (_, shape, free, count, taken) => {
  expect(take(shape, free, count)).toBe(taken);
});

test('too few', () => {
  expect(() => take(ONE_SOCKET_HT, '1-3', 4)).toThrow(
    'not enough cpus available to satisfy request: requested=4, available=3',
  );
});

test('threads of different cores, when asked for', () => {
  expect(take(ONE_SOCKET_HT, '0-7', 4, { spreadOverCores: true })).toBe('0-3');
});

test.each<[string, number, string, string]>([
  ['part of a cache', 2, '0-7', '0-1'],
  ['a whole cache', 4, '0-7', '0-3'],
  ['a whole cache and part of another', 6, '0-7', '0-5'],
  ['a cache that has enough, though another has fewer free', 3, '2-7', '4-6'],
  ['parts of both where none has enough', 3, '2-3,6-7', '2-3,6'],
])('with CPUs that share a cache: %s', (_, count, free, taken) => {
  expect(take({ cores: 8, coresPerCache: 4 }, free, count, { byUncoreCache: true })).toBe(taken);
});

test.each<[string, string, number, number, string]>([
  ['one node is enough', '0-11', 2, 1, '0-1'],
  ['as many of each of two', '0-11', 6, 1, '0-2,4-6'],
  ['as many of each of all three', '0-11', 12, 1, '0-11'],
  ['one more where that leaves the best balance', '0-11', 7, 1, '0-3,4-6'],
  ['whole groups', '0-11', 8, 2, '0-7'],
  ['not evenly: packed instead', '0-1,4-7,8-11', 9, 2, '0,4-11'],
])('distributed over NUMA nodes: %s', (_, free, count, group, taken) => {
  const layout = new CpuLayout(fakeMachine({ sockets: 3, cores: 4 }));
  const found = takeDistributed(layout, parseCpuSet(free), count, group);
  expect(found.size).toBe(count);
  expect(formatCpuSet(found)).toBe(formatCpuSet(parseCpuSet(taken)));
});

test('whatever is asked for: so many, free ones, each once', () => {
  let seed = 11;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const shapes: MachineShape[] = [
    ONE_SOCKET_HT,
    TWO_SOCKETS_HT,
    TWO_NODES_PER_SOCKET,
    { sockets: 2, numaNodes: 2, cores: 4, threads: 2, coresPerCache: 2 },
    { cores: 1 },
  ];
  for (let round = 0; round < 400; round++) {
    const layout = new CpuLayout(fakeMachine(shapes[random(shapes.length)]!));
    const free = new Set([...layout.cpus].filter(() => random(3) > 0));
    const count = random(free.size + 1);
    const opts = { spreadOverCores: random(2) === 0, byUncoreCache: random(2) === 0 };
    const group = 1 + random(2);
    for (const taken of [takePacked(layout, free, count, opts), takeDistributed(layout, free, count, group, opts)]) {
      expect(taken.size).toBe(count);
      expect([...taken].filter((cpu) => !free.has(cpu))).toEqual([]);
    }
  }
});
