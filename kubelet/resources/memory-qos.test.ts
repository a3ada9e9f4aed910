import { expect, test } from 'vitest';
import { containerMemoryQos, type MemoryQosSettings, memoryHigh, memoryProtection } from './memory-qos.ts';

const MIB = 2 ** 20;
const settings: MemoryQosSettings = {
  throttlingFactor: 0.9,
  reserves: true,
  nodeAllocatableBytes: 4096 * MIB,
  pageBytes: 4096,
};

test.each([
  ['between request and limit', 64, 512, 0.9, Math.floor((64 * MIB + 0.9 * 448 * MIB) / 4096) * 4096],
  ['the limit itself', 256, 512, 1, 512 * MIB],
  ['up to what the node has, without a limit', 128, 0, 0.5, 2112 * MIB],
  ['a limit alone', 0, 512, 0.5, 256 * MIB],
  ['all of it is promised', 512, 512, 0.9, undefined],
  ['nothing is asked for', 0, 0, 0.9, undefined],
  ['asked for more than the node has', 8192, 0, 0.9, undefined],
])('where a container is slowed down: %s', (_what, request, limit, throttlingFactor, expected) => {
  expect(memoryHigh(request * MIB, limit * MIB, { ...settings, throttlingFactor })).toBe(expected);
});

test('pages are whole', () => {
  expect(memoryHigh(100, 20_000, { ...settings, pageBytes: 16_384 })).toBe(16_384);
  expect(memoryHigh(100, 10_000, settings)).toBe(8192);
  expect(memoryHigh(8192, 8200, settings)).toBeUndefined(); // no page between them
});

test.each([
  ['Guaranteed', true, 7, 0],
  ['Burstable', true, 0, 7],
  ['BestEffort', true, 0, 0],
  ['Guaranteed', false, 0, 0],
  ['Burstable', false, 0, 0],
] as const)('what is kept for %s, reserving %s', (qos, reserves, memoryMinBytes, memoryLowBytes) => {
  expect(memoryProtection(qos, 7, reserves)).toEqual({ memoryMinBytes, memoryLowBytes });
});

test('the files of a container: what is not kept is written too', () => {
  expect(containerMemoryQos('Burstable', MIB, 2 * MIB, { ...settings, throttlingFactor: 1 })).toEqual({
    'memory.min': '0',
    'memory.low': '1048576',
    'memory.high': '2097152',
  });
  expect(containerMemoryQos('Guaranteed', MIB, MIB, settings)).toEqual({
    'memory.min': '1048576',
    'memory.low': '0',
    'memory.high': 'max',
  });
});
