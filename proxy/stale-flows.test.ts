import { expect, test } from 'vitest';
import type { UdpFlowGroup } from '../host/conntrack.ts';
import type { Endpoint, ServicePort } from './service-map.ts';
import { staleUdpFlows } from './stale-flows.ts';

const dns: ServicePort = {
  serviceKey: 'ns/dns',
  nameString: 'ns/dns:dns',
  portId: 'UDP dns',
  protocol: 'UDP',
  clusterIp: '10.96.0.10',
  port: 53,
  nodePort: 30053,
  externalIps: ['198.51.100.1'],
  loadBalancerVips: [],
  sourceRanges: [],
  affinitySeconds: undefined,
  externalPolicyLocal: false,
  internalPolicyLocal: false,
  healthCheckNodePort: undefined,
};

function endpoint(ip: string, state: Partial<Endpoint> = {}): Endpoint {
  const conditions = { isLocal: true, ready: true, serving: true, terminating: false };
  return { ip, port: 5353, address: `${ip}:5353`, ...conditions, zoneHints: [], nodeHints: [], ...state };
}

function flow(originalIp: string, originalPort: number, replyIp: string, replyPort = 5353): UdpFlowGroup {
  return { originalIp, originalPort, replyIp, replyPort };
}

function stale(flows: readonly UdpFlowGroup[], endpoints: readonly Endpoint[], port = dns): readonly UdpFlowGroup[] {
  return staleUdpFlows(
    flows,
    new Map([['ns/dns', [port]]]),
    new Map([['ns/dns', new Map([[port.portId, endpoints]])]]),
  );
}

test.each([
  ['to an endpoint that is gone', flow('10.96.0.10', 53, '10.244.1.9'), true],
  ['through an external address', flow('198.51.100.1', 53, '10.244.1.9'), true],
  ['through the node port of any address', flow('192.0.2.1', 30053, '10.244.1.9'), true],
  ['begun before the Service was translated at all', flow('10.96.0.10', 53, '10.96.0.10', 53), true],
  ['to an endpoint whose port is another one now', flow('10.96.0.10', 53, '10.244.1.1', 53), true],
  ['to an endpoint that is published although it is not ready', flow('10.96.0.10', 53, '10.244.1.3'), true],
  ['to an address of the Service with another port', flow('10.96.0.10', 54, '10.244.1.9'), false],
  ['to an endpoint that answers', flow('10.96.0.10', 53, '10.244.1.1'), false],
  ['to an endpoint that is terminating but answers', flow('10.96.0.10', 53, '10.244.1.2'), false],
  ['of nobody we know', flow('203.0.113.1', 53, '203.0.113.1', 53), false],
])('a UDP flow %s is stale: %s', (_what, f, expected) => {
  const draining = endpoint('10.244.1.2', { ready: false, terminating: true });
  const published = endpoint('10.244.1.3', { serving: false });
  expect(stale([f], [endpoint('10.244.1.1'), draining, published])).toEqual(expected ? [f] : []);
});

test('flows stay while a Service has no endpoint, and those of TCP ports always', () => {
  const f = flow('10.96.0.10', 53, '10.244.1.9');
  expect(stale([f], [endpoint('10.244.1.1', { ready: false, serving: false })])).toEqual([]);
  expect(stale([f], [endpoint('10.244.1.1')], { ...dns, protocol: 'TCP' })).toEqual([]);
});
