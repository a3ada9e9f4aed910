import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { hugePageBytes, memoryLimit } from './empty-dir.ts';

const MI = 1024 * 1024;

function limitOf(memoryLimits: readonly (string | undefined)[], sizeLimit?: string): number {
  const containers = memoryLimits.map((memory, i) => ({
    name: `c${i}`,
    ...(memory === undefined ? {} : { resources: { limits: { memory } } }),
  }));
  const pod: Pod = { metadata: { uid: 'u' }, spec: { containers } };
  const source = { medium: 'Memory', ...(sizeLimit === undefined ? {} : { sizeLimit }) };
  return memoryLimit({ pod, source, dir: '/d', readyFile: '/r', nodeMemoryBytes: 1024 * MI });
}

test.each<[string, readonly (string | undefined)[], string | undefined, number]>([
  ['the node', [undefined], undefined, 1024],
  ['the limits of all containers together', ['64Mi', '32Mi'], undefined, 96],
  ['not the limit of one of several', ['64Mi', undefined], undefined, 1024],
  ['sizeLimit when it is the smallest', ['64Mi'], '16Mi', 16],
  ['the limit of the pod below sizeLimit', ['64Mi'], '128Mi', 64],
  ['not a sizeLimit of zero', ['64Mi'], '0', 64],
])('a volume in memory is bounded by %s', (_, limits, sizeLimit, mebibytes) => {
  expect(limitOf(limits, sizeLimit)).toBe(mebibytes * MI);
});

const podWithPages = (...lists: Record<string, string>[]): Pod => ({
  metadata: { uid: 'u' },
  spec: { containers: lists.map((limits, i) => ({ name: `c${i}`, resources: { limits } })) },
});

test.each([
  ['HugePages', [{ 'hugepages-2Mi': '4Mi' }, { memory: '1Mi' }], 2 * MI],
  ['HugePages', [{ 'hugepages-2Mi': '4Mi' }, { 'hugepages-2048Ki': '2Mi' }], 2 * MI],
  ['HugePages-1Gi', [{ 'hugepages-2Mi': '4Mi', 'hugepages-1Gi': '1Gi' }], 1024 * MI],
])('medium %s of a pod with %j has pages of %d bytes', (medium, lists, bytes) => {
  expect(hugePageBytes(podWithPages(...lists), medium)).toBe(bytes);
});

test.each([
  ['HugePages', [{ memory: '1Mi' }], 'medium HugePages: hugePages storage requested, but there is no resource request'],
  ['HugePages-1Gi', [{ 'hugepages-2Mi': '4Mi' }], 'medium HugePages-1Gi: hugePages storage requested, but there is no'],
  ['HugePages-big', [{ 'hugepages-2Mi': '4Mi' }], 'medium HugePages-big: "big" is no size of pages'],
  [
    'HugePages',
    [{ 'hugepages-2Mi': '4Mi' }, { 'hugepages-1Gi': '1Gi' }],
    "medium: HugePages can't be used if container requests multiple huge page sizes",
  ],
])('medium %s of a pod with %j is refused', (medium, lists, text) => {
  expect(() => hugePageBytes(podWithPages(...lists), medium)).toThrow(text);
});
