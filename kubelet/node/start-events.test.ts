import { expect, test } from 'vitest';
import { type HostConditions, startEvents } from './start-events.ts';

const GOOD: HostConditions = { cgroupVersion: 2, swapBytes: 0, kernelVersion: '6.1.0-18' };
const texts = (more: Partial<HostConditions>) =>
  startEvents({ ...GOOD, ...more }).map((e) => `${e.type} ${e.reason} ${e.message}`);

test('a host in order needs no word', () => expect(texts({})).toEqual([]));

test('cgroup v1 is warned of', () => {
  expect(texts({ cgroupVersion: 1 })).toEqual([
    'Warning CgroupV1 cgroup v1 support is in maintenance mode, please migrate to cgroup v2',
  ]);
});

test.each([
  ['5.15.0', true],
  ['6.3.9', true],
  ['6.4.0-rc1', false],
  ['7.0', false],
  ['unknown', true],
])('swap under kernel %s: secrets may reach the disk: %s', (kernelVersion, warned) => {
  const told = texts({ swapBytes: 1, kernelVersion });
  expect(told).toEqual(
    warned
      ? [
          'Warning PossibleMemoryBackedVolumesOnDisk The tmpfs noswap option is not supported. Memory-backed volumes (e.g. secrets, emptyDirs, etc.) might be swapped to disk and should no longer be considered secure.',
        ]
      : [],
  );
});
