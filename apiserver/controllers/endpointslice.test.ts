import { afterEach, beforeEach, expect, test } from 'vitest';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import type { KubeObject } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import { endpointSlices, nodes, pods, services } from '../../api/resources.ts';
import { EndpointSliceController } from './endpointslice.ts';
import { FakeControlPlane } from './fake-control-plane.ts';

const labels = { app: 'web' };
const service = (spec: Partial<Service['spec']> = {}): Service => ({
  metadata: { name: 'web', namespace: 'default', labels: { team: 'a' } },
  spec: { selector: labels, ports: [{ name: 'http', port: 80, targetPort: 'http', protocol: 'TCP' }], ...spec },
});
const pod = (i: number, more: { ready?: boolean; port?: number; phase?: string } = {}): Pod => ({
  metadata: { name: `web-${i}`, namespace: 'default', labels },
  spec: {
    nodeName: 'n1',
    containers: [{ name: 'c', image: 'i', ports: [{ name: 'http', containerPort: more.port ?? 8080 }] }],
  },
  status: {
    phase: more.phase ?? 'Running',
    podIP: `10.0.${i >> 8}.${i & 255}`,
    podIPs: [{ ip: `10.0.${i >> 8}.${i & 255}` }],
    conditions: [{ type: 'Ready', status: more.ready === false ? 'False' : 'True' }],
  },
});

let cluster: FakeControlPlane;
beforeEach(() => {
  cluster = new FakeControlPlane();
});
afterEach(async () => {
  await cluster.stop();
  expect(cluster.clock.sleeping).toBe(0);
});
const start = () => cluster.start(new EndpointSliceController(cluster.ctx));
const slices = () => cluster.api.all(endpointSlices);
const endpoint = (i: number) =>
  slices()
    .flatMap((s) => s.endpoints ?? [])
    .find((e) => e.targetRef?.name === `web-${i}`);

