import { expect, test } from 'vitest';
import type { Container, Pod } from './pod.ts';
import { podAmounts } from './pod-resources.ts';
import { formatQuantity } from './quantity.ts';

const c = (cpu: string, more: Partial<Container> = {}): Container => ({
  name: 'c',
  resources: { requests: { cpu } },
  ...more,
});
const cpuOf = (pod: Pod) => formatQuantity(podAmounts(pod, 'requests').get('cpu')!);

test.each<[string, Pod['spec'], string]>([
  ['containers add up', { containers: [c('100m'), c('1')] }, '1100m'],
  ['a big init container counts alone', { containers: [c('100m')], initContainers: [c('2')] }, '2'],
  ['a sidecar stays', { containers: [c('100m')], initContainers: [c('200m', { restartPolicy: 'Always' })] }, '300m'],
  [
    'an init container runs beside the sidecars before it',
    { containers: [c('100m')], initContainers: [c('200m', { restartPolicy: 'Always' }), c('500m')] },
    '700m',
  ],
  ['the pod level replaces the sum', { containers: [c('1')], resources: { requests: { cpu: '3' } } }, '3'],
])('%s', (_, spec, want) => {
  expect(cpuOf({ spec: spec! })).toBe(want);
});
