import { expect, test } from 'vitest';
import type { ProxySettings } from '../config/agent-config.ts';
import { localhostNodePorts, nodeAddresses, primaryAddresses, ruleOptions } from './proxy-rules.ts';

const settings = {
  mode: 'iptables',
  masqueradeBit: 14,
  masqueradeAll: false,
  detectLocal: { by: 'cidr' },
  localhostNodePorts: true,
  nodePortAddresses: [],
  conntrack: { tcpBeLiberal: false },
} as unknown as ProxySettings;

const facts = {
  own: ['127.0.0.1', '192.0.2.10', '198.51.100.1', '::1', '2001:db8::10', 'fe80::1'],
  primary: ['192.0.2.10', '2001:db8::10'],
  podRanges: { 4: '10.244.0.0/16', 6: '' },
  acceptsInvalid: false,
} as const;

const portIps = (family: 4 | 6, mode: ProxySettings['mode'], ...nodePortAddresses: readonly string[]) =>
  nodeAddresses(family, { ...settings, mode, nodePortAddresses }, facts).nodePortIps;

test('each family has its own addresses, pod range and loopback', () => {
  const of4 = { family: 4, nodeIps: ['192.0.2.10'], localhostNodePorts: true };
  expect(ruleOptions(4, settings, facts)).toMatchObject({
    ...of4,
    localTraffic: { by: 'cidr', cidr: '10.244.0.0/16' },
  });
  const of6 = { family: 6, nodeIps: ['2001:db8::10'], localhostNodePorts: false, localTraffic: undefined };
  expect(ruleOptions(6, settings, facts)).toMatchObject(of6);
});

test('the ranges of the Node tell local traffic as those of the cluster do', () => {
  const byNode = { ...settings, detectLocal: { by: 'node-cidr' } } as ProxySettings;
  const of = (family: 4 | 6) => ruleOptions(family, byNode, { ...facts, podRanges: { 4: '10.244.1.0/24', 6: '' } });
  expect(of(4).localTraffic).toEqual({ by: 'cidr', cidr: '10.244.1.0/24' });
  expect(of(6).localTraffic).toBeUndefined();
});

test('an interface tells local traffic of both families', () => {
  const byBridge = { ...settings, detectLocal: { by: 'interface', name: 'cni0' } } as ProxySettings;
  for (const family of [4, 6] as const)
    expect(ruleOptions(family, byBridge, facts).localTraffic).toEqual({ by: 'interface', name: 'cni0' });
});

test.each<[string, string[] | undefined, 4 | 6, ProxySettings['mode'], string[]]>([
  ['all with iptables', undefined, 4, 'iptables', []],
  ["the node's own with nftables", ['192.0.2.10'], 4, 'nftables', []],
  ["the node's own of IPv6", ['2001:db8::10'], 6, 'nftables', []],
  ['those in a range', ['198.51.100.1'], 4, 'iptables', ['198.51.100.0/24']],
  ['all of a family without a range', undefined, 6, 'iptables', ['198.51.100.0/24']],
  ['all, when one range is all', undefined, 4, 'iptables', ['198.51.100.0/24', '0.0.0.0/0']],
  ['primary and a range', ['192.0.2.10', '198.51.100.1'], 4, 'iptables', ['primary', '198.51.100.0/24']],
  ['none that this node has', [], 4, 'iptables', ['203.0.113.0/24']],
])('node ports answer on %s', (_what, wanted, family, mode, ranges) => {
  expect(portIps(family, mode, ...ranges)).toEqual(wanted);
});

test('a pod that comes with its link-local address changes nothing that rules depend on', () => {
  const later = { ...facts, own: [...facts.own, 'fe80::d8f2', '10.244.1.1'] };
  for (const mode of ['iptables', 'nftables'] as const) {
    for (const family of [4, 6] as const) {
      const of = { ...settings, mode, nodePortAddresses: ['primary', '2001:db8::/64', '198.51.100.0/24'] };
      expect(nodeAddresses(family, of, later)).toEqual(nodeAddresses(family, of, facts));
      expect(nodeAddresses(family, { ...settings, mode }, later)).toEqual(
        nodeAddresses(family, { ...settings, mode }, facts),
      );
    }
  }
});

test.each<[string, { configured?: string[]; ofNode?: string[]; own?: string[] }, string[]]>([
  ['as configured', { configured: ['192.0.2.7'], ofNode: ['192.0.2.20'] }, ['192.0.2.7', '2001:db8::1']],
  ['as its Node says', { ofNode: ['192.0.2.20', '192.0.2.21'] }, ['192.0.2.20', '2001:db8::1']],
  ['as its Node says of either family', { ofNode: ['2001:db8::2', '192.0.2.20'] }, ['192.0.2.20', '2001:db8::2']],
  [
    'as it was at the start, when the Node tells of an address it had before',
    { ofNode: ['192.0.2.99'] },
    ['192.0.2.1', '2001:db8::1'],
  ],
])('a node is known by its address %s', (_how, sources, wanted) => {
  const own = ['192.0.2.20', '192.0.2.21', '2001:db8::2'];
  const atStart = ['192.0.2.1', '2001:db8::1'];
  expect(primaryAddresses({ configured: [], ofNode: [], own, atStart, ...sources })).toEqual(wanted);
});

test.each<[boolean, ProxySettings['mode'], string[]]>([
  [true, 'iptables', []],
  [false, 'nftables', []],
  [false, 'iptables', ['192.0.2.0/24']],
  [false, 'iptables', ['primary']],
  [true, 'iptables', ['127.0.0.1/32']],
  [true, 'iptables', ['0.0.0.0/0']],
  [true, 'iptables', ['2001:db8::/32']], // IPv4 is not restricted
  [false, 'iptables', ['2001:db8::/32', '192.0.2.0/24']],
])('127.0.0.1 is let out of the node: %s with %s and ranges %j', (wanted, mode, nodePortAddresses) => {
  expect(localhostNodePorts({ ...settings, mode, nodePortAddresses })).toBe(wanted);
  expect(localhostNodePorts({ ...settings, mode, nodePortAddresses, localhostNodePorts: false })).toBe(false);
});

test('INVALID packets are dropped unless the setting or the host wants them', () => {
  const drops = (tcpBeLiberal: boolean, acceptsInvalid: boolean) =>
    ruleOptions(4, { ...settings, conntrack: { ...settings.conntrack, tcpBeLiberal } }, { ...facts, acceptsInvalid })
      .dropInvalid;
  expect([drops(false, false), drops(true, false), drops(false, true)]).toEqual([true, false, false]);
});
