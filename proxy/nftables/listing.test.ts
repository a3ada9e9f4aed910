import { describe, expect, test } from 'vitest';
import { canonicalRule, parseElements, parseTable } from './listing.ts';

describe('a rule as it is written and as nft prints it are one', () => {
  const BASE = 'SUSTUHLJ-default/web/tcp/http';
  const EP = 'XH2MWM4M-shop/sticky/tcp/http__10.244.1.21/80';
  const cases: [written: string, printed: string][] = [
    [
      'meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.244.1.5 . 8080 , 1 : 10.244.2.7 . 8080 }',
      'meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.1.5 . 8080, 1 : 10.244.2.7 . 8080 }',
    ],
    [
      'meta l4proto udp dnat ip6 addr . port to numgen random mod 1 map { 0 : fd00::5 . 53 }',
      'meta l4proto udp dnat ip6 to numgen random mod 1 map { 0 : fd00::5 . 53 }',
    ],
    ['mark set mark or 0x004000 comment "masquerade"', 'meta mark set meta mark | 0x00004000 comment "masquerade"'],
    [
      'fib saddr type local mark set mark or 0x004000 comment "masquerade local traffic"',
      'fib saddr type local meta mark set meta mark | 0x00004000 comment "masquerade local traffic"',
    ],
    ['ip saddr != { 203.0.113.9/32 , 192.0.2.0/24 } drop', 'ip saddr != { 192.0.2.0/24, 203.0.113.9 } drop'],
    ['ip saddr != { 192.0.2.0/24 } drop', 'ip saddr != 192.0.2.0/24 drop'],
    [`update @affinity-${EP} { ip saddr }`, `update @affinity-${EP} { ip saddr }`],
    [`goto service-${BASE}`, `goto service-${BASE}`],
  ];
  test.each(cases)('%s', (written, printed) => expect(canonicalRule(written)).toBe(canonicalRule(printed)));

  test('while rules that differ stay apart', () => {
    const all = new Set(cases.map(([written]) => canonicalRule(written)));
    expect(all.size).toBe(cases.length);
    expect(canonicalRule('mark set mark or 0x008000')).not.toBe(canonicalRule('mark set mark or 0x004000'));
    expect(canonicalRule('ip saddr { 192.0.2.0/24 } drop')).not.toBe(
      canonicalRule('ip saddr != { 192.0.2.0/24 } drop'),
    );
    const map = (a: string, b: string) => canonicalRule(`numgen random mod 2 vmap { 0 : goto ${a} , 1 : goto ${b} }`);
    expect(map('x', 'y')).not.toBe(map('y', 'x'));
  });
});

test('a listing gives the chains of Services and the sets that remember clients', async () => {
  const listing = `table ip kube-proxy {
	comment "rules for kube-proxy"
	set cluster-ips {
		type ipv4_addr
		comment "Active ClusterIPs"
	}

	set affinity-XH2MWM4M-shop/sticky/tcp/http__10.244.1.21/80 {
		type ipv4_addr
		size 65535
		flags dynamic,timeout
		timeout 2h30m
	}

	chain services {
		ip daddr . meta l4proto . th dport vmap @service-ips
	}

	chain service-SUSTUHLJ-default/web/tcp/http {
		meta l4proto tcp dnat ip to numgen random mod 1 map { 0 : 10.244.1.5 . 8080 }
	}

	chain external-SUSTUHLJ-default/web/tcp/http {
	}
}
`;
  const { chains, affinitySets } = await parseTable(listing);
  expect([...chains]).toEqual([
    [
      'service-SUSTUHLJ-default/web/tcp/http',
      ['meta l4proto tcp dnat ip to numgen random mod 1 map 0 : 10.244.1.5 . 8080'],
    ],
    ['external-SUSTUHLJ-default/web/tcp/http', []],
  ]);
  expect([...affinitySets]).toEqual([['affinity-XH2MWM4M-shop/sticky/tcp/http__10.244.1.21/80', 9_000]]);
});

test('without a table there is nothing', async () => {
  const { chains, affinitySets } = await parseTable(undefined);
  expect([chains.size, affinitySets.size]).toEqual([0, 0]);
});

test('elements are read from one line or many, with verdicts and comments', async () => {
  const map = `table ip kube-proxy {
	map no-endpoint-services {
		type ipv4_addr . inet_proto . inet_service : verdict
		comment "vmap to drop or reject packets to services with no endpoints"
		elements = { 203.0.113.9 . tcp . 443 comment "shop/edge:https" : drop,
			     10.96.0.60 . tcp . 443 comment "default/api" : goto reject-chain }
	}
}
`;
  expect([...(await parseElements(map))]).toEqual([
    ['203.0.113.9 . tcp . 443', { value: 'drop', comment: 'shop/edge:https' }],
    ['10.96.0.60 . tcp . 443', { value: 'goto reject-chain', comment: 'default/api' }],
  ]);
  const set = 'table ip6 kube-proxy {\n\tset cluster-ips {\n\t\telements = { fd00::1, fd00::2 }\n\t}\n}\n';
  expect([...(await parseElements(set)).keys()]).toEqual(['fd00::1', 'fd00::2']);
  expect((await parseElements('table ip kube-proxy {\n\tset cluster-ips {\n\t\ttype ipv4_addr\n\t}\n}\n')).size).toBe(
    0,
  );
});
