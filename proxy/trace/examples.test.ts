// Where packets go under the documents that upstream writes for the worked examples.
import { describe, expect, test } from 'vitest';
import { expected } from '../iptables/fake-upstream-documents.ts';
import { trace } from './evaluate.ts';
import { hostFacts } from './host-facts.ts';
import { parseIptablesSave } from './iptables-save.ts';
import type { Connection, Way } from './way.ts';

/** The jumps from the built-in chains, in the order in which they come to stand. */
const JUMPS = `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
COMMIT`;

/** One text as iptables-save would print it: each table once, with the rules of both documents. */
function saved(document: string): string {
  const parts = (text: string, table: string) => new RegExp(`\\*${table}\\n([^*]*)COMMIT`).exec(text)?.[1] ?? '';
  return ['filter', 'nat']
    .map((t) => {
      const lines = (parts(JUMPS, t) + parts(document, t)).split('\n');
      const [heads, rules] = [lines.filter((l) => l.startsWith(':')), lines.filter((l) => l.startsWith('-A'))];
      if (t === 'filter' && !heads.some((h) => h.startsWith(':KUBE-FIREWALL'))) heads.push(':KUBE-FIREWALL - [0:0]');
      return [`*${t}`, ...heads, ...rules, 'COMMIT'].join('\n');
    })
    .join('\n');
}

const address = (ifname: string, local: string, prefixlen: number) => ({ ifname, addr_info: [{ local, prefixlen }] });

const facts4 = hostFacts(
  [address('lo', '127.0.0.1', 8), address('eth0', '192.0.2.10', 24), address('cni0', '10.244.1.1', 24)],
  [
    { dst: 'default', dev: 'eth0' },
    { dst: '10.244.1.0/24', dev: 'cni0' },
    { dst: '10.244.0.0/16', dev: 'flannel.1', prefsrc: '10.244.1.0' },
  ],
  new Map(),
  4,
);
const facts6 = hostFacts(
  [address('lo', '::1', 128), address('eth0', '2001:db8::10', 64)],
  [
    { dst: 'default', dev: 'eth0' },
    { dst: 'fd00:244::/48', dev: 'flannel-v6.1' },
  ],
  new Map(),
  6,
);

function run(example: number, from: string, to: string, port: number): readonly Way[] {
  const connection: Connection = { from, to, port, protocol: 'tcp' };
  const facts = from.includes(':') ? facts6 : facts4;
  const { ways, unknown } = trace(connection, parseIptablesSave(saved(expected[example]!)), facts);
  expect(unknown).toEqual([]);
  expect(ways.reduce((sum, w) => sum + w.share, 0)).toBeCloseTo(1, 6);
  return ways;
}

/** `10.244.1.5:8080 50% masq`, sorted; a dropped or refused packet by the chain that decided. */
function told(ways: readonly Way[]): string[] {
  return ways
    .map((w) => {
      if (w.outcome !== 'delivered') return `${w.outcome} ${w.hops.at(-1)?.chain}`;
      const to = `${w.destination.ip}:${w.destination.port} ${Math.round(w.share * 100)}%`;
      return w.source === 'masqueraded' ? `${to} masq` : to;
    })
    .sort();
}

const pod = '10.244.1.9';
const host = '192.0.2.10';
const client = '198.51.100.99';

