import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { Registry } from '../../core/metrics.ts';
import { decodeMessage, encodeMessage } from '../../cri/codec.ts';
import type { ListPodResourcesResponse } from '../../cri/gen/messages.ts';
import { allocatableResources, podDevices, podResources, type ResourceReports } from './pod-resources.ts';
import { PodResourcesService } from './pod-resources-service.ts';

const pod = {
  metadata: { name: 'web', namespace: 'ns', uid: 'uid' },
  spec: {
    initContainers: [{ name: 'init' }, { name: 'sidecar', restartPolicy: 'Always' }],
    containers: [{ name: 'main' }, { name: 'plain' }],
  },
} as Pod;

const only =
  <T>(name: string, value: readonly T[]) =>
  (_uid: string, container: string) =>
    container === name ? value : [];

const reports: ResourceReports = {
  cpus: { exclusiveCpus: only('main', [2, 3]), allocatableCpus: () => [1, 2, 3] },
  memory: {
    memoryOf: only('main', [{ type: 'memory', sizeBytes: 2 ** 30, numaNodes: [0, 1] }]),
    allocatableMemory: () => [{ type: 'hugepages-2Mi', sizeBytes: 0, numaNodes: [0] }],
  },
  devices: {
    devicesOf: only('main', [
      { resourceName: 'x.com/gpu', deviceId: 'g1', numaNodes: [0, 1] },
      { resourceName: 'x.com/nic', deviceId: 'n1', numaNodes: [] },
    ]),
    allocatableDevices: () => [{ resourceName: 'x.com/nic', deviceId: 'n1', numaNodes: [] }],
  },
  claims: {
    usedBy: (_pod, { name }) => {
      if (name === 'plain') throw new Error('not prepared');
      if (name !== 'sidecar') return [];
      const device = { poolName: 'p', deviceName: 'd', requestNames: [], cdiDeviceIds: ['v/c=1', 'v/c=2'] };
      const drivers = new Map([['dra.x.com', [device, { ...device, shareId: 's', cdiDeviceIds: [] }]]]);
      return [{ uid: 'c', name: 'claim', namespace: 'ns', podUids: new Set(['uid']), drivers }];
    },
  },
};

const nothing = { devices: [], cpuIds: [], memory: [], dynamicResources: [] };

test('containers that run on are told with all that they were given, init containers that end are not', () => {
  expect(podResources(pod, reports)).toEqual({
    name: 'web',
    namespace: 'ns',
    containers: [
      {
        ...nothing,
        name: 'sidecar',
        dynamicResources: [
          {
            claimName: 'claim',
            claimNamespace: 'ns',
            claimResources: [
              {
                cdiDevices: [{ name: 'v/c=1' }, { name: 'v/c=2' }],
                driverName: 'dra.x.com',
                poolName: 'p',
                deviceName: 'd',
                shareId: '',
              },
              { cdiDevices: [], driverName: 'dra.x.com', poolName: 'p', deviceName: 'd', shareId: 's' },
            ],
          },
        ],
      },
      {
        ...nothing,
        name: 'main',
        cpuIds: [2, 3],
        memory: [{ memoryType: 'memory', size: 2 ** 30, topology: { nodes: [{ ID: 0 }, { ID: 1 }] } }],
        devices: [
          { resourceName: 'x.com/gpu', deviceIds: ['g1'], topology: { nodes: [{ ID: 0 }] } },
          { resourceName: 'x.com/gpu', deviceIds: ['g1'], topology: { nodes: [{ ID: 1 }] } },
          { resourceName: 'x.com/nic', deviceIds: ['n1'], topology: undefined },
        ],
      },
      { ...nothing, name: 'plain' },
    ],
  });
});

test('on a node without managers containers are told with nothing', () => {
  expect(podResources(pod, {}).containers).toEqual(['sidecar', 'main', 'plain'].map((name) => ({ ...nothing, name })));
  expect(allocatableResources({})).toEqual({ devices: [], cpuIds: [], memory: [] });
});

test('what can be given away', () => {
  expect(allocatableResources(reports)).toEqual({
    devices: [{ resourceName: 'x.com/nic', deviceIds: ['n1'], topology: undefined }],
    cpuIds: [1, 2, 3],
    memory: [{ memoryType: 'hugepages-2Mi', size: 0, topology: { nodes: [{ ID: 0 }] } }],
  });
});

test('the old version tells regular containers and devices alone', () => {
  expect(podDevices(pod, reports).containers).toEqual([
    {
      ...nothing,
      name: 'main',
      devices: ['g1', 'g1', 'n1'].map((id) => ({
        resourceName: id === 'n1' ? 'x.com/nic' : 'x.com/gpu',
        deviceIds: [id],
        topology: undefined,
      })),
    },
    { ...nothing, name: 'plain' },
  ]);
});

test('the answer survives the wire', () => {
  const answer: ListPodResourcesResponse = { podResources: [podResources(pod, reports)] };
  expect(decodeMessage('ListPodResourcesResponse', encodeMessage('ListPodResourcesResponse', answer))).toEqual(answer);
});

test('calls are counted by version, and refused beyond 10 at once and 100 in a second', async () => {
  const clock = new FakeClock();
  const registry = new Registry();
  const service = new PodResourcesService({
    activePods: () => [pod],
    allPods: () => [pod, pod],
    podByName: (namespace, name) => (namespace === 'ns' && name === 'web' ? pod : undefined),
    reports: {},
    registry,
    clock,
  });
  const call = (path: string, request: object = {}) => {
    const method = service.methods().find((m) => m.path === path)!;
    return (method as unknown as { answer: (request: object) => object }).answer(request);
  };
  expect(call('/v1.PodResourcesLister/List')).toMatchObject({ podResources: [{ name: 'web' }] });
  expect(call('/v1alpha1.PodResourcesLister/List')).toMatchObject({ podResources: [{ name: 'web' }, { name: 'web' }] });
  expect(call('/v1.PodResourcesLister/GetAllocatableResources')).toEqual({ devices: [], cpuIds: [], memory: [] });
  expect(call('/v1.PodResourcesLister/Get', { podName: 'web', podNamespace: 'ns' })).toMatchObject({
    podResources: { name: 'web' },
  });
  expect(() => call('/v1.PodResourcesLister/Get', { podName: 'web', podNamespace: 'other' })).toThrow(
    'pod web in namespace other not found',
  );
  for (let i = 5; i < 10; i++) call('/v1.PodResourcesLister/List');
  const refusal = expect.objectContaining({ code: 'RESOURCE_EXHAUSTED', message: 'rejected by rate limit' });
  expect(() => call('/v1.PodResourcesLister/List')).toThrow(refusal);
  await clock.advance(10);
  call('/v1.PodResourcesLister/List');
  expect(() => call('/v1.PodResourcesLister/List')).toThrow(refusal);
  const counts = (await registry.metrics()).split('\n').filter((line) => line.startsWith('kubelet_pod_resources'));
  expect(counts.sort()).toEqual([
    'kubelet_pod_resources_endpoint_errors_get{server_api_version="v1"} 1',
    'kubelet_pod_resources_endpoint_requests_get_allocatable{server_api_version="v1"} 1',
    'kubelet_pod_resources_endpoint_requests_get{server_api_version="v1"} 2',
    'kubelet_pod_resources_endpoint_requests_list{server_api_version="v1"} 7',
    'kubelet_pod_resources_endpoint_requests_total{server_api_version="v1"} 10',
    'kubelet_pod_resources_endpoint_requests_total{server_api_version="v1alpha1"} 1',
  ]);
});
