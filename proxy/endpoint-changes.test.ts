import { expect, test } from 'vitest';
import type { EndpointSlice } from '../api/kinds.ts';
import { silentLog } from '../core/log.ts';
import { EndpointChanges } from './endpoint-changes.ts';

function slice(name: string, hosts: readonly number[], resourceVersion = '1'): EndpointSlice {
  return {
    metadata: { namespace: 'ns', name, resourceVersion, labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    ports: [{ name: 'p', port: 80, protocol: 'TCP' }],
    endpoints: hosts.map((h) => ({ addresses: [`10.244.0.${h}`] })),
  };
}

function setUp() {
  const changes = new EndpointChanges(4, 'node-a', silentLog);
  const ips = () =>
    changes.current
      .get('ns/web')
      ?.get('p/TCP')
      ?.map((e) => e.ip) ?? [];
  return { changes, ips };
}

test('endpoints are those of all slices of the Service as of the last checkout, counted as they come and go', () => {
  const { changes, ips } = setUp();
  changes.handle(slice('web-b', [3, 4]));
  changes.handle(slice('web-a', [1, 2]));
  expect(ips()).toEqual([]);
  expect([...changes.checkout()]).toEqual(['ns/web']);
  expect(ips()).toEqual(['10.244.0.1', '10.244.0.2', '10.244.0.3', '10.244.0.4']);
  expect(changes.endpointCount).toBe(4);
  changes.handle(slice('web-a', [1]));
  expect(changes.endpointCount).toBe(4);
  changes.checkout();
  expect(ips()).toEqual(['10.244.0.1', '10.244.0.3', '10.244.0.4']);
  expect(changes.endpointCount).toBe(3);
  changes.handleGone(slice('web-b', []));
  changes.handleGone(slice('web-a', []));
  expect(changes.has('ns/web')).toBe(false);
  changes.checkout();
  expect(changes.current.get('ns/web')).toBeUndefined();
  expect(changes.endpointCount).toBe(0);
});

test('a slice that differs in nothing that rules depend on waits for no sync', () => {
  const { changes, ips } = setUp();
  changes.handle(slice('web-a', [1]));
  changes.checkout();
  expect(changes.handle(slice('web-a', [1], '2'))).toBe(false);
  expect(changes.pendingCount).toBe(0);
  // Taken back before a sync: nothing waits either.
  changes.handle(slice('web-a', [1, 2], '3'));
  expect(changes.pendingCount).toBe(1);
  expect(changes.handle(slice('web-a', [1], '4'))).toBe(false);
  expect(ips()).toEqual(['10.244.0.1']);
  expect(changes.endpointCount).toBe(1);
});

test('which of two slices tells of an address depends on their names, not on which came first', () => {
  const told = (names: readonly string[]) => {
    const { changes } = setUp();
    for (const name of names) {
      const endpoints = [{ addresses: ['10.244.0.1'], conditions: { ready: name === 'web-b' } }];
      changes.handle({ ...slice(name, []), endpoints });
      changes.checkout();
    }
    return changes.current
      .get('ns/web')!
      .get('p/TCP')!
      .map((e) => e.ready);
  };
  expect(told(['web-a', 'web-b'])).toEqual([true]);
  expect(told(['web-b', 'web-a'])).toEqual([true]);
});
