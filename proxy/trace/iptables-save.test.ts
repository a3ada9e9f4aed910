import fc from 'fast-check';
import { expect, test } from 'vitest';
import { trace } from './evaluate.ts';
import { frontendsOfRules, frontendsOfService } from './frontends.ts';
import { hostFacts } from './host-facts.ts';
import { parseIptablesSave } from './iptables-save.ts';
import { formatReport, reportTrace, type TraceReport } from './report.ts';
import type { Connection } from './way.ts';

const facts = hostFacts(
  [
    { ifname: 'lo', addr_info: [{ local: '127.0.0.1', prefixlen: 8 }] },
    { ifname: 'eth0', addr_info: [{ local: '192.0.2.10', prefixlen: 24 }] },
    { ifname: 'cni0', addr_info: [{ local: '10.244.1.1', prefixlen: 24 }] },
  ],
  [
    { dst: 'default', dev: 'eth0' },
    { dst: '10.244.1.0/24', dev: 'cni0' },
  ],
  new Map([['CLIENTS', new Set(['198.51.100.9'])]]),
  4,
);
const connection: Connection = { from: '198.51.100.9', to: '10.244.1.5', port: 80, protocol: 'tcp' };

/** A chain FORWARD that drops what `rule` matches. */
const forward = (rule: string) => `*filter\n:FORWARD ACCEPT [0:0]\n:KUBE-X - [0:0]\n-A FORWARD ${rule} -j DROP\nCOMMIT`;

test.each<[string, boolean]>([
  ['-s 198.51.100.0/24', true],
  ['! -s 198.51.100.0/24', false],
  ['-d 10.244.1.5/32 -p tcp -m tcp --dport 80', true],
  ['-p udp -m udp --dport 80', false],
  ['-p 6', true],
  ['-p tcp -m multiport --dports 22,79:81', true],
  ['-i eth0 -o cni0', true],
  ['-i eth+ ! -o cni0', false],
  ['-m conntrack --ctstate RELATED,ESTABLISHED', false],
  ['-m conntrack --ctstate INVALID,NEW', true],
  ['-m state --state NEW -m comment --comment "with \\"quotes\\" in it"', true],
  ['-m mark --mark 0x4000/0x4000', false],
  ['-m mark ! --mark 0x4000/0x4000', true],
  ['-m addrtype --src-type LOCAL', false],
  ['-m iprange --src-range 198.51.100.1-198.51.100.20', true],
  ['-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN', true],
  ['-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN', false],
  ['-m recent --rcheck --seconds 10 --reap --name CLIENTS --mask 255.255.255.255 --rsource', true],
  ['-m recent --rcheck --name OTHERS --rsource', false],
  ['-m statistic --mode nth --every 1 --packet 0', true],
  ['-m nfacct --nfacct-name ct_state_invalid_dropped_pkts', true],
])('%s: dropped is %s', (rule, isDropped) => {
  const { ways, unknown } = trace(connection, parseIptablesSave(forward(rule)), facts);
  expect(unknown).toEqual([]);
  expect(ways.map((w) => w.outcome)).toEqual([isDropped ? 'dropped' : 'delivered']);
});

test('the policy of a chain drops what no rule accepts', () => {
  const text = (rule: string) => `*filter\n:FORWARD DROP [0:0]\n-A FORWARD ${rule}\nCOMMIT`;
  const outcome = (rule: string) => trace(connection, parseIptablesSave(text(rule)), facts).ways[0];
  expect(outcome('-s 10.0.0.0/8 -j ACCEPT')).toMatchObject({ outcome: 'dropped' });
  expect(outcome('-s 10.0.0.0/8 -j ACCEPT')!.hops.at(-1)).toMatchObject({ chain: 'FORWARD', rule: 'policy drop' });
  expect(outcome('-s 198.51.100.0/24 -j ACCEPT')).toMatchObject({ outcome: 'delivered', isDnat: false });
});

test.each([
  '-m set --match-set blocked src',
  '-m physdev --physdev-in eth0',
  '-m statistic --mode random --probability x',
  '-s nowhere',
])('%s is named as not judged, and the packet goes on', (rule) => {
  const { ways, unknown } = trace(connection, parseIptablesSave(forward(rule)), facts);
  expect(ways).toMatchObject([{ outcome: 'delivered' }]);
  expect(unknown).toEqual([expect.stringContaining('filter FORWARD: ')]);
});

test('lines of any content give a trace, never an exception', () => {
  const word = fc.constantFrom(
    ...'-s -d -p -m -j -g ! --dport --mark comment 10.0.0.0/8 / : * "x REJECT DNAT MARK --to-destination'.split(' '),
    ...'--or-mark statistic --probability 0.5 2 :80 [::1]:80 [ 10.0.0.1:99999 --comment KUBE-X recent --name'.split(
      ' ',
    ),
  );
  const line = fc.array(word, { maxLength: 8 }).map((words) => `-A FORWARD ${words.join(' ')}`);
  fc.assert(
    fc.property(fc.array(line, { maxLength: 5 }), (lines) => {
      const text = ['*filter', ':FORWARD ACCEPT [0:0]', ':KUBE-X - [0:0]', ...lines, 'COMMIT'].join('\n');
      const { ways } = trace(connection, parseIptablesSave(text), facts);
      expect(ways.reduce((sum, w) => sum + w.share, 0)).toBeCloseTo(1, 5);
    }),
    { numRuns: 3_000, seed: 4 }, // always the same ones: 300,000 others were tried once
  );
});

