import { expect, test } from 'vitest';
import type { Service } from '../../api/kinds.ts';
import { defaultService } from './defaults/service.ts';
import { ServiceAllocator } from './service-allocator.ts';

const options = { serviceCidr: '10.96.0.0/28', firstNodePort: 30_000, lastNodePort: 30_003 };
const service = (name: string, spec: NonNullable<Service['spec']>): Service => {
  const made: Service = { metadata: { name, namespace: 'default' }, spec };
  defaultService(made);
  return made;
};
const reserve = (allocator: ServiceAllocator, next: Service, old?: Service) => {
  allocator.reserve(next, old).commit();
  return next.spec!;
};

test('every address is given out once; network and broadcast never', () => {
  const allocator = new ServiceAllocator(options);
  const given = Array.from({ length: 14 }, (_, i) => reserve(allocator, service(`s${i}`, {})).clusterIP);
  expect(new Set(given).size).toBe(14);
  expect(given).not.toContain('10.96.0.0');
  expect(given).not.toContain('10.96.0.15');
  expect(() => allocator.reserve(service('one-too-many', {}), undefined)).toThrow('range is full');
});

test('a taken or foreign address is refused with its field', () => {
  const allocator = new ServiceAllocator(options);
  reserve(allocator, service('a', { clusterIP: '10.96.0.5' }));
  expect(() => allocator.reserve(service('b', { clusterIP: '10.96.0.5' }), undefined)).toThrow(
    'spec.clusterIPs: Invalid value: ["10.96.0.5"]: failed to allocate IP 10.96.0.5: provided IP is already allocated',
  );
  expect(() => allocator.reserve(service('b', { clusterIP: '10.97.0.5' }), undefined)).toThrow(
    'The range of valid IPs is 10.96.0.0/28',
  );
});

test('what was reserved for a write that did not happen is free again', () => {
  const allocator = new ServiceAllocator(options);
  const spec = { type: 'NodePort', clusterIP: '10.96.0.5', ports: [{ port: 80, nodePort: 30_001 }] };
  allocator.reserve(service('a', structuredClone(spec)), undefined).release();
  expect(reserve(allocator, service('b', structuredClone(spec))).clusterIP).toBe('10.96.0.5');
});

test('a failure half-way gives back what was taken before it', () => {
  const allocator = new ServiceAllocator(options);
  reserve(
    allocator,
    service('a', { type: 'NodePort', clusterIP: '10.96.0.4', ports: [{ port: 80, nodePort: 30_001 }] }),
  );
  const clash = service('b', { type: 'NodePort', clusterIP: '10.96.0.5', ports: [{ port: 80, nodePort: 30_001 }] });
  expect(() => allocator.reserve(clash, undefined)).toThrow(
    'spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated',
  );
  expect(reserve(allocator, service('c', { clusterIP: '10.96.0.5' })).clusterIP).toBe('10.96.0.5');
});

test('one node port may serve TCP and UDP of the same port', () => {
  const allocator = new ServiceAllocator(options);
  const ports = [
    { name: 't', port: 53, protocol: 'TCP' },
    { name: 'u', port: 53, protocol: 'UDP' },
  ];
  const spec = reserve(allocator, service('dns', { type: 'NodePort', ports }));
  expect(spec.ports![0]!.nodePort).toBe(spec.ports![1]!.nodePort);
});

test('a number that is asked for is not picked for another port of the same Service', () => {
  const ports = () => [
    { name: 'a', port: 80 },
    { name: 'b', port: 443, nodePort: 30_002 },
  ];
  for (const random of [0, 0.25, 0.5, 0.75]) {
    const allocator = new ServiceAllocator(options, () => random);
    const spec = reserve(allocator, service('web', { type: 'NodePort', ports: ports() }));
    expect(spec.ports![0]!.nodePort).not.toBe(30_002);
  }
});

const local = (name: string, healthCheckNodePort: number, nodePort = 30_001) =>
  service(name, {
    type: 'LoadBalancer',
    externalTrafficPolicy: 'Local',
    healthCheckNodePort,
    ports: [{ port: 80, nodePort }],
  });

test('a health check port that is asked for is had by one Service, and kept by updates', () => {
  const allocator = new ServiceAllocator(options);
  const first = local('a', 30_002);
  reserve(allocator, first);
  reserve(allocator, structuredClone(first), first);
  const refused = (next: Service) => expect(() => allocator.reserve(next, undefined));
  const why = (port: number, what: string) =>
    `failed to allocate requested HealthCheck NodePort ${port}: provided port ${what}`;
  refused(local('b', 30_002, 30_000)).toThrow(why(30_002, 'is already allocated'));
  refused(local('b', 30_001, 30_000)).toThrow(why(30_001, 'is already allocated')); // a node port of the other one
  refused(local('b', 30_000, 30_000)).toThrow(why(30_000, 'is already allocated')); // a node port of its own
  refused(local('b', 8_080, 30_000)).toThrow(
    why(8_080, 'is not in the valid range. The range of valid ports is 30000-30003'),
  );
  allocator.free(first);
  expect(reserve(allocator, local('b', 30_002)).healthCheckNodePort).toBe(30_002);
});

test('an update that leaves address and ports out keeps them; ClusterIP gives the ports back', () => {
  const allocator = new ServiceAllocator(options);
  const old = service('a', { type: 'NodePort', ports: [{ port: 80 }] });
  const { clusterIP, ports } = structuredClone(reserve(allocator, old));
  const same = service('a', { type: 'NodePort', ports: [{ port: 80 }] });
  allocator.carryOver(same, old);
  expect(reserve(allocator, same, old)).toMatchObject({ clusterIP, ports });
  const plain = service('a', { type: 'ClusterIP', ports: structuredClone(ports!) });
  allocator.carryOver(plain, same);
  expect(reserve(allocator, plain, same).ports![0]!.nodePort).toBeUndefined();
  const reuse = service('b', { type: 'NodePort', ports: [{ port: 1, nodePort: ports![0]!.nodePort! }] });
  expect(reserve(allocator, reuse).ports![0]!.nodePort).toBe(ports![0]!.nodePort);
});

test('what only balancers have goes with the type, unless it is asked for anew', () => {
  const allocator = new ServiceAllocator(options);
  const balancer = { type: 'LoadBalancer', loadBalancerClass: 'x.y/z', ports: [{ port: 80 }] };
  const old = service('a', balancer);
  reserve(allocator, old);
  const next = service('a', { ...structuredClone(old.spec!), type: 'NodePort' });
  allocator.carryOver(next, old);
  expect(next.spec).not.toHaveProperty('loadBalancerClass');
  expect(next.spec).not.toHaveProperty('allocateLoadBalancerNodePorts');
  expect(next.spec?.ports?.[0]?.nodePort).toBe(old.spec?.ports?.[0]?.nodePort);
  const other = service('a', { ...structuredClone(old.spec!), type: 'NodePort', loadBalancerClass: 'other/z' });
  allocator.carryOver(other, old);
  expect(other.spec?.loadBalancerClass).toBe('other/z'); // refused by validation
});

test('headless and external Services get no address', () => {
  const allocator = new ServiceAllocator(options);
  expect(reserve(allocator, service('h', { clusterIP: 'None' }))).toMatchObject({
    clusterIPs: ['None'],
    ipFamilyPolicy: 'RequireDualStack',
  });
  const external = reserve(allocator, service('e', { type: 'ExternalName', externalName: 'a.b' }));
  expect(external.clusterIP).toBeUndefined();
});
