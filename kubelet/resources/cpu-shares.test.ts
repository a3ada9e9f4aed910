import { expect, test } from 'vitest';
import { cpuQuotaUs, cpuShares } from './cpu-shares.ts';

test.each([
  [0, 2],
  [1, 2],
  [100, 102],
  [1000, 1024],
  [300_000, 262_144],
])('%d millis are %d shares', (millis, shares) => {
  expect(cpuShares(millis)).toBe(shares);
});

test.each([
  [0, 100_000, 0],
  [1, 100_000, 1000],
  [500, 100_000, 50_000],
  [1500, 100_000, 150_000],
  [500, 20_000, 10_000],
])('%d millis in a period of %d µs are a quota of %d µs', (millis, periodUs, quotaUs) => {
  expect(cpuQuotaUs(millis, periodUs)).toBe(quotaUs);
});
