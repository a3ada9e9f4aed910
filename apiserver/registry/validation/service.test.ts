import { expect, test } from 'vitest';
import type { Service } from '../../../api/kinds.ts';
import { serviceFaults } from './service.ts';

const faults = (ports: NonNullable<NonNullable<Service['spec']>['ports']>) =>
  serviceFaults({ spec: { type: 'NodePort', sessionAffinity: 'None', clusterIP: '10.96.0.5', ports } } as Service);

test('a node port is had by one port of each protocol', () => {
  const tcp = { name: 'a', port: 80, protocol: 'TCP', nodePort: 30_001 };
  expect(faults([tcp, { ...tcp, name: 'b', protocol: 'UDP' }])).toEqual([]);
  expect(faults([tcp, { ...tcp, name: 'b', port: 81 }])).toMatchObject([
    { field: 'spec.ports[1].nodePort', message: 'Duplicate value: 30001' },
  ]);
});

const BASE = { type: 'LoadBalancer', sessionAffinity: 'None', clusterIP: '10.96.0.5', externalTrafficPolicy: 'Local' };
const PORTS = [{ port: 80, protocol: 'TCP' }];
const told = (spec: object, annotations?: Record<string, string>) =>
  serviceFaults({ metadata: { annotations }, spec: { ports: PORTS, ...BASE, ...spec } } as Service).map(
    ({ field, message }) => `${field}: ${message}`,
  );
const NO_CIDR = 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)';
const ONLY_BALANCER = "Forbidden: may only be used when `type` is 'LoadBalancer'";
const RANGES = 'service.beta.kubernetes.io/load-balancer-source-ranges';
const CLUSTER_IP = { type: 'ClusterIP', externalTrafficPolicy: undefined };

test.each<[string, object, string[]]>([
  ['ranges, blanks around them', { loadBalancerSourceRanges: ['10.0.0.0/8', ' 2001:db8::/64 '] }, []],
  [
    'a range that is none',
    { loadBalancerSourceRanges: ['10.0.0.0/8', '10.0.0.0/33'] },
    [`spec.LoadBalancerSourceRanges[1]: Invalid value: "10.0.0.0/33": ${NO_CIDR}`],
  ],
  [
    'ranges of another type',
    { ...CLUSTER_IP, loadBalancerSourceRanges: ['10.0.0.0/8'] },
    [`spec.LoadBalancerSourceRanges: ${ONLY_BALANCER}`],
  ],
  [
    'what only balancers have',
    { ...CLUSTER_IP, allocateLoadBalancerNodePorts: false, loadBalancerClass: 'x.y/z' },
    [`spec.allocateLoadBalancerNodePorts: ${ONLY_BALANCER}`, `spec.loadBalancerClass: ${ONLY_BALANCER}`],
  ],
  [
    'the port of the kubelet',
    { ports: [{ port: 10250, protocol: 'TCP' }] },
    ['spec.ports[0]: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet'],
  ],
  [
    'a distribution',
    { trafficDistribution: 'Near' },
    [
      'spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameNode", "PreferSameZone"',
    ],
  ],
  [
    'a policy for traffic that cannot come',
    { ...CLUSTER_IP, externalTrafficPolicy: 'Local' },
    ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'],
  ],
  [
    'a health check that nobody makes',
    { externalTrafficPolicy: 'Cluster', healthCheckNodePort: 30_000 },
    [
      "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
    ],
  ],
])('%s', (_what, spec, expected) => {
  expect(told(spec)).toEqual(expected);
});

test('source ranges in the annotation of old are held to the same', () => {
  expect(told({}, { [RANGES]: '10.0.0.0/8, 192.0.2.0/24' })).toEqual([]);
  expect(told({}, { [RANGES]: '10.0.0.0/8,x' })).toEqual([
    `metadata.annotations[${RANGES}]: Invalid value: "x": ${NO_CIDR}`,
  ]);
  expect(told(CLUSTER_IP, { [RANGES]: '' })).toEqual([`metadata.annotations[${RANGES}]: ${ONLY_BALANCER}`]);
});
