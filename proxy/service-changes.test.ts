import { describe, expect, test } from 'vitest';
import type { Service } from '../api/kinds.ts';
import { silentLog } from '../core/log.ts';
import { readServicePorts, ServiceChanges } from './service-changes.ts';

type Spec = NonNullable<Service['spec']>;

function service(spec: Partial<Spec>, more: Partial<Service> = {}): Service {
  const ports = [{ name: 'p', port: 80 }];
  return { metadata: { namespace: 'ns', name: 'web' }, spec: { clusterIP: '10.96.0.1', ports, ...spec }, ...more };
}

const read = (s: Service, family: 4 | 6 = 4) => readServicePorts(s, family, () => {});

test('a port becomes a record with its own name, whatever the type', () => {
  expect(read(service({}))).toEqual([
    {
      serviceKey: 'ns/web',
      nameString: 'ns/web:p',
      portId: 'p/TCP',
      protocol: 'TCP',
      clusterIp: '10.96.0.1',
      port: 80,
      nodePort: undefined,
      externalIps: [],
      loadBalancerVips: [],
      sourceRanges: [],
      affinitySeconds: undefined,
      externalPolicyLocal: false,
      internalPolicyLocal: false,
      healthCheckNodePort: undefined,
    },
  ]);
  const ports = [
    { port: 53, protocol: 'UDP' as const },
    { name: 'x', port: 53, nodePort: 30_053 },
  ];
  expect(read(service({ ports })).map((p) => [p.nameString, p.portId, p.nodePort])).toEqual([
    ['ns/web', '/UDP', undefined],
    ['ns/web:x', 'x/TCP', 30_053],
  ]);
});

test.each([
  ['headless', service({ clusterIP: 'None' })],
  ['without an address yet', service({ clusterIP: '' })],
  ['an ExternalName', service({ type: 'ExternalName' })],
  [
    'labelled for another proxy, be the label empty',
    service(
      {},
      { metadata: { namespace: 'ns', name: 'web', labels: { 'service.kubernetes.io/service-proxy-name': '' } } },
    ),
  ],
  ['of the other family', service({ clusterIP: 'fd00::1' })],
])('a Service that is %s has no ports here', (_what, s) => expect(read(s)).toEqual([]));

test('of a dual-stack Service each family takes its own addresses', () => {
  const s = service({
    clusterIP: 'fd00:96::1',
    clusterIPs: ['fd00:96::1', '10.96.0.7'],
    ipFamilies: ['IPv6', 'IPv4'],
    externalIPs: ['198.51.100.1', '2001:DB8::CB00:71FA', 'no address'],
    loadBalancerSourceRanges: [' 192.0.2.0/24 ', '2001:db8::/32', '192.0.2.1'],
  });
  expect(read(s)).toMatchObject([
    { clusterIp: '10.96.0.7', externalIps: ['198.51.100.1'], sourceRanges: ['192.0.2.0/24'] },
  ]);
  expect(read(s, 6)).toMatchObject([
    { clusterIp: 'fd00:96::1', externalIps: ['2001:db8::cb00:71fa'], sourceRanges: ['2001:db8::/32'] },
  ]);
  const single = service({ clusterIP: '10.96.0.7', clusterIPs: ['10.96.0.7'], ipFamilies: ['IPv4'] });
  expect(read(single, 6)).toEqual([]);
});

test('leading zeros of an address are read as decimal digits', () => {
  expect(read(service({ clusterIP: '10.96.0.011' }))).toMatchObject([{ clusterIp: '10.96.0.11' }]);
});

test('one range for everybody opens the load balancer to everybody', () => {
  const ranges = ['192.0.2.0/24', '0.0.0.0/0'];
  expect(read(service({ loadBalancerSourceRanges: ranges }))).toMatchObject([{ sourceRanges: [] }]);
});

test('addresses of a load balancer that wants to see the traffic itself are left alone', () => {
  const ingress = [
    { ip: '203.0.113.1' },
    { ip: '203.0.113.2', ipMode: 'VIP' },
    { ip: '203.0.113.3', ipMode: 'Proxy' },
    { hostname: 'lb.example' },
  ];
  const s = service({ type: 'LoadBalancer' }, { status: { loadBalancer: { ingress } } } as Partial<Service>);
  expect(read(s)).toMatchObject([{ loadBalancerVips: ['203.0.113.1', '203.0.113.2'] }]);
});

describe('policies', () => {
  test.each([
    ['LoadBalancer', [], true, 31_000],
    ['NodePort', [], true, undefined],
    ['ClusterIP', ['198.51.100.1'], true, undefined],
    ['ClusterIP', [], false, undefined],
  ] as const)('externalTrafficPolicy Local of a %s with external IPs %j', (type, ips, isLocal, healthCheckNodePort) => {
    const local = { externalTrafficPolicy: 'Local', healthCheckNodePort: 31_000 } as const;
    const s = service({ type, externalIPs: [...ips], ...local });
    expect(read(s)).toMatchObject([{ externalPolicyLocal: isLocal, healthCheckNodePort }]);
  });

  test('a health check without a port, or of the Cluster policy, is none', () => {
    const local = service({ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 0 });
    expect(read(local)).toMatchObject([{ externalPolicyLocal: true, healthCheckNodePort: undefined }]);
    const cluster = service({ type: 'LoadBalancer', healthCheckNodePort: 31_000 });
    expect(read(cluster)).toMatchObject([{ healthCheckNodePort: undefined }]);
  });

  test('internalTrafficPolicy and session affinity', () => {
    expect(read(service({ internalTrafficPolicy: 'Local' }))).toMatchObject([{ internalPolicyLocal: true }]);
    expect(read(service({ sessionAffinity: 'ClientIP' }))).toMatchObject([{ affinitySeconds: 10_800 }]);
    const sessionAffinityConfig = { clientIP: { timeoutSeconds: 125 } };
    const timed = service({ sessionAffinity: 'ClientIP', sessionAffinityConfig });
    expect(read(timed)).toMatchObject([{ affinitySeconds: 125 }]);
    const off = service({ sessionAffinity: 'None', sessionAffinityConfig });
    expect(read(off)).toMatchObject([{ affinitySeconds: undefined }]);
  });
});

test('what leaves the records equal waits for no sync, and neither does what is taken back', () => {
  const changes = new ServiceChanges(4, silentLog);
  expect(changes.handle('ns/web', service({}))).toBe(true);
  expect([...changes.checkout()]).toEqual(['ns/web']);
  const labelled = service({}, { metadata: { namespace: 'ns', name: 'web', labels: { tier: 'front' } } });
  expect(changes.handle('ns/web', labelled)).toBe(false);
  expect(changes.handle('ns/other', service({}))).toBe(true);
  expect(changes.handle('ns/other', undefined)).toBe(false);
  const disabled = { 'service.kubernetes.io/service-proxy-name': 'foo' };
  changes.handle('ns/web', service({}, { metadata: { namespace: 'ns', name: 'web', labels: disabled } }));
  expect(changes.has('ns/web')).toBe(false);
  expect([...changes.checkout()]).toEqual(['ns/web']);
  expect(changes.current.has('ns/web')).toBe(false);
});
