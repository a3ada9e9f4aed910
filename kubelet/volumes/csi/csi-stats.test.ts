import { expect, test } from 'vitest';
import { figuresOf } from './csi-stats.ts';

const usage = (unit: number, n: number) => ({ unit, total: n, available: n + 1, used: n + 2 });

test('bytes and inodes are told apart by their unit; others are passed over', () => {
  expect(figuresOf([usage(2, 10), usage(1, 100), usage(7, 1)])).toEqual({
    capacityBytes: 100,
    availableBytes: 101,
    usedBytes: 102,
    inodes: 10,
    inodesFree: 11,
    inodesUsed: 12,
  });
  expect(figuresOf([usage(1, 100)])).not.toHaveProperty('inodes');
  expect(figuresOf([])).toEqual({});
});
