import { describe, expect, test } from 'vitest';
import type { Observations } from './observations.ts';
import { isRelieved, mostUrgent, NO_PRESSURE, nextPressure } from './pressure-state.ts';
import type { Signal } from './signals.ts';
import { parseThresholds } from './thresholds.ts';

const thresholds = parseThresholds({
  hard: { 'nodefs.available': '100', 'memory.available': '100' },
  soft: { 'memory.available': '200' },
  softGraceMs: { 'memory.available': 30_000 },
  minReclaim: { 'memory.available': '50' },
  enforcesPods: false,
});
const [nodefs, memory, softMemory] = thresholds;
const seen = (available: Partial<Record<Signal, number>>): Observations =>
  new Map(Object.entries(available).map(([signal, n]) => [signal as Signal, { available: n, capacity: 1000 }]));

function stateAfter(steps: readonly (readonly [nowMs: number, available: Partial<Record<Signal, number>>])[]) {
  return steps.reduce(
    (state, [nowMs, available]) =>
      nextPressure(state, { thresholds, observations: seen(available), nowMs, transitionMs: 300_000 }),
    NO_PRESSURE,
  );
}

describe('pressure', () => {
  test('a hard threshold is due at once', () => {
    const state = stateAfter([[0, { 'memory.available': 99, 'nodefs.available': 500 }]]);
    expect(state.due).toEqual([memory]);
    expect(state.conditions).toEqual(['MemoryPressure']);
  });

  test('a soft one shows at once and is due when it was met for its grace without a break', () => {
    const short = { 'memory.available': 150 };
    expect(stateAfter([[0, short]])).toMatchObject({ due: [], conditions: ['MemoryPressure'] });
    expect(stateAfter([[0, short], [29_999, short]]).due).toEqual([]); // biome-ignore format: one history per line
    expect(stateAfter([[0, short], [30_000, short]]).due).toEqual([softMemory]); // biome-ignore format: one history per line
    const broken = stateAfter([[0, short], [20_000, { 'memory.available': 201 }], [25_000, short], [40_000, short]]); // biome-ignore format: one history per line
    expect(broken.due).toEqual([]);
  });

  test('what was acted upon stays due until the minimum reclaim is there as well', () => {
    const due = (available: number) => stateAfter([[0, { 'memory.available': 99 }], [1, { 'memory.available': available }]]).due; // biome-ignore format: one history per line
    expect(due(149)).toEqual([memory]);
    expect(due(150)).toEqual([]);
  });

  test('a condition outlasts its cause by the transition period', () => {
    const fine = { 'memory.available': 900 };
    const short = { 'memory.available': 99 };
    const conditionsAt = (nowMs: number) => stateAfter([[0, short], [200_000, short], [nowMs, fine]]).conditions; // biome-ignore format: one history per line
    expect(conditionsAt(499_999)).toEqual(['MemoryPressure']);
    expect(conditionsAt(500_000)).toEqual([]);
  });

  test('what cannot be seen is not short', () => {
    expect(stateAfter([[0, {}]])).toMatchObject({ due: [], conditions: [] });
  });

  test('memory before disk', () => {
    expect(mostUrgent([nodefs!, memory!])).toBe(memory);
    expect(mostUrgent([])).toBeUndefined();
  });

  test('relieved is a node that is beyond every threshold and its minimum reclaim', () => {
    const left = (available: number) => seen({ 'memory.available': available, 'nodefs.available': 500 });
    expect(isRelieved(thresholds, left(300))).toBe(true);
    expect(isRelieved(thresholds, left(240))).toBe(false);
  });
});
