import { expect, test } from 'vitest';
import { maskOf } from '../managers/numa-mask.ts';
import { chooseDevices, type DeviceChoice } from './choose-devices.ts';

const set = (text: string) => new Set(text.split(' ').filter((id) => id !== ''));
const at = (...numaNodes: number[]) => ({ health: 'Healthy', numaNodes });
/** Two on node 0, three on node 1, one on both, one on none. */
const DEVICES = new Map([
  ['a0', at(0)],
  ['b0', at(0)],
  ['a1', at(1)],
  ['b1', at(1)],
  ['c1', at(1)],
  ['ab', at(0, 1)],
  ['no', at()],
]);

const nothing = async () => new Set<string>();
function choose(change: Partial<DeviceChoice>) {
  const available = new Set(DEVICES.keys());
  const input = { count: 1, reusable: set(''), available, devices: DEVICES, nodes: undefined, prefer: nothing };
  return chooseDevices({ ...input, ...change });
}

test('what init containers had comes first, and nothing is asked when it is enough', async () => {
  const prefer = () => Promise.reject(new Error('asked'));
  expect(await choose({ count: 2, reusable: set('x y z'), prefer })).toEqual(set('x y'));
});

test('too few are told with how many are missing beside what is reused', async () => {
  expect(await choose({ count: 4, reusable: set('x'), available: set('a0 b0') })).toEqual({ missing: 3 });
});

test('without an agreed place the plugin chooses among all', async () => {
  const asked: unknown[] = [];
  const prefer: DeviceChoice['prefer'] = async (available, mustInclude) => {
    asked.push([available.size, [...mustInclude]]);
    return set('c1 no foreign');
  };
  expect(await choose({ count: 3, reusable: set('x'), prefer })).toEqual(set('x c1 no'));
  expect(asked).toEqual([[DEVICES.size + 1, ['x']]]);
});

test.each([
  ['near devices are taken first', 2, [0], set('a0 b0'), ['a0', 'b0', 'ab']],
  ['a device near to two nodes counts for the scarcer one', 3, [0], set('a0 b0 ab'), ['a0', 'b0', 'ab']],
  ['on two nodes all of theirs are near', 4, [0, 1], undefined, ['a0', 'b0', 'a1', 'b1', 'c1', 'ab']],
])('%s', async (_what, count, nodes, expected, from) => {
  const chosen = await choose({ count, nodes: maskOf(nodes) });
  expect(chosen).toBeInstanceOf(Set);
  expect((chosen as Set<string>).size).toBe(count);
  for (const id of chosen as Set<string>) expect(from).toContain(id);
  if (expected !== undefined) expect(chosen).toEqual(expected);
});

test('what is near is all taken before far ones, which come before those without a place', async () => {
  const chosen = (await choose({ count: 6, nodes: maskOf([0]) })) as Set<string>;
  expect([...chosen].slice(0, 3).toSorted()).toEqual(['a0', 'ab', 'b0']);
  expect([...chosen].slice(3).toSorted()).toEqual(['a1', 'b1', 'c1']);
});

test('the plugin chooses among near devices where there are more than needed; what it says beyond is not heard', async () => {
  const prefer: DeviceChoice['prefer'] = async (available) => {
    expect(available).toEqual(set('a1 b1 c1 ab'));
    return set('a0 c1');
  };
  const devices = new Map([...DEVICES].filter(([id]) => id !== 'a0' && id !== 'b0'));
  const chosen = (await choose({
    count: 2,
    nodes: maskOf([1]),
    devices,
    available: new Set(devices.keys()),
    prefer,
  })) as Set<string>;
  expect(chosen.has('c1')).toBe(true);
  expect(chosen.size).toBe(2);
  expect(chosen.has('a0')).toBe(false);
});

test('devices without any place are not divided', async () => {
  const devices = new Map(['p', 'q'].map((id) => [id, at()]));
  expect(await choose({ count: 2, nodes: maskOf([0]), devices, available: set('p q') })).toEqual(set('p q'));
});
