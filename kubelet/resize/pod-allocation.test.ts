import { describe, expect, test } from 'vitest';
import type { Pod, ResourceRequirements } from '../../api/pod.ts';
import {
  allocationOf,
  allocationShown,
  differs,
  replaceResource,
  resizableContainers,
  sameResource,
  sameResources,
  withAllocation,
} from './pod-allocation.ts';

const SMALL: ResourceRequirements = { requests: { cpu: '100m', memory: '64Mi' }, limits: { memory: '64Mi' } };
const BIG: ResourceRequirements = { requests: { cpu: '1', memory: '128Mi' }, limits: { memory: '128Mi' } };

function podOf(main: ResourceRequirements | undefined, more: NonNullable<Partial<Pod['spec']>> = {}): Pod {
  const resources = main === undefined ? {} : { resources: main };
  return { metadata: { uid: 'u' }, spec: { containers: [{ name: 'main', ...resources }], ...more } };
}

test('a pod that asks for what it has is used as it is', () => {
  const pod = podOf(SMALL);
  expect(withAllocation(pod, allocationOf(podOf({ ...SMALL, requests: { cpu: '0.1', memory: '65536Ki' } })))).toBe(pod);
});

test('a pod that asks for other resources is used with those that it has, init containers too', () => {
  const given = podOf(SMALL, { initContainers: [{ name: 'init', resources: SMALL }] });
  const wanted = podOf(BIG, { initContainers: [{ name: 'init', resources: BIG }] });
  const used = withAllocation(wanted, allocationOf(given));
  expect(resizableContainers(used).map((c) => c.resources)).toEqual([SMALL, SMALL]);
  expect(wanted.spec?.containers[0]?.resources).toBe(BIG);
});

test('resources of the pod as a whole count too, also where they were not there before', () => {
  const wanted = podOf(undefined, { resources: { limits: { cpu: '2' } } });
  expect(differs(wanted, allocationOf(podOf(undefined)))).toBe(true);
  expect(withAllocation(wanted, allocationOf(podOf(undefined))).spec).not.toHaveProperty('resources');
  const smaller = podOf(undefined, { resources: { limits: { cpu: '1' } } });
  expect(withAllocation(wanted, allocationOf(smaller)).spec?.resources).toEqual({ limits: { cpu: '1' } });
});

test.each<[ResourceRequirements | undefined, ResourceRequirements | undefined, boolean]>([
  [undefined, {}, true],
  [undefined, { requests: {} }, true],
  [{ requests: { cpu: '1000m' } }, { requests: { cpu: '1' } }, true],
  [{ requests: { cpu: '1' } }, { limits: { cpu: '1' } }, false],
  [{ requests: { cpu: '1' } }, { requests: { cpu: '1', memory: '1' } }, false],
  [{ requests: { cpu: 'a lot' } }, { requests: { cpu: 'a lot' } }, true],
  [{ requests: { cpu: 'a lot' } }, { requests: { cpu: '1' } }, false],
  [{ requests: { constructor: '1' } }, { requests: { cpu: '1' } }, false],
])('same resources: %j and %j are %s', (a, b, expected) => {
  expect(sameResources(a, b)).toBe(expected);
  expect(sameResources(b, a)).toBe(expected);
});

test('one resource is compared apart from the others; not set is nothing', () => {
  expect(sameResource('cpu', SMALL, { ...BIG, requests: { cpu: '0.1' } })).toBe(true);
  expect(sameResource('memory', SMALL, BIG)).toBe(false);
  expect(sameResource('cpu', { limits: { cpu: '0' } }, undefined)).toBe(true);
});

test('one resource is replaced and the other stays; lists appear and go', () => {
  expect(replaceResource('memory', SMALL, BIG)).toEqual({
    requests: { cpu: '100m', memory: '128Mi' },
    limits: { memory: '128Mi' },
  });
  expect(replaceResource('memory', { requests: { cpu: '1' } }, { limits: { cpu: '2', memory: '1Mi' } })).toEqual({
    requests: { cpu: '1' },
    limits: { memory: '1Mi' },
  });
  expect(replaceResource('cpu', { limits: { cpu: '1' } }, { requests: { 'example.com/gpu': '1' } })).toEqual({});
});

describe('what a status says that a pod was given', () => {
  const shown = {
    name: 'main',
    resources: { ...SMALL, limits: { memory: '60Mi' } },
    allocatedResources: SMALL.requests,
  };
  const wanting = (status: Pod['status'], generation = 2): Pod => ({
    ...podOf(BIG),
    metadata: { uid: 'u', generation },
    ...(status === undefined ? {} : { status }),
  });
  const statuses = { containerStatuses: [shown] } as unknown as NonNullable<Pod['status']>;
  const pending = [{ type: 'PodResizePending', status: 'True' }];
  const given: ResourceRequirements = { requests: { ...SMALL.requests }, limits: { memory: '60Mi' } };

  test.each<[string, Pod, ResourceRequirements | undefined]>([
    ['nothing, without one', wanting(undefined), undefined],
    ['nothing, before it ran', wanting({ observedGeneration: 1 }), undefined],
    ['what it asks for, when that was seen', wanting({ ...statuses, observedGeneration: 2 }), undefined],
    ['what it has, while it waits', wanting({ ...statuses, observedGeneration: 2, conditions: pending }), given],
    ['what it has, when its wish was not seen', wanting({ ...statuses, observedGeneration: 1 }), given],
  ])('%s', (_, pod, expected) => {
    expect(allocationShown(pod)?.containers.get('main')).toEqual(expected);
  });

  test('the sum over the containers, which the status of every pod shows, is nothing that the pod has as a whole', () => {
    const status = { ...statuses, observedGeneration: 1, resources: SMALL };
    expect(allocationShown(wanting(status))).not.toHaveProperty('pod');
    const asked = wanting(status);
    expect(allocationShown({ ...asked, spec: { ...asked.spec!, resources: BIG } })?.pod).toEqual(SMALL);
  });
});
