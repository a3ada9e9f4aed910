import { describe, expect, test } from 'vitest';
import type { Service } from '../../api/kinds.ts';
import { FakeZoneStores, service, slice, zoneOver } from './fake-zone-stores.ts';
import type { DnsRecord } from './message-writer.ts';
import type { ClusterZone } from './records.ts';
import { TYPE } from './wire.ts';

const http = { name: 'http', protocol: 'TCP', port: 80 };
const stores = new FakeZoneStores().fill(
  [
    service('web', {
      clusterIP: '10.96.0.20',
      clusterIPs: ['10.96.0.20'],
      ports: [http, { port: 53, protocol: 'UDP' }],
    }),
    service('dual', { clusterIP: '10.96.0.21', clusterIPs: ['10.96.0.21', 'fd00::21'], ports: [http] }),
    service('pending', { type: 'ClusterIP', ports: [http] }),
    service('db', { clusterIP: 'None', clusterIPs: ['None'], ports: [http] }),
    service('empty', { clusterIP: 'None', ports: [http] }),
    service('out', { type: 'ExternalName', externalName: 'Www.Example.com.' }),
    service('alias', { type: 'ExternalName', externalName: 'web.default.svc.cluster.local' }),
    service('ghost', { type: 'ExternalName', externalName: 'none.default.svc.cluster.local' }),
    service('loop-a', { type: 'ExternalName', externalName: 'loop-b.default.svc.cluster.local' }),
    service('loop-b', { type: 'ExternalName', externalName: 'loop-a.default.svc.cluster.local' }),
    service('odd', { type: 'ExternalName', externalName: `${'x'.repeat(64)}.com` }),
    service(
      'kube-dns',
      { clusterIP: '10.96.0.10', ports: [{ name: 'dns', protocol: 'UDP', port: 53 }] },
      'kube-system',
    ),
  ],
  [
    slice(
      'db-1',
      'db',
      [
        { addresses: ['10.244.1.5'], hostname: 'db-0', conditions: { ready: true } },
        { addresses: ['10.244.1.6'] },
        { addresses: ['10.244.1.7'], hostname: 'db-2', conditions: { ready: false, serving: true, terminating: true } },
      ],
      [{ name: 'http', protocol: 'TCP', port: 8080 }],
    ),
    slice(
      'db-2',
      'db',
      [{ addresses: ['10.244.1.5'], hostname: 'db-0' }],
      [{ name: 'http', protocol: 'TCP', port: 8080 }],
    ),
    slice('db-3', 'db', [{ addresses: ['fd00::1:5'] }], [{ name: 'http', protocol: 'TCP', port: 8080 }]),
    slice('empty-1', 'empty', [{ addresses: ['10.244.1.9'], conditions: { ready: false } }]),
    slice('web-1', 'web', [{ addresses: ['10.244.1.8'], hostname: 'web-0' }]),
  ],
);
const zone = zoneOver(stores);

function ask(name: string, type: keyof typeof TYPE, of: ClusterZone = zone) {
  return of.answer({ labels: name.split('.'), type: TYPE[type], class: 1 });
}

/** Records as a zone file has them, without names and TTLs. */
function textOf({ data }: DnsRecord): string {
  switch (data.type) {
    case 'A':
    case 'AAAA':
      return data.address;
    case 'TXT':
      return data.text;
    case 'SRV':
      return `${data.priority} ${data.weight} ${data.port} ${data.target}`;
    case 'SOA':
      return `${data.primary} ${data.mailbox} ${data.serial} ${data.minimum}`;
    default:
      return data.target;
  }
}

