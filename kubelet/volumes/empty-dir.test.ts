import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { memoryLimit } from './empty-dir.ts';

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