const RULES = `*filter
:FORWARD ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
-A KUBE-SERVICES -d 10.96.0.13/32 -p tcp -m comment --comment "ns/none:p has no endpoints" -m tcp --dport 80 -j REJECT
-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "ns/none:p has no endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30081 -j REJECT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SVC-WEB - [0:0]
:KUBE-MASQ - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A POSTROUTING -j KUBE-MASQ
-A KUBE-MASQ -s 198.51.100.0/24 -j MASQUERADE --random-fully
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "ns/web:p cluster IP" -m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SERVICES -d 203.0.113.9/32 -p tcp -m comment --comment "ns/web:p loadbalancer IP" -m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SERVICES -d 10.96.0.20/32 -p udp -m comment --comment "ns/web-2 cluster IP" -m udp --dport 53 -j KUBE-SVC-WEB
-A KUBE-NODEPORTS -p tcp -m comment --comment "ns/web:p" -m tcp --dport 30080 -j KUBE-SVC-WEB
-A KUBE-SVC-WEB -m statistic --mode random --probability 0.50000000000 -j DNAT --to-destination 10.244.1.5:8080
-A KUBE-SVC-WEB -p tcp -j DNAT --to-destination 10.244.1.6:8080
COMMIT
`;

test('the rules tell where a Service is reached', () => {
  const told = (key: string) =>
    frontendsOfRules(key, parseIptablesSave(RULES)).map(
      (f) => `${f.kind} ${f.ip ?? '*'}:${f.port}/${f.protocol} ${f.portName}`,
    );
  expect(told('ns/web')).toEqual([
    'cluster IP 10.96.0.10:80/tcp p',
    'load balancer IP 203.0.113.9:80/tcp p',
    'node port *:30080/tcp p',
  ]);
  expect(told('ns/web-2')).toEqual(['cluster IP 10.96.0.20:53/udp ']);
  expect(told('ns/none')).toEqual(['cluster IP 10.96.0.13:80/tcp p', 'node port *:30081/tcp p']);
  expect(told('ns/we')).toEqual([]);
});

test('a Service object tells it by family, and headless ones have no address', () => {
  const spec = {
    clusterIP: '10.96.0.10',
    clusterIPs: ['10.96.0.10', 'fd00:96::a'],
    externalIPs: ['198.51.100.7', '2001:db8::7'],
    ports: [
      { name: 'p', port: 80, nodePort: 30080 },
      { name: 'u', port: 53, protocol: 'UDP' as const },
    ],
  };
  const status = {
    loadBalancer: { ingress: [{ ip: '203.0.113.9' }, { ip: '203.0.113.10', ipMode: 'Proxy' }, { hostname: 'x' }] },
  };
  const told = (family: 4 | 6) =>
    frontendsOfService({ spec, status }, family).map((f) => `${f.ip ?? '*'}:${f.port}/${f.protocol}`);
  expect(told(4)).toEqual([
    ...['10.96.0.10:80/tcp', '198.51.100.7:80/tcp', '203.0.113.9:80/tcp', '*:30080/tcp'],
    ...['10.96.0.10:53/udp', '198.51.100.7:53/udp', '203.0.113.9:53/udp'],
  ]);
  expect(told(6)).toEqual([
    ...['fd00:96::a:80/tcp', '2001:db8::7:80/tcp', '*:30080/tcp', 'fd00:96::a:53/udp', '2001:db8::7:53/udp'],
  ]);
  expect(frontendsOfService({ spec: { clusterIP: 'None', ports: [{ port: 80 }] } }, 4)).toEqual([]);
});

test('a report reads well on a terminal', () => {
  const to = { ...connection, to: '10.96.0.10' };
  const names = new Map([['10.244.1.6', { pod: 'ns/web-1', node: 'a' }]]);
  const traced = reportTrace(
    trace(to, parseIptablesSave(RULES), facts),
    { kind: 'cluster IP', portName: 'p' },
    'outside',
    names,
  );
  const report: TraceReport = {
    netns: null,
    service: 'ns/web',
    addressesFrom: 'rules',
    warnings: ['careful'],
    traces: [traced],
  };
  expect(formatReport(report, () => true)).toBe(`! careful

From outside the cluster (198.51.100.9) to 10.96.0.10:80/tcp (cluster IP of ns/web, port p)
  prerouting nat PREROUTING  → KUBE-SERVICES
  prerouting nat KUBE-SERVICES  → KUBE-SVC-WEB   [-d 10.96.0.10/32 -p tcp -m tcp --dport 80  "ns/web:p cluster IP"]
  ├ 50.0 % prerouting nat KUBE-SVC-WEB  DNAT to 10.244.1.5:8080   [-m statistic --mode random --probability 0.50000000000]
  │        postrouting nat POSTROUTING  → KUBE-MASQ
  │        postrouting nat KUBE-MASQ  masqueraded   [-s 198.51.100.0/24]
  │        ⇒ 10.244.1.5:8080 50.0 %, masqueraded as 10.244.1.1
  └ 50.0 % prerouting nat KUBE-SVC-WEB  DNAT to 10.244.1.6:8080   [-p tcp]
           … on as above
           ⇒ 10.244.1.6:8080 (pod ns/web-1 on a) 50.0 %, masqueraded as 10.244.1.1

FROM     TO                 FRONTEND    REACHES
outside  10.96.0.10:80/tcp  cluster IP  10.244.1.5:8080 50.0 %, 10.244.1.6:8080 50.0 % (masqueraded)`);
});
