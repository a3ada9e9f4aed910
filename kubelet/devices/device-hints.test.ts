import { expect, test } from 'vitest';
import { nodesIn } from '../managers/numa-mask.ts';
import { deviceHints, type HintInput, isAligned } from './device-hints.ts';

const at = (...numaNodes: number[]) => ({ health: 'Healthy', numaNodes });
const DEVICES = new Map([
  ['a0', at(0)],
  ['b0', at(0)],
  ['a1', at(1)],
  ['b1', at(1)],
]);
const set = (...ids: string[]) => new Set(ids);

/** `0 1:yes` for a preferred one on nodes 0 and 1. */
function hints(change: Partial<HintInput>): string[] {
  const input = { devices: DEVICES, available: new Set(DEVICES.keys()), reusable: set(), count: 1, numaNodes: [0, 1] };
  return deviceHints({ ...input, ...change }).map(
    (h) => `${nodesIn(h.nodes!).join(' ')}:${h.preferred ? 'yes' : 'no'}`,
  );
}

test.each([
  ['one, anywhere', { count: 1 }, ['0:yes', '1:yes', '0 1:no']],
  ['two, which either node has', { count: 2 }, ['0:yes', '1:yes', '0 1:no']],
  ['three, which no node alone ever had', { count: 3 }, ['0 1:yes']],
  ['two, which no node alone has now', { count: 2, available: set('a0', 'a1') }, ['0 1:no']],
  ['one, node 1 being full', { count: 1, available: set('a0') }, ['0:yes', '0 1:no']],
  ['more than there are', { count: 5 }, []],
  ['two, one of them handed on', { count: 2, available: set('b0', 'b1'), reusable: set('a1') }, ['1:yes', '0 1:no']],
  ['two, handed on from both nodes', { count: 2, available: set(), reusable: set('a0', 'a1') }, ['0 1:no']],
])('%s', (_what, change, expected) => {
  expect(hints(change)).toEqual(expected);
});

test('a device that is near to both nodes serves either', () => {
  expect(hints({ devices: new Map([['ab', at(0, 1)]]), available: set('ab') })).toEqual(['0:yes', '1:yes', '0 1:no']);
});

test('it matters where as soon as one device is near to a node', () => {
  expect(isAligned(DEVICES)).toBe(true);
  expect(isAligned(new Map([['x', at()]]))).toBe(false);
  expect(isAligned(new Map())).toBe(false);
});