test('one slice with the Service as owner, its labels, ports and endpoints, and then rest', async () => {
  cluster.api.seed(nodes, { metadata: { name: 'n1', labels: { 'topology.kubernetes.io/zone': 'z1' } } });
  cluster.api.seed(services, service());
  cluster.api.seed(pods, pod(1), pod(2, { ready: false }), pod(3, { phase: 'Succeeded' }));
  await start();
  expect(slices()).toHaveLength(1);
  expect(slices()[0]).toMatchObject({
    metadata: {
      labels: {
        team: 'a',
        'kubernetes.io/service-name': 'web',
        'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
      },
      ownerReferences: [{ kind: 'Service', name: 'web', controller: true, blockOwnerDeletion: true }],
    },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
  });
  expect(endpoint(1)).toMatchObject({
    addresses: ['10.0.0.1'],
    conditions: { ready: true, serving: true, terminating: false },
    nodeName: 'n1',
    zone: 'z1',
  });
  expect(endpoint(2)?.conditions).toEqual({ ready: false, serving: false, terminating: false });
  expect(endpoint(3)).toBeUndefined();
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('a pod being deleted serves on, marked terminating, until it is gone; then an empty slice stays', async () => {
  cluster.api.seed(services, service());
  cluster.api.seed(pods, pod(1));
  await start();
  await cluster.api.delete(pods, { namespace: 'default', name: 'web-1' }, { gracePeriodSeconds: 30 });
  await cluster.pass(200);
  expect(endpoint(1)?.conditions).toEqual({ ready: false, serving: true, terminating: true });
  await cluster.api.delete(pods, { namespace: 'default', name: 'web-1' }, { gracePeriodSeconds: 0 });
  await cluster.pass(200);
  expect(slices().map((s) => s.endpoints)).toEqual([[]]);
});

test('publishNotReadyAddresses makes every endpoint ready', async () => {
  cluster.api.seed(services, service({ publishNotReadyAddresses: true, clusterIP: 'None' }));
  cluster.api.seed(pods, pod(1, { ready: false }));
  await start();
  expect(endpoint(1)?.conditions).toEqual({ ready: true, serving: false, terminating: false });
  expect(slices()[0]?.metadata?.labels).toHaveProperty(['service.kubernetes.io/headless'], '');
});

test('a named port that differs between pods gives a slice for each number', async () => {
  cluster.api.seed(services, service());
  cluster.api.seed(pods, pod(1), pod(2, { port: 9090 }), pod(3));
  await start();
  const ports = slices().map((s) => [s.ports?.[0]?.port, s.endpoints?.length]);
  expect(ports.sort()).toEqual([
    [8080, 2],
    [9090, 1],
  ]);
});

test('250 endpoints fill three slices; a change of one writes one slice, and no endpoint moves', async () => {
  cluster.api.seed(services, service());
  cluster.api.seed(pods, ...Array.from({ length: 250 }, (_, i) => pod(i + 1)));
  await start();
  expect(
    slices()
      .map((s) => s.endpoints?.length)
      .sort(),
  ).toEqual([100, 100, 50]);
  const home = (s: EndpointSlice[]) =>
    new Map(s.flatMap((x) => (x.endpoints ?? []).map((e) => [e.targetRef?.name, x.metadata?.name])));
  const before = home(slices());
  const written = await cluster.writesDuring(async () => {
    await cluster.setPodStatus(pod(120), { conditions: [{ type: 'Ready', status: 'False' }] });
    await cluster.pass(200);
  });
  expect(written).toEqual(['patch pods/status', 'update endpointslices']);
  expect(home(slices())).toEqual(before);
});

test('many pods that change at once are written once', async () => {
  cluster.api.seed(services, service());
  cluster.api.seed(pods, ...Array.from({ length: 20 }, (_, i) => pod(i + 1, { ready: false })));
  await start();
  const written = await cluster.writesDuring(async () => {
    for (let i = 1; i <= 20; i++)
      await cluster.setPodStatus(pod(i), { conditions: [{ type: 'Ready', status: 'True' }] });
    await cluster.pass(200);
  });
  expect(written.filter((w) => w !== 'patch pods/status').length).toBeLessThanOrEqual(2);
  expect(slices()[0]?.endpoints?.every((e) => e.conditions?.ready)).toBe(true);
});

test('while the cache does not show a created slice, no second one is made', async () => {
  cluster.api.seed(services, service());
  await start();
  const create = cluster.api.create.bind(cluster.api);
  for (const s of slices()) await cluster.api.delete(endpointSlices, { namespace: 'default', name: s.metadata!.name! });
  const hidden: KubeObject[] = [];
  cluster.api.create = async (type, name, object, opts) => {
    if (type.plural !== 'endpointslices') return await create(type, name, object, opts);
    hidden.push(object); // stored, but its watch event is late
    return { ...object, metadata: { ...object.metadata, name: 'web-late', resourceVersion: '999999' } };
  };
  await cluster.pass(200);
  await cluster.api.create(pods, { namespace: 'default' }, pod(1));
  await cluster.setPodStatus(pod(1), pod(1).status!);
  await cluster.pass(5_000);
  expect(hidden).toHaveLength(1);
  cluster.api.create = create as typeof cluster.api.create;
  await cluster.pass(10_000); // the event was lost: the Service must not wait for ever
  expect(endpoint(1)).toBeDefined();
});

test('another selector changes the endpoints; a removed slice comes back; a foreign one is left alone', async () => {
  cluster.api.seed(services, service());
  cluster.api.seed(pods, pod(1), {
    ...pod(2),
    metadata: { name: 'web-2', namespace: 'default', labels: { app: 'db' } },
  });
  const foreign: EndpointSlice = {
    metadata: { name: 'mine', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [],
  };
  cluster.api.seed(endpointSlices, foreign);
  await start();
  const body = { spec: { selector: { app: 'db' } } };
  await cluster.api.patch(services, { namespace: 'default', name: 'web' }, { type: 'merge', body });
  await cluster.pass(200);
  expect([endpoint(1), endpoint(2)?.targetRef?.name]).toEqual([undefined, 'web-2']);
  const managed = slices().find((s) => s.metadata?.name !== 'mine')!;
  await cluster.api.delete(endpointSlices, { namespace: 'default', name: managed.metadata!.name! });
  await cluster.pass(200);
  expect(endpoint(2)).toBeDefined();
  expect(slices().find((s) => s.metadata?.name === 'mine')?.endpoints).toEqual([]);
});

test('trafficDistribution makes hints for endpoints that are ready, and takes them away again', async () => {
  cluster.api.seed(nodes, { metadata: { name: 'n1', labels: { 'topology.kubernetes.io/zone': 'z1' } } });
  cluster.api.seed(services, service());
  cluster.api.seed(pods, pod(1), pod(2, { ready: false }));
  await start();
  const distribute = async (trafficDistribution: string | null) => {
    const body = { spec: { trafficDistribution } };
    await cluster.api.patch(services, { namespace: 'default', name: 'web' }, { type: 'merge', body });
    await cluster.pass(200);
    expect(endpoint(2)?.hints).toBeUndefined();
    return endpoint(1)?.hints;
  };
  const [forZones, forNodes] = [[{ name: 'z1' }], [{ name: 'n1' }]];
  expect(endpoint(1)?.hints).toBeUndefined();
  expect(await distribute('PreferClose')).toEqual({ forZones });
  expect(await distribute('PreferSameNode')).toEqual({ forZones, forNodes });
  expect(await distribute('PreferSameZone')).toEqual({ forZones });
  const labels = { 'topology.kubernetes.io/zone': null };
  await cluster.api.patch(nodes, { name: 'n1' }, { type: 'merge', body: { metadata: { labels } } });
  expect(await distribute('PreferSameNode')).toEqual({ forNodes });
  expect(await distribute(null)).toBeUndefined();
});

test('a zone given to a node later reaches the endpoints', async () => {
  cluster.api.seed(services, service());
  cluster.api.seed(nodes, { metadata: { name: 'n1' } });
  cluster.api.seed(pods, pod(1));
  await start();
  const body = { metadata: { labels: { 'topology.kubernetes.io/zone': 'z2' } } };
  await cluster.api.patch(nodes, { name: 'n1' }, { type: 'merge', body });
  await cluster.pass(200);
  expect(endpoint(1)?.zone).toBe('z2');
});
