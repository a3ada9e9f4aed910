import { expect, test } from 'vitest';
import type { Pod, ResourceRequirements } from './pod.ts';
import { isPodLimited, podLimits, podRequests } from './pod-resources.ts';
import { computeQosClass, podQosClass } from './qos.ts';
import { formatQuantity } from './quantity.ts';

function podOf(containers: ResourceRequirements[], more: Partial<NonNullable<Pod['spec']>> = {}): Pod {
  return { spec: { containers: containers.map((resources, i) => ({ name: `c${i}`, resources })), ...more } };
}

const full = { requests: { cpu: '500m', memory: '64Mi' }, limits: { cpu: '0.5', memory: '64Mi' } };

test.each([
  ['nothing asked', podOf([{}]), 'BestEffort'],
  ['only zero asked', podOf([{ requests: { cpu: '0' } }]), 'BestEffort'],
  ['requests equal limits', podOf([full]), 'Guaranteed'],
  ['one container without limits', podOf([full, {}]), 'Burstable'],
  ['limits above requests', podOf([{ ...full, limits: { cpu: '1', memory: '64Mi' } }]), 'Burstable'],
  ['no memory limit', podOf([{ requests: { cpu: '1' }, limits: { cpu: '1' } }]), 'Burstable'],
  ['init container counts', podOf([full], { initContainers: [{ name: 'i' }] }), 'Burstable'],
  ['pod level counts instead of the containers', podOf([{}], { resources: full }), 'Guaranteed'],
  ['other resources do not count', podOf([{ requests: { 'example.com/gpu': '1' } }]), 'BestEffort'],
] as const)('%s', (_, pod, expected) => {
  expect(computeQosClass(pod)).toBe(expected);
});

test('the class in the status is final', () => {
  expect(podQosClass({ ...podOf([full]), status: { qosClass: 'Burstable' } })).toBe('Burstable');
});

test('init containers run one after the other, sidecars run along', () => {
  const pod = podOf([{ requests: { cpu: '100m', memory: '10Mi' } }], {
    initContainers: [
      { name: 'first', resources: { requests: { cpu: '300m' } } },
      { name: 'side', restartPolicy: 'Always', resources: { requests: { cpu: '50m' } } },
      { name: 'second', resources: { requests: { cpu: '280m' } } },
    ],
    overhead: { cpu: '10m' },
  });
  const requests = podRequests(pod);
  expect(formatQuantity(requests.get('cpu')!)).toBe('340m'); // second + side + overhead
  expect(formatQuantity(requests.get('memory')!)).toBe('10Mi');
});

test('a pod is limited when all containers are, and overhead widens only real limits', () => {
  const limits = { limits: { memory: '10Mi' } };
  expect(isPodLimited(podOf([limits, limits]), 'memory')).toBe(true);
  expect(isPodLimited(podOf([limits, {}]), 'memory')).toBe(false);
  expect(isPodLimited(podOf([limits, {}], { resources: { limits: { memory: '1Gi' } } }), 'memory')).toBe(true);
  const amounts = podLimits(podOf([limits], { overhead: { cpu: '1', memory: '1Mi' } }));
  expect(formatQuantity(amounts.get('memory')!)).toBe('11Mi');
  expect(amounts.has('cpu')).toBe(false);
});
