import { expect, test } from 'vitest';
import type { EndpointSlice } from '../api/kinds.ts';
import { mergeSlices, readSlice } from './slice-content.ts';

function slice(more: Partial<EndpointSlice>): EndpointSlice {
  return {
    metadata: { namespace: 'ns', name: 'web-1' },
    addressType: 'IPv4',
    ports: [{ name: 'p', port: 80, protocol: 'TCP' }],
    endpoints: [{ addresses: ['10.244.0.1'] }],
    ...more,
  } as EndpointSlice;
}

const read = (s: EndpointSlice, family: 4 | 6 = 4) => readSlice(s, family, 'a', () => {});

test('conditions that are not told mean ready, serving and staying', () => {
  const told = (conditions?: object) => {
    const endpoints = [{ addresses: ['10.244.0.1'], conditions }] as EndpointSlice['endpoints'];
    const [e] = read(slice({ endpoints }))![0]![1];
    return [e!.ready, e!.serving, e!.terminating];
  };
  expect(told()).toEqual([true, true, false]);
  expect(told({})).toEqual([true, true, false]);
  expect(told({ ready: null, serving: null, terminating: null })).toEqual([true, true, false]);
  expect(told({ ready: false, serving: true, terminating: true })).toEqual([false, true, true]);
});

test('an endpoint is of this node when it says so, has its first address alone, and a slice one family', () => {
  const endpoints = [
    { addresses: ['10.244.0.1', '10.244.0.9'], nodeName: 'a' },
    { addresses: ['10.244.0.2'], nodeName: 'b' },
    { addresses: ['10.244.0.3'] },
    { addresses: [] },
  ];
  const [id, list] = read(slice({ endpoints }))![0]!;
  expect(id).toBe('p/TCP');
  expect(list.map((e) => [e.address, e.isLocal])).toEqual([
    ['10.244.0.1:80', true],
    ['10.244.0.2:80', false],
    ['10.244.0.3:80', false],
  ]);
  expect(read(slice({}), 6)).toBeUndefined();
  expect(read(slice({ addressType: 'FQDN' }))).toBeUndefined();
  const six = slice({ addressType: 'IPv6', endpoints: [{ addresses: ['FD00::1'] }] });
  expect(read(six, 6)).toMatchObject([['p/TCP', [{ ip: 'fd00::1', address: '[fd00::1]:80' }]]]);
});

test('ports without a name or a number are for others; an empty name is one', () => {
  const ports = [{ port: 80 }, { name: 'n' }, { name: '', port: 81, protocol: 'UDP' }, { name: 'q', port: 82 }];
  expect(read(slice({ ports: ports as never }))!.map(([id]) => id)).toEqual(['/UDP', 'q/TCP']);
});

test('a Service has the endpoints of all its slices, by port; of one address the last that stays counts', () => {
  const merged = mergeSlices([
    read(slice({ endpoints: [{ addresses: ['10.244.0.2'] }, { addresses: ['10.244.0.10'] }] }))!,
    read(
      slice({
        endpoints: [
          { addresses: ['10.244.0.2'], conditions: { ready: false, terminating: true } },
          { addresses: ['10.244.0.3'], conditions: { ready: false, terminating: true } },
        ],
      }),
    )!,
    read(slice({ endpoints: [{ addresses: ['10.244.0.3'] }] }))!,
    read(slice({ endpoints: [{ addresses: ['10.244.0.10'], conditions: { ready: false } }] }))!,
    read(slice({ ports: [{ name: 'q', port: 90, protocol: 'TCP' }] }))!,
  ]);
  const shown = [...merged].map(([id, list]) => [id, list.map((e) => `${e.ip} ${e.ready}`)]);
  expect(shown).toEqual([
    ['p/TCP', ['10.244.0.10 false', '10.244.0.2 true', '10.244.0.3 true']],
    ['q/TCP', ['10.244.0.1 true']],
  ]);
});