describe('a packet', () => {
  test.each<[number, string, string, string, number, string[]]>([
    [1, 'of a pod to a cluster IP', pod, '10.96.0.50', 80, ['10.244.1.5:8080 50%', '10.244.2.7:8080 50%']],
    [1, 'of an endpoint', '10.244.1.5', '10.96.0.50', 80, ['10.244.1.5:8080 50% masq', '10.244.2.7:8080 50%']],
    [1, 'of the host', host, '10.96.0.50', 80, ['10.244.1.5:8080 50% masq', '10.244.2.7:8080 50% masq']],
    [1, 'of a client', client, '10.96.0.50', 80, ['10.244.1.5:8080 50% masq', '10.244.2.7:8080 50% masq']],
    [1, 'to another port of a cluster IP', pod, '10.96.0.50', 81, ['10.96.0.50:81 100%']],
    [2, 'to a cluster IP without endpoints', pod, '10.96.0.60', 443, ['rejected KUBE-SERVICES']],
    [2, 'of the host to the same', host, '10.96.0.60', 443, ['rejected KUBE-SERVICES']],
    [2, 'to a node port without endpoints', client, host, 30443, ['rejected KUBE-EXTERNAL-SERVICES']],
    [2, 'of the host to its node port without endpoints', host, host, 30443, ['rejected KUBE-EXTERNAL-SERVICES']],
    [3, 'of a pod to an external IP', pod, '198.51.100.7', 80, ['10.244.2.9:8080 100% masq']],
    [3, 'of a client to a node port', client, host, 30080, ['10.244.2.9:8080 100% masq']],
    [3, 'of the host to a node port on 127.0.0.1', '127.0.0.1', '127.0.0.1', 30080, ['10.244.2.9:8080 100% masq']],
    [4, 'of a client to a VIP, Local', client, '203.0.113.9', 443, ['10.244.1.8:8443 100%']],
    [4, 'of a client to a node port, Local', client, host, 31443, ['10.244.1.8:8443 100%']],
    [4, 'of a pod to a VIP, Local', pod, '203.0.113.9', 443, ['10.244.1.8:8443 50%', '10.244.3.8:8443 50%']],
    [4, 'of the host, Local', host, '203.0.113.9', 443, ['10.244.1.8:8443 50% masq', '10.244.3.8:8443 50% masq']],
    [5, 'of an admitted client', '198.51.100.20', '203.0.113.10', 80, ['10.244.2.11:80 100% masq']],
    [5, 'of another client', '203.0.114.1', '203.0.113.10', 80, ['dropped KUBE-PROXY-FIREWALL']],
    [5, 'of another client to the node port', '203.0.114.1', host, 31080, ['10.244.2.11:80 100% masq']],
    [6, 'that nobody remembers', pod, '10.96.1.4', 80, ['10.244.1.21:80 50%', '10.244.2.21:80 50%']],
    [7, 'without a local endpoint', pod, '10.96.2.1', 9100, ['dropped KUBE-SERVICES']],
    [7, 'to a terminating local endpoint', client, host, 30090, ['10.244.1.40:80 100%']],
    [7, 'to a node port on another address', client, '10.244.1.1', 30090, ['10.244.1.1:30090 100%']],
    [7, 'of a pod past the terminating one', pod, '10.96.2.2', 80, ['10.244.2.40:80 100%']],
    [8, 'over IPv6', '2001:db8:9::1', '2001:db8::10', 30180, ['fd00:244:1::5:8080 100% masq']],
    [8, 'over IPv6 of a pod', 'fd00:244::9', 'fd00:96::50', 80, ['fd00:244:1::5:8080 100%']],
  ])('example %i: %s', (example, _what, from, to, port, outcome) => {
    expect(told(run(example, from, to, port))).toEqual([...outcome].sort());
  });

  test('goes to the endpoint that session affinity remembers', () => {
    const facts = { ...facts4, recent: (name: string) => new Set(name === 'KUBE-SEP-CLUBZB3OGVSNZOEM' ? [pod] : []) };
    const connection: Connection = { from: pod, to: '10.96.1.4', port: 80, protocol: 'tcp' };
    const { ways } = trace(connection, parseIptablesSave(saved(expected[6]!)), facts);
    expect(told(ways)).toEqual(['10.244.2.21:80 100%']);
  });

  test('is followed hop by hop', () => {
    const [way] = run(3, client, host, 30080);
    expect(way!.hops.map((h) => `${h.hook} ${h.table} ${h.chain}: ${h.effect}`)).toEqual([
      'prerouting nat PREROUTING: → KUBE-SERVICES',
      'prerouting nat KUBE-SERVICES: → KUBE-NODEPORTS',
      `prerouting nat KUBE-NODEPORTS: → ${way!.hops[3]!.chain}`,
      `prerouting nat ${way!.hops[3]!.chain}: → KUBE-MARK-MASQ`,
      'prerouting nat KUBE-MARK-MASQ: mark 0x0 → 0x4000',
      `prerouting nat ${way!.hops[3]!.chain}: → ${way!.hops[6]!.chain}`,
      `prerouting nat ${way!.hops[6]!.chain}: → ${way!.hops[7]!.chain}`,
      `prerouting nat ${way!.hops[7]!.chain}: DNAT to 10.244.2.9:8080`,
      'forward filter FORWARD: → KUBE-PROXY-FIREWALL',
      'forward filter FORWARD: → KUBE-FORWARD',
      'forward filter KUBE-FORWARD: accepted',
      'postrouting nat POSTROUTING: → KUBE-POSTROUTING',
      'postrouting nat KUBE-POSTROUTING: mark 0x4000 → 0x0',
      'postrouting nat KUBE-POSTROUTING: masqueraded',
    ]);
    expect(way).toMatchObject({ sourceIp: '10.244.1.0', isLocal: false, isDnat: true });
  });
});
