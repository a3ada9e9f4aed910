import { expect, test } from 'vitest';
import type { NodeStatus } from '../../api/kinds.ts';
import { parseQuantity } from '../../api/quantity.ts';
import type { Image } from '../../cri/gen/messages.ts';
import { factsOf } from './fake-facts.ts';
import { computeImages, computeNodeStatus, isStatusChanged } from './node-status.ts';

const NOW = Date.UTC(2026, 0, 1);
const conditionOf = (status: NodeStatus, type: string) => status.conditions?.find((c) => c.type === type);

test('the first status: capacity in the usual formats, allocatable less huge pages and reservations', () => {
  const reservations = [{ cpu: parseQuantity('100m'), memory: parseQuantity('100Mi') }];
  const { status, eventReasons } = computeNodeStatus({}, factsOf({ reservations }), NOW);
  expect(status.capacity).toEqual({
    cpu: '2',
    memory: '4Gi',
    'hugepages-2Mi': '16Mi',
    pods: '110',
    'ephemeral-storage': '10Gi',
  });
  expect(status.allocatable).toMatchObject({ cpu: '1900m', memory: `${4096 - 100 - 16}Mi`, pods: '110' });
  expect(status.nodeInfo?.containerRuntimeVersion).toBe('containerd://1.6.20');
  expect(status.conditions?.map((c) => c.type)).toEqual(['MemoryPressure', 'DiskPressure', 'PIDPressure', 'Ready']);
  expect(conditionOf(status, 'Ready')).toMatchObject({ status: 'True', reason: 'KubeletReady' });
  // Sufficient events on the first report, none for Ready: it did not flip.
  expect(eventReasons).toEqual(['NodeHasSufficientMemory', 'NodeHasNoDiskPressure', 'NodeHasSufficientPID']);
});

test('a condition of the network agent and foreign resources are kept', () => {
  const network = { type: 'NetworkUnavailable', status: 'False', reason: 'FlannelIsUp' };
  const old: NodeStatus = { conditions: [network], capacity: { 'example.com/fpga': '2', 'hugepages-1Gi': '0' } };
  const { status } = computeNodeStatus(old, factsOf(), NOW);
  expect(conditionOf(status, 'NetworkUnavailable')).toBe(network);
  expect(status.capacity?.['example.com/fpga']).toBe('2');
  expect(status.allocatable?.['example.com/fpga']).toBe('2');
  expect(status.capacity?.['hugepages-1Gi']).toBeUndefined();
});

test('devices: all of them, those that are healthy, and none of a plugin that went', () => {
  const devices = new Map([
    ['a.com/gpu', { capacity: 4, allocatable: 3 }],
    ['b.com/gone', { capacity: 0, allocatable: 0 }],
  ]);
  const old = { capacity: { 'a.com/gpu': '1', 'b.com/gone': '7', 'c.com/hand': '5' } };
  const { capacity, allocatable } = computeNodeStatus(old, factsOf({ devices }), 0).status;
  expect(capacity).toMatchObject({ 'a.com/gpu': '4', 'b.com/gone': '0', 'c.com/hand': '5' });
  expect(allocatable).toMatchObject({ 'a.com/gpu': '3', 'b.com/gone': '0', 'c.com/hand': '5' });
});

test('features are declared, and taken back', () => {
  const declaredFeatures = ['ExtendWebSocketsToKubelet'];
  const { status } = computeNodeStatus({}, factsOf({ declaredFeatures }), NOW);
  expect(status).toMatchObject({ declaredFeatures });
  for (const none of [{}, { declaredFeatures: [] }]) {
    expect(computeNodeStatus(status, factsOf(none), NOW).status).not.toHaveProperty('declaredFeatures');
  }
});

test('Ready goes and comes with reason, time and event', () => {
  const first = computeNodeStatus({}, factsOf(), NOW).status;
  const down = computeNodeStatus(first, factsOf({ notReady: ['a', 'b', 'a'] }), NOW + 60_000);
  expect(conditionOf(down.status, 'Ready')).toMatchObject({
    status: 'False',
    reason: 'KubeletNotReady',
    message: '[a, b]',
    lastTransitionTime: '2026-01-01T00:01:00Z',
  });
  expect(down.eventReasons).toEqual(['NodeNotReady']);
  expect(computeNodeStatus(down.status, factsOf(), NOW).eventReasons).toEqual(['NodeReady']);
});

test('pressure', () => {
  const { status } = computeNodeStatus({}, factsOf({ pressure: ['MemoryPressure'] }), NOW);
  expect(conditionOf(status, 'MemoryPressure')).toMatchObject({
    status: 'True',
    reason: 'KubeletHasInsufficientMemory',
    message: 'kubelet has insufficient memory available',
  });
});

test('later heartbeats and other spellings of an amount are no change, addresses are', () => {
  const first = computeNodeStatus({}, factsOf(), NOW).status;
  const later = computeNodeStatus(first, factsOf(), NOW + 10_000).status;
  expect(isStatusChanged(first, later)).toBe(false);
  expect(isStatusChanged({ ...first, capacity: { ...first.capacity, cpu: '2000m' } }, first)).toBe(false);
  const moved = computeNodeStatus(first, factsOf({ addresses: [{ type: 'Hostname', address: 'n1' }] }), NOW).status;
  expect(isStatusChanged(first, moved)).toBe(true);
  expect(computeNodeStatus(first, factsOf({ addresses: undefined }), NOW).status.addresses).toEqual(first.addresses);
});

test('an image without names, which a server written in Go gives back with null for them, is no change', () => {
  const nameless: Image = { id: 'a', size: 1, repoTags: [], repoDigests: [], username: '', pinned: false };
  const { status } = computeNodeStatus({}, factsOf({ images: [nameless] }), NOW);
  expect(status.images).toEqual([{ names: [], sizeBytes: 1 }]);
  const back = { ...status, images: [{ names: null, sizeBytes: 1 }] } as unknown as typeof status;
  expect(isStatusChanged(back, status)).toBe(false);
});

test('images: biggest first, at most five names each', () => {
  const image = (id: string, size: number): Image => ({
    id,
    size,
    repoTags: ['t1', 't2'],
    repoDigests: ['d1', 'd2', 'd3', 'd4'],
    username: '',
    pinned: false,
  });
  const images = computeImages([image('a', 1), image('c', 5), image('b', 5)], 2);
  expect(images.map((i) => i.sizeBytes)).toEqual([5, 5]);
  expect(images[0]?.names).toEqual(['d1', 'd2', 'd3', 'd4', 't1']);
  expect(computeImages([image('a', 1)], 0)).toEqual([]);
});
