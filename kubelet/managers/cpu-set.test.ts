import { expect, test } from 'vitest';
import { formatCpuSet, parseCpuSet, sameCpus, sortedCpus } from './cpu-set.ts';

test.each([
  ['', []],
  ['0', [0]],
  ['0-2,4', [0, 1, 2, 4]],
  ['4,0-1', [0, 1, 4]],
  ['10-11,2', [2, 10, 11]],
])('%s is read', (text, cpus) => {
  expect(sortedCpus(parseCpuSet(text))).toEqual(cpus);
});

test.each([
  [[], ''],
  [[3], '3'],
  [[2, 1, 0], '0-2'],
  [[0, 1, 3, 10, 11], '0-1,3,10-11'],
])('%j is written', (cpus, text) => {
  expect(formatCpuSet(cpus)).toBe(text);
});

test.each(['1.3', 'a', '3-1', '0,', '-1', '0-4000000000'])('%s is no list of CPUs', (text) => {
  expect(() => parseCpuSet(text)).toThrow('no list of CPUs');
});

test('what is written is read again', () => {
  let seed = 7;
  const random = () => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return seed / 2 ** 31;
  };
  for (let round = 0; round < 200; round++) {
    const cpus = new Set(Array.from({ length: 20 }, () => Math.floor(random() * 40)));
    expect(sameCpus(parseCpuSet(formatCpuSet(cpus)), cpus)).toBe(true);
  }
});