test.each([
  ['web.default.svc.cluster.local', 'A', ['10.96.0.20']],
  ['dual.default.svc.cluster.local', 'A', ['10.96.0.21']],
  ['dual.default.svc.cluster.local', 'AAAA', ['fd00::21']],
  ['dual.default.svc.cluster.local', 'ANY', ['10.96.0.21', 'fd00::21', '0 100 80 dual.default.svc.cluster.local']],
  ['_http._tcp.web.default.svc.cluster.local', 'SRV', ['0 100 80 web.default.svc.cluster.local']],
  [
    'web.default.svc.cluster.local',
    'SRV',
    ['0 50 80 web.default.svc.cluster.local', '0 50 53 web.default.svc.cluster.local'],
  ],
  ['20.0.96.10.in-addr.arpa', 'PTR', ['web.default.svc.cluster.local']],
  [`1.2.0.0${'.0'.repeat(24)}.0.0.d.f.ip6.arpa`, 'PTR', ['dual.default.svc.cluster.local']],
  ['db.default.svc.cluster.local', 'A', ['10.244.1.5', '10.244.1.6']],
  ['db.default.svc.cluster.local', 'AAAA', ['fd00::1:5']],
  ['db-0.db.default.svc.cluster.local', 'A', ['10.244.1.5']],
  ['10-244-1-6.db.default.svc.cluster.local', 'A', ['10.244.1.6']],
  ['fd00--1-5.db.default.svc.cluster.local', 'AAAA', ['fd00::1:5']],
  [
    '_http._tcp.db.default.svc.cluster.local',
    'SRV',
    [
      '0 33 8080 db-0.db.default.svc.cluster.local',
      '0 33 8080 10-244-1-6.db.default.svc.cluster.local',
      '0 33 8080 fd00--1-5.db.default.svc.cluster.local',
    ],
  ],
  ['5.1.244.10.in-addr.arpa', 'PTR', ['db-0.db.default.svc.cluster.local']],
  ['alias.default.svc.cluster.local', 'A', ['web.default.svc.cluster.local', '10.96.0.20']],
  ['alias.default.svc.cluster.local', 'CNAME', ['web.default.svc.cluster.local']],
  ['1-2-3-4.default.pod.cluster.local', 'A', ['1.2.3.4']],
  ['fd00--9.default.pod.cluster.local', 'AAAA', ['fd00::9']],
  ['dns-version.cluster.local', 'TXT', ['1.1.0']],
  ['cluster.local', 'NS', ['ns.dns.cluster.local']],
  ['cluster.local', 'SOA', ['ns.dns.cluster.local hostmaster.cluster.local 7 5']],
  ['ns.dns.cluster.local', 'A', ['10.96.0.10']],
] as const)('%s %s', (name, type, texts) => {
  const answer = ask(name, type);
  expect(answer?.answers.map(textOf)).toEqual(texts);
  expect(answer).toMatchObject({ rcode: 0, authoritative: true, authority: [] });
  expect(answer?.answers.every((r) => r.ttl === 5)).toBe(true);
  expect(answer?.answers[0]?.name).toBe(name);
});

test.each([
  ['web.default.svc.cluster.local', 'AAAA'],
  ['web.default.svc.cluster.local', 'TXT'],
  ['_tcp.web.default.svc.cluster.local', 'A'],
  ['empty.default.svc.cluster.local', 'A'],
  ['_http._tcp.empty.default.svc.cluster.local', 'SRV'],
  ['default.svc.cluster.local', 'A'],
  ['svc.cluster.local', 'A'],
  ['default.pod.cluster.local', 'A'],
  ['pod.cluster.local', 'A'],
  ['dns.cluster.local', 'A'],
  ['cluster.local', 'A'],
  ['1-2-3-4.default.pod.cluster.local', 'AAAA'],
  ['20.0.96.10.in-addr.arpa', 'A'],
] as const)('%s has no %s: NODATA', (name, type) => {
  const answer = ask(name, type);
  expect(answer).toMatchObject({ rcode: 0, answers: [] });
  expect(answer?.authority.map((r) => r.data.type)).toEqual(['SOA']);
});

test.each([
  'nothing.default.svc.cluster.local',
  'pending.default.svc.cluster.local',
  'web.missing.svc.cluster.local',
  'missing.svc.cluster.local',
  'missing.pod.cluster.local',
  '1-2-3-4.missing.pod.cluster.local',
  '1-2-3.default.pod.cluster.local',
  'a.1-2-3-4.default.pod.cluster.local',
  '_https._tcp.web.default.svc.cluster.local',
  '_http._udp.web.default.svc.cluster.local',
  '_._udp.web.default.svc.cluster.local',
  '_udp.db.default.svc.cluster.local',
  'web-0.web.default.svc.cluster.local',
  'db-2.db.default.svc.cluster.local',
  'db-9.db.default.svc.cluster.local',
  'x.out.default.svc.cluster.local',
  'odd.default.svc.cluster.local',
  'a._http._tcp.web.default.svc.cluster.local',
  '*.default.svc.cluster.local',
  'example.com.default.svc.cluster.local',
  'other.cluster.local',
  '99.0.96.10.in-addr.arpa',
  '6.1.244.10.in-addr.arpa',
  '8.1.244.10.in-addr.arpa',
])('%s is not there: NXDOMAIN', (name) => {
  const answer = ask(name, name.endsWith('arpa') ? 'PTR' : 'A');
  expect(answer).toMatchObject({ rcode: 3, answers: [], authoritative: true });
  expect(answer?.authority.map((r) => r.data.type)).toEqual(['SOA']);
});

