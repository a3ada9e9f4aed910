import { expect, test } from 'vitest';
import { deviceRequests, isExtendedResourceName } from './device-types.ts';

test.each([
  ['nvidia.com/gpu', true],
  ['test.device/device-plugin-failures-1234', true],
  ['a/b', true],
  ['example.com/GPU_1.x', true],
  [`example.com/${'x'.repeat(63)}`, true],
  ['gpu', false],
  ['', false],
  ['/', false],
  ['/gpu', false],
  ['example.com/', false],
  ['example.com/a/b', false],
  ['kubernetes.io/gpu', false],
  ['gpu.kubernetes.io/a', false],
  ['requests.example.com/gpu', false],
  ['Example.com/gpu', false],
  ['example.com/-gpu', false],
  ['example.com/gpu\n', false],
  ['../etc/passwd', false],
  [`example.com/${'x'.repeat(64)}`, false],
  [`${'x'.repeat(63)}.${'y'.repeat(63)}.${'z'.repeat(63)}.${'w'.repeat(61)}/gpu`, false], // with `requests.` too long
])('%j may be offered by a plugin: %s', (name, expected) => {
  expect(isExtendedResourceName(name)).toBe(expected);
});

test('what a container asks for, in order, without what it asks none of', () => {
  const limits = {
    cpu: '1',
    'z.com/z': '2',
    'a.com/a': '1',
    'n.com/none': '0',
    'hugepages-2Mi': '4Mi',
    'x.kubernetes.io/y': '1',
  };
  expect(deviceRequests({ resources: { limits } })).toEqual([
    ['a.com/a', 1],
    ['z.com/z', 2],
  ]);
  expect(deviceRequests({})).toEqual([]);
});
