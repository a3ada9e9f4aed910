import { expect, test } from 'vitest';
import { formatGoDuration } from './go-duration.ts';

test.each([
  [0, '0s'],
  [0.25, '250µs'],
  [1, '1ms'],
  [1.001, '1.001ms'],
  [999, '999ms'],
  [1000, '1s'],
  [1500, '1.5s'],
  [10_000, '10s'],
  [80_000, '1m20s'],
  [300_000, '5m0s'],
  [3_600_000, '1h0m0s'],
  [3_661_001, '1h1m1.001s'],
  [-2000, '-2s'],
])('%d ms is %s', (ms, text) => {
  expect(formatGoDuration(ms)).toBe(text);
});