test.each(['example.com', 'local', 'xcluster.local', '9.9.9.9.in-addr.arpa', '9.9.9.in-addr.arpa', 'arpa', ''])(
  '%j is somebody else’s',
  (name) => {
    expect(ask(name, 'PTR')).toBeUndefined();
  },
);

describe('ExternalName', () => {
  test('a name outside is to be followed', () => {
    expect(ask('out.default.svc.cluster.local', 'A')).toMatchObject({
      answers: [{ data: { type: 'CNAME', target: 'www.example.com' } }],
      chase: 'www.example.com',
    });
  });

  test('a name inside that is not there is NXDOMAIN behind its CNAME', () => {
    expect(ask('ghost.default.svc.cluster.local', 'A')).toMatchObject({
      rcode: 3,
      answers: [{ data: { type: 'CNAME' } }],
    });
  });

  test('two that lead to each other end', () => {
    expect(ask('loop-a.default.svc.cluster.local', 'A')).toMatchObject({ rcode: 2, answers: [] });
  });

  test('becomes an address when the Service does', () => {
    const changing = new FakeZoneStores().fill([service('x', { type: 'ExternalName', externalName: 'a.example' })]);
    changing.services.set(service('x', { type: 'ClusterIP', clusterIP: '10.96.7.7', ports: [] }) satisfies Service);
    expect(ask('x.default.svc.cluster.local', 'A', zoneOver(changing))?.answers.map(textOf)).toEqual(['10.96.7.7']);
    expect(ask('7.7.96.10.in-addr.arpa', 'PTR', zoneOver(changing))?.answers).toHaveLength(1);
  });
});

test('SRV records bring the addresses of their targets', () => {
  const answer = ask('_http._tcp.db.default.svc.cluster.local', 'SRV');
  expect(answer?.additional.map((r) => `${r.name.split('.')[0]} ${textOf(r)}`)).toEqual([
    'db-0 10.244.1.5',
    '10-244-1-6 10.244.1.6',
    'fd00--1-5 fd00::1:5',
  ]);
});

test('addresses change places', () => {
  const turned = zoneOver(stores, () => 0);
  expect(ask('db.default.svc.cluster.local', 'A', turned)?.answers.map(textOf)).toEqual(['10.244.1.6', '10.244.1.5']);
});

test('nothing is called absent before the first lists have come', () => {
  const early = zoneOver(new FakeZoneStores());
  expect(ask('web.default.svc.cluster.local', 'A', early)).toMatchObject({ rcode: 2, authority: [] });
  expect(ask('20.0.96.10.in-addr.arpa', 'PTR', early)).toMatchObject({ rcode: 2 });
  expect(ask('9.9.9.9.in-addr.arpa', 'PTR', early)).toBeUndefined();
});

test('a deleted Service and a removed endpoint are gone at once', () => {
  const changing = new FakeZoneStores().fill(
    [service('db', { clusterIP: 'None' })],
    [slice('s', 'db', [{ addresses: ['10.244.1.5'], hostname: 'db-0' }])],
  );
  const over = zoneOver(changing);
  expect(ask('db-0.db.default.svc.cluster.local', 'A', over)?.rcode).toBe(0);
  changing.endpointSlices.set(slice('s', 'db', []));
  expect(ask('db-0.db.default.svc.cluster.local', 'A', over)?.rcode).toBe(3);
  changing.services.delete('default/db');
  expect(ask('db.default.svc.cluster.local', 'A', over)?.rcode).toBe(3);
});
