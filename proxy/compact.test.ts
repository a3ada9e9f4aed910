import { expect, test } from 'vitest';
import type { EndpointSlice, Service } from '../api/kinds.ts';
import { silentLog } from '../core/log.ts';
import { compactService, compactSlice } from './compact.ts';
import { EndpointChanges, TRIGGER_TIME_ANNOTATION } from './endpoint-changes.ts';
import { readServicePorts } from './service-changes.ts';

const metadata = {
  name: 'web',
  namespace: 'ns',
  uid: 'u',
  resourceVersion: '7',
  creationTimestamp: '2026-01-01T00:00:00Z' as never,
  managedFields: [{ manager: 'kubectl' }],
};

const services: Readonly<Record<string, Service['spec']>> = {
  plain: { clusterIP: '10.96.0.1', clusterIPs: ['10.96.0.1'], ipFamilies: ['IPv4'], ports: [{ port: 80 }] },
  'IPv6 alone': { clusterIP: 'fd00::1', clusterIPs: ['fd00::1'], ipFamilies: ['IPv6'], ports: [{ port: 80 }] },
  dual: {
    clusterIP: 'fd00::1',
    clusterIPs: ['fd00::1', '10.96.0.1'],
    ipFamilies: ['IPv6', 'IPv4'],
    ports: [
      { name: 'dns', protocol: 'UDP', port: 53, nodePort: 30053 },
      { name: 'dns-tcp', protocol: 'TCP', port: 53 },
    ],
    externalIPs: ['192.0.2.7'],
  },
  balanced: {
    type: 'LoadBalancer',
    clusterIP: '10.96.0.1',
    clusterIPs: ['10.96.0.1'],
    ports: [{ port: 80 }],
    externalTrafficPolicy: 'Local',
    internalTrafficPolicy: 'Local',
    healthCheckNodePort: 32000,
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
    loadBalancerSourceRanges: ['10.0.0.0/8'],
  },
  ExternalName: { type: 'ExternalName', externalName: 'example.org' },
  headless: { clusterIP: 'None', clusterIPs: ['None'], ports: [{ port: 80 }] },
};

test.each(Object.entries(services))(
  'a Service that is %s means the same to the proxy when it is compact',
  (_, spec) => {
    const status = { loadBalancer: { ingress: [{ ip: '198.51.100.1', ipMode: 'VIP' }] }, conditions: [] };
    const whole: Service = {
      metadata: { ...metadata, labels: { app: 'web' } },
      spec: { ...spec!, selector: {} },
      status,
    };
    for (const family of [4, 6] as const) {
      const meant = readServicePorts(whole, family, () => {});
      expect(readServicePorts(compactService(whole), family, () => {})).toEqual(meant);
    }
    expect(JSON.stringify(compactService(whole))).not.toMatch(/managedFields|creationTimestamp|selector|"app"/);
  },
);

test('the label by which a Service belongs to another proxy is kept', () => {
  const labels = { 'service.kubernetes.io/service-proxy-name': '' };
  const other = { metadata: { ...metadata, labels }, spec: services.plain! };
  expect(readServicePorts(compactService(other), 4, () => {})).toEqual([]);
});

test('a slice means the same to the proxy when it is compact', () => {
  const whole = {
    metadata: {
      ...metadata,
      labels: { 'kubernetes.io/service-name': 'web', other: 'x' },
      annotations: { [TRIGGER_TIME_ANNOTATION]: '2026-01-01T00:00:00Z', other: 'x' },
    },
    addressType: 'IPv4',
    ports: [{ name: '', protocol: 'TCP', port: 8080 }],
    endpoints: [
      { addresses: ['10.244.0.1'], conditions: { ready: true, serving: true, terminating: false }, nodeName: 'a' },
      { addresses: ['10.244.0.2'], conditions: { ready: false, serving: true, terminating: true }, zone: 'z' },
      { addresses: ['10.244.0.3'], hints: { forZones: [{ name: 'z' }], forNodes: [{ name: 'a' }] } },
      { addresses: ['10.244.0.4'], targetRef: { kind: 'Pod', name: 'web-4' }, conditions: {} },
    ],
  } as EndpointSlice;
  const endpointsOf = (slice: EndpointSlice) => {
    const changes = new EndpointChanges(4, 'a', silentLog);
    changes.handle(slice);
    changes.checkout();
    return changes.current.get('ns/web');
  };
  const compact = compactSlice(whole);
  expect(endpointsOf(compact)).toEqual(endpointsOf(whole));
  expect(endpointsOf(compact)?.get('/TCP')).toHaveLength(4);
  expect(compact.metadata?.annotations).toEqual({ [TRIGGER_TIME_ANNOTATION]: '2026-01-01T00:00:00Z' });
  expect(JSON.stringify(compact)).not.toMatch(/managedFields|creationTimestamp|targetRef|other/);
});

test('what is missing or of a wrong kind is no failure', () => {
  expect(() => compactSlice({ endpoints: [null], metadata: undefined } as never)).not.toThrow();
  expect(() => compactService({ spec: { clusterIPs: null, ipFamilies: null } } as never)).not.toThrow();
});
