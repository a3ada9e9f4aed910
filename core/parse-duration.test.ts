import { expect, test } from 'vitest';
import { formatGoDuration } from './go-duration.ts';
import { parseGoDuration } from './parse-duration.ts';

test.each([
  ['0', 0],
  ['0s', 0],
  ['1h2m3.5s', 3_723_500],
  ['-1.5s', -1500],
  ['.5s', 500],
  ['250us', 0.25],
  ['1µs', 0.001],
  ['5', undefined],
  ['5d', undefined],
  ['1s ', undefined],
  ['', undefined],
  ['.s', undefined],
  ['9999999h', undefined],
])('%s', (text, ms) => {
  expect(parseGoDuration(text)).toBe(ms);
});

test('reads what is printed', () => {
  for (const ms of [0, 1, 999, 1500, 80_000, 3_600_000, 86_399_999])
    expect(parseGoDuration(formatGoDuration(ms))).toBe(ms);
});
