import { expect, test } from 'vitest';
import type { Service } from '../../../api/kinds.ts';
import { serviceFaults, serviceUpdateFaults } from './service.ts';

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
  [
    'a class that is no name',
    { loadBalancerClass: 'x y' },
    [expect.stringMatching(/^spec.loadBalancerClass: Invalid value: "x y": /)],
  ],
  ['the port of the kubelet, within the cluster', { ...CLUSTER_IP, ports: [{ port: 10250, protocol: 'TCP' }] }, []],
  [
    'an affinity of more than a day',
    { sessionAffinityConfig: { clientIP: { timeoutSeconds: 86_401 } } },
    [
      'spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400',
    ],
  ],
  [
    'a balancer without an address',
    { clusterIP: 'None' },
    [`spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for LoadBalancer services`],
  ],
  [
    'external addresses of hosts and links',
    { externalIPs: ['127.0.0.2', 'fe80::1', '169.254.1.1', '192.0.2.1'] },
    [
      'spec.externalIPs[0]: Invalid value: "127.0.0.2": may not be in the loopback range (127.0.0.0/8, ::1/128)',
      'spec.externalIPs[1]: Invalid value: "fe80::1": may not be in the link-local range (169.254.0.0/16, fe80::/10)',
      'spec.externalIPs[2]: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)',
    ],
  ],
  [
    'ports of one number, without names',
    { ports: [...PORTS, ...PORTS] },
    [
      'spec.ports[0].name: Required value',
      'spec.ports[1].name: Required value',
      expect.stringMatching(/^spec.ports\[1\]: Duplicate value: /),
    ],
  ],
])('%s', (_what, spec, expected) => {
  expect(told(spec)).toEqual(expected);
});

test('the port of a health check stays what it is', () => {
  const service = (healthCheckNodePort: number) => ({ spec: { ...BASE, healthCheckNodePort } }) as Service;
  expect(serviceUpdateFaults(service(30_001), service(30_000))).toMatchObject([{ field: 'spec.healthCheckNodePort' }]);
  expect(serviceUpdateFaults(service(30_000), service(30_000))).toEqual([]);
});

test('source ranges in the annotation of old are held to the same', () => {
  expect(told({}, { [RANGES]: '10.0.0.0/8, 192.0.2.0/24' })).toEqual([]);
  expect(told({}, { [RANGES]: '10.0.0.0/8,x' })).toEqual([
    `metadata.annotations[${RANGES}]: Invalid value: "x": ${NO_CIDR}`,
  ]);
  expect(told({ loadBalancerSourceRanges: ['10.0.0.0/8'] }, { [RANGES]: 'x' })).toEqual([]); // the field wins
  expect(told(CLUSTER_IP, { [RANGES]: '' })).toEqual([`metadata.annotations[${RANGES}]: ${ONLY_BALANCER}`]);
});
