import { afterEach, beforeEach, expect, test } from 'vitest';
import type { EndpointSlice } from '../../api/kinds.ts';
import { endpointSlices, services } from '../../api/resources.ts';
import { ClusterDnsController, clusterDnsIp } from './cluster-dns.ts';
import { FakeControlPlane, named } from './fake-control-plane.ts';

const name = { namespace: 'kube-system', name: 'kube-dns' };
const opts = { serviceCidr: '10.96.0.0/16', address: '172.29.100.1', port: 4053 };
let cluster: FakeControlPlane;

beforeEach(() => {
  cluster = new FakeControlPlane();
});
afterEach(() => cluster.stop());

const targets = ({ endpoints, ports }: EndpointSlice) => [
  ...(endpoints ?? []).flatMap((e) => e.addresses),
  ...(ports ?? []).map((p) => `${p.name} ${p.port}/${p.protocol}`),
];
const storedSlice = () => named(cluster.api.all(endpointSlices), 'kube-dns');

test('the Service has the tenth address and leads to the server', async () => {
  await cluster.start(new ClusterDnsController(cluster.ctx, opts));
  expect(named(cluster.api.all(services), 'kube-dns')).toMatchObject({
    metadata: { namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns', 'kubernetes.io/name': 'CoreDNS' } },
    spec: {
      clusterIP: '10.96.0.10',
      ports: [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, protocol: 'TCP' },
      ],
    },
  });
  expect(targets(storedSlice())).toEqual(['172.29.100.1', 'dns 4053/UDP', 'dns-tcp 4053/TCP']);
  expect(clusterDnsIp('fd00:1::/108')).toBe('fd00:1::a');
});

test('what is removed or changed comes back, and then nothing more is written', async () => {
  await cluster.start(new ClusterDnsController(cluster.ctx, opts));
  await cluster.api.delete(services, name);
  await cluster.api.delete(endpointSlices, name);
  await cluster.settle();
  expect(targets(storedSlice())).toContain('172.29.100.1');
  await cluster.api.patch(endpointSlices, name, { type: 'merge', body: { endpoints: [] } });
  await cluster.settle();
  expect(targets(storedSlice())).toContain('172.29.100.1');
  expect(await cluster.writesDuring(() => cluster.pass(60_000))).toEqual([]);
});

test('started again on another port, the slice follows', async () => {
  await cluster.start(new ClusterDnsController(cluster.ctx, opts));
  const first = cluster;
  cluster = new FakeControlPlane();
  await cluster.api.create(services, { namespace: 'kube-system' }, named(first.api.all(services), 'kube-dns'));
  await cluster.api.create(
    endpointSlices,
    { namespace: 'kube-system' },
    named(first.api.all(endpointSlices), 'kube-dns'),
  );
  await first.stop();
  await cluster.start(new ClusterDnsController(cluster.ctx, { ...opts, port: 5053 }));
  expect(targets(storedSlice())).toEqual(['172.29.100.1', 'dns 5053/UDP', 'dns-tcp 5053/TCP']);
});

test('DNS that somebody runs as pods is left to them', async () => {
  await cluster.api.create(
    services,
    { namespace: 'kube-system' },
    { apiVersion: 'v1', kind: 'Service', metadata: name, spec: { selector: { 'k8s-app': 'kube-dns' }, ports: [] } },
  );
  await cluster.start(new ClusterDnsController(cluster.ctx, opts));
  expect(cluster.writes()).toEqual(['create services']);
});
