import { expect, test } from 'vitest';
import { nearest } from './nearest.ts';

test.each([
  ['maxPodz', 'maxPods'],
  ['MAXPODS', 'maxPods'],
  ['clusterDomian', 'clusterDomain'],
  ['zzz', undefined],
  ['', undefined],
  ['x'.repeat(100_000), undefined],
])('%s', (name, near) => {
  expect(nearest(name, ['maxPods', 'clusterDomain', 'registerNode'])).toBe(near);
});
