import { expect, test } from 'vitest';
import { parseCpuList } from './cpu-list.ts';

test.each([
  ['0-3\n', [0, 1, 2, 3]],
  ['0,2-3,7', [0, 2, 3, 7]],
  ['0', [0]],
  ['', []],
  ['\n', []],
  ['x,3-1', []],
])('CPUs of %j', (text, want) => {
  expect(parseCpuList(text)).toEqual(want);
});
