import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatTable, quantile, summarize } from './stats.ts';

test('quantiles lie between the nearest samples', () => {
  expect(quantile([1, 2, 3, 4], 0.5)).toBe(2.5);
  expect(quantile([10, 20], 0.9)).toBeCloseTo(19);
  expect(quantile([7], 0.9)).toBe(7);
});

test('a summary does not depend on the order of its samples', () => {
  fc.assert(
    fc.property(fc.array(fc.integer(), { minLength: 1 }), (samples) => {
      const summary = summarize(samples);
      expect(summarize([...samples].reverse())).toEqual(summary);
      expect(summary.min).toBeLessThanOrEqual(summary.p50);
      expect(summary.p50).toBeLessThanOrEqual(summary.p90);
      expect(summary.p90).toBeLessThanOrEqual(summary.max);
    }),
  );
  expect(() => summarize([])).toThrow(RangeError);
});

test('a table is as wide as its widest cells', () => {
  expect(formatTable([['figure', 'ms'], ['a', '1234'], ['long name']])).toBe(
    'figure       ms\na          1234\nlong name',
  );
});
