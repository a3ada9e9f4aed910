import { expect, test } from 'vitest';
import type { Service } from '../api/kinds.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import { silentLog } from '../core/log.ts';
import { EndpointChanges } from './endpoint-changes.ts';
import { InvalidInput } from './invalid-input.ts';
import { readServicePorts } from './service-changes.ts';

function setUp() {
  const told: string[] = [];
  const events: EventRecorder = {
    event: (about, type, reason, text) => told.push(`${about.kind} ${type} ${reason} ${text}`),
  };
  return { told, invalid: new InvalidInput({ events, log: silentLog }) };
}

const withPorts = (...ports: readonly number[]): Service => ({
  metadata: { namespace: 'ns', name: 'a' },
  spec: { clusterIP: '10.96.0.1', ports: ports.map((port, i) => ({ name: `p${i}`, port })) },
});

test('an Event tells once for each state of an object, and again when it is back', () => {
  const { told, invalid } = setUp();
  const see = (service: Service, gone = false) => {
    const ports = readServicePorts(service, 4, invalid.onInvalid);
    readServicePorts(service, 4, invalid.onInvalid); // the other family finds the same
    invalid.tell('Service', service, gone);
    return ports.length;
  };
  expect(see(withPorts(80, 70_000))).toBe(1);
  expect(see(withPorts(80, 70_000))).toBe(1);
  expect(told).toEqual(['Service Warning InvalidForProxy not proxied: port "p1" with number "70000"']);
  expect(see(withPorts(80))).toBe(1);
  expect(told).toHaveLength(1);
  see(withPorts(80, 70_000));
  expect(told).toHaveLength(2);
  see(withPorts(80, 70_000), true);
  see(withPorts(80, 70_000));
  expect(told).toHaveLength(3);
});

test('absurd numbers of ports leave the object out, and are told in one short sentence', () => {
  const { told, invalid } = setUp();
  const service = withPorts(...Array.from({ length: 6_000 }, (_, i) => i + 1));
  expect(readServicePorts(service, 4, invalid.onInvalid)).toEqual([]);
  invalid.tell('Service', service);
  const slice = {
    metadata: { namespace: 'ns', name: 'a-1', labels: { 'kubernetes.io/service-name': 'a' } },
    addressType: 'IPv4' as const,
    ports: Array.from({ length: 20_000 }, (_, i) => ({ name: `p${i}`, port: i + 1 })),
    endpoints: Array.from({ length: 200 }, (_, i) => ({ addresses: [`10.0.0.${i}`] })),
  };
  const changes = new EndpointChanges(4, 'node', silentLog, invalid.onInvalid);
  changes.handle(slice);
  changes.checkout();
  expect(changes.endpointCount).toBe(0);
  invalid.tell('EndpointSlice', slice);
  const badAddresses = {
    ...slice,
    ports: [],
    endpoints: slice.endpoints.map((_, i) => ({ addresses: [`127.0.0.${i}\n-A`] })),
  };
  changes.handle(badAddresses);
  invalid.tell('EndpointSlice', badAddresses);
  expect(told).toHaveLength(3);
  expect(told[0]).toContain('6000 ports, where at most 5000 are served');
  expect(told[1]).toContain('200 endpoints with 20000 ports');
  expect(told[2]).toMatch(/127\.0\.0\.0\\n-A".*, and 195 more$/);
  expect(told[2]).not.toContain('\n');
});

test('which of two slices with the same address counts does not depend on which came first', () => {
  const slice = (name: string, nodeName: string) => ({
    metadata: { namespace: 'ns', name, labels: { 'kubernetes.io/service-name': 'a' } },
    addressType: 'IPv4' as const,
    ports: [{ name: 'p', port: 80 }],
    endpoints: [{ addresses: ['10.0.0.1'], nodeName }],
  });
  const [one, two] = [slice('a-1', 'node'), slice('a-2', 'other')];
  const seen = [
    [one, two],
    [two, one],
  ].map((order) => {
    const changes = new EndpointChanges(4, 'node', silentLog);
    for (const s of order) changes.handle(s);
    changes.checkout();
    return changes.current.get('ns/a')?.get('p/TCP');
  });
  expect(seen[0]).toEqual(seen[1]);
  expect(seen[0]).toHaveLength(1);
});
