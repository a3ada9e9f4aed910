import { describe, expect, test } from 'vitest';
import { formatQuantity } from '../../api/quantity.ts';
import { amountOf, isMet, parseThresholds, type ThresholdSettings, withContainerFs } from './thresholds.ts';

const settings = (more: Partial<ThresholdSettings>): ThresholdSettings => ({
  hard: {},
  soft: {},
  softGraceMs: {},
  minReclaim: {},
  enforcesPods: false,
  ...more,
});
const signalsOf = (more: Partial<ThresholdSettings>) => parseThresholds(settings(more)).map((t) => t.signal);

describe('eviction thresholds', () => {
  test.each<[string, Partial<ThresholdSettings>, string]>([
    ['a signal nobody knows', { hard: { memory: '1Gi' } }, 'unsupported eviction signal memory'],
    ['zero', { hard: { 'memory.available': '0' } }, 'eviction threshold memory.available must be positive: 0'],
    ['less than zero', { hard: { 'pid.available': '-5' } }, 'eviction threshold pid.available must be positive: -5'],
    [
      'more than all',
      { hard: { 'nodefs.available': '101%' } },
      'eviction percentage threshold nodefs.available must be <= 100%: 101%',
    ],
    [
      'less than nothing',
      { hard: { 'nodefs.available': '-1%' } },
      'eviction percentage threshold nodefs.available must be >= 0%: -1%',
    ],
    ['no quantity', { hard: { 'memory.available': 'lots' } }, 'memory.available: lots is no quantity'],
    [
      'a soft one without grace',
      { soft: { 'memory.available': '1Gi' } },
      'grace period must be specified for the soft eviction threshold memory.available',
    ],
    [
      'a grace below zero',
      { soft: { 'memory.available': '1Gi' }, softGraceMs: { 'memory.available': -1 } },
      'invalid eviction grace period specified: memory.available',
    ],
    [
      'a minimum reclaim below zero',
      { minReclaim: { 'nodefs.available': '-1Gi' } },
      'negative eviction minimum reclaim specified for nodefs.available',
    ],
    [
      'a minimum reclaim of 0 %',
      { minReclaim: { 'nodefs.available': '0%' } },
      'minimum reclaim nodefs.available must be positive: 0%',
    ],
  ])('%s is refused', (_, more, message) => {
    expect(() => parseThresholds(settings(more))).toThrow(message);
  });

  test('0% and 100% switch a threshold off', () => {
    expect(
      signalsOf({ hard: { 'nodefs.available': '0%', 'imagefs.available': '100%', 'pid.available': '5%' } }),
    ).toEqual(['pid.available']);
  });

  test.each<[string, Partial<ThresholdSettings>]>([
    ['a grace of nothing', { soft: { 'memory.available': '1Gi' }, softGraceMs: { 'memory.available': 0 } }],
    ['a minimum reclaim of nothing', { hard: { 'pid.available': '5' }, minReclaim: { 'pid.available': '0' } }],
    ['a minimum reclaim of little', { hard: { 'pid.available': '5' }, minReclaim: { 'pid.available': '0.5%' } }],
  ])('%s is one', (_, more) => {
    expect(signalsOf(more)).toHaveLength(1);
  });

  test('a share is one of what there is, rounded down; an amount is told as it was given', () => {
    const [share, amount] = parseThresholds(
      settings({ hard: { 'nodefs.available': '10%', 'imagefs.available': '1G' } }),
    );
    expect(formatQuantity(amountOf(share!.value, 10 * 2 ** 30 + 9))).toBe('1Gi');
    expect(formatQuantity(amountOf(amount!.value, 5))).toBe('1G');
  });

  test('a threshold is met below it, not at it; a minimum reclaim counts on the way back only', () => {
    const [threshold] = parseThresholds(
      settings({ hard: { 'memory.available': '100' }, minReclaim: { 'memory.available': '50' } }),
    );
    const met = (available: number, reclaiming: boolean) =>
      isMet(threshold!, { available, capacity: 1000 }, reclaiming);
    expect([met(99, false), met(100, false), met(149, true), met(150, true)]).toEqual([true, false, true, false]);
  });

  test('5 % of no inodes are none: such a file system is never short of them', () => {
    const [threshold] = parseThresholds(settings({ hard: { 'nodefs.inodesFree': '5%' } }));
    expect(isMet(threshold!, { available: 0, capacity: 0 }, false)).toBe(false);
  });

  test('what all pods may use is watched by the hard threshold of memory, when it is enforced', () => {
    const both = {
      hard: { 'memory.available': '1Gi' },
      soft: { 'memory.available': '2Gi' },
      softGraceMs: { 'memory.available': 5 },
    };
    expect(signalsOf(both)).toEqual(['memory.available', 'memory.available']);
    const enforced = parseThresholds(settings({ ...both, enforcesPods: true }));
    expect(enforced.map((t) => [t.signal, t.graceMs])).toEqual([
      ['memory.available', 0],
      ['memory.available', 5],
      ['allocatableMemory.available', 0],
    ]);
  });

  test.each([
    [false, 'nodefs'],
    [true, 'imagefs'],
  ])('writable layers (images apart: %s) have the thresholds of %s, whatever was configured', (hasImageFs, from) => {
    const parsed = parseThresholds(
      settings({ hard: { 'nodefs.available': '1', 'imagefs.available': '2', 'containerfs.available': '3' } }),
    );
    const all = withContainerFs(parsed, hasImageFs);
    const own = all.filter((t) => t.signal === 'containerfs.available');
    expect(own.map((t) => t.value)).toEqual(all.filter((t) => t.signal === `${from}.available`).map((t) => t.value));
    expect(all).toHaveLength(3);
  });
});
