// The documents that upstream would write, rule for rule, and where packets go under them.
import { describe, expect, test } from 'vitest';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { FakeIptables, type Packet } from '../../host/fake-iptables.ts';
import { RULES } from '../fake-rule-options.ts';
import { FamilyProxier } from '../family-proxier.ts';
import type { RuleOptions } from '../options.ts';
import { INVALID_DROPPED, LOCALHOST_NODE_PORTS } from './counter-match.ts';
import { expected } from './fake-upstream-documents.ts';
import { IptablesBackend } from './iptables.ts';

const signal = new AbortController().signal;

function service(key: string, spec: Service['spec'], ingressIp?: string): Service {
  const [namespace, name] = key.split('/') as [string, string];
  return {
    metadata: { namespace, name },
    spec: { type: 'ClusterIP', ...spec },
    ...(ingressIp === undefined ? {} : { status: { loadBalancer: { ingress: [{ ip: ingressIp }] } } }),
  };
}

interface Ep {
  readonly ip: string;
  readonly node: string;
  readonly draining?: boolean;
}

function slice(
  key: string,
  port: { name: string; port: number; protocol?: string },
  eps: readonly Ep[],
): EndpointSlice {
  const [namespace, name] = key.split('/') as [string, string];
  return {
    metadata: { namespace, name: `${name}-abc`, labels: { 'kubernetes.io/service-name': name } },
    addressType: eps[0]!.ip.includes(':') ? 'IPv6' : 'IPv4',
    ports: [{ protocol: 'TCP', ...port }],
    endpoints: eps.map((e) => ({
      addresses: [e.ip],
      nodeName: e.node,
      conditions: { ready: !e.draining, serving: true, terminating: e.draining ?? false },
    })),
  };
}

interface Example {
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
  readonly rules?: Partial<RuleOptions>;
}

const web = service('default/web', { clusterIP: '10.96.0.50', ports: [{ name: 'http', port: 80 }] });
const http = { name: 'http', port: 8080 };

const examples: Readonly<Record<number, Example>> = {
  1: {
    services: [web],
    slices: [
      slice('default/web', http, [
        { ip: '10.244.1.5', node: 'node-a' },
        { ip: '10.244.2.7', node: 'node-b' },
      ]),
    ],
  },
  2: {
    services: [
      service('default/api', { type: 'NodePort', clusterIP: '10.96.0.60', ports: [{ port: 443, nodePort: 30443 }] }),
      service('kube-system/dns', { clusterIP: '10.96.0.10', ports: [{ name: 'dns', port: 53, protocol: 'UDP' }] }),
    ],
    slices: [
      slice('kube-system/dns', { name: 'dns', port: 53, protocol: 'UDP' }, [
        { ip: '10.244.1.2', node: 'node-a' },
        { ip: '10.244.2.2', node: 'node-b' },
        { ip: '10.244.3.2', node: 'node-c' },
      ]),
    ],
  },
  3: {
    services: [
      service('shop/front', {
        type: 'NodePort',
        clusterIP: '10.96.1.1',
        externalIPs: ['198.51.100.7'],
        ports: [{ name: 'http', port: 80, nodePort: 30080 }],
      }),
    ],
    slices: [slice('shop/front', http, [{ ip: '10.244.2.9', node: 'node-b' }])],
  },
  4: {
    services: [
      service(
        'shop/edge',
        {
          type: 'LoadBalancer',
          clusterIP: '10.96.1.2',
          externalTrafficPolicy: 'Local',
          healthCheckNodePort: 32100,
          ports: [{ name: 'https', port: 443, nodePort: 31443 }],
        },
        '203.0.113.9',
      ),
    ],
    slices: [
      slice('shop/edge', { name: 'https', port: 8443 }, [
        { ip: '10.244.1.8', node: 'node-a' },
        { ip: '10.244.3.8', node: 'node-c' },
      ]),
    ],
  },
  5: {
    services: [
      service(
        'shop/fw',
        {
          type: 'LoadBalancer',
          clusterIP: '10.96.1.3',
          loadBalancerSourceRanges: ['192.0.2.0/24', ' 198.51.100.0/25'],
          ports: [{ name: 'http', port: 80, nodePort: 31080 }],
        },
        '203.0.113.10',
      ),
    ],
    slices: [slice('shop/fw', { name: 'http', port: 80 }, [{ ip: '10.244.2.11', node: 'node-b' }])],
  },
  6: {
    services: [
      service('shop/sticky', {
        clusterIP: '10.96.1.4',
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 10800 } },
        ports: [{ name: 'http', port: 80 }],
      }),
    ],
    slices: [
      slice('shop/sticky', { name: 'http', port: 80 }, [
        { ip: '10.244.1.21', node: 'node-a' },
        { ip: '10.244.2.21', node: 'node-b' },
      ]),
    ],
  },
  7: {
    rules: { localhostNodePorts: false, nodePortIps: ['192.0.2.10'] },
    services: [
      service('ops/itp', {
        clusterIP: '10.96.2.1',
        internalTrafficPolicy: 'Local',
        ports: [{ name: 'm', port: 9100 }],
      }),
      service('ops/drain', {
        type: 'NodePort',
        clusterIP: '10.96.2.2',
        externalTrafficPolicy: 'Local',
        ports: [{ name: 'http', port: 80, nodePort: 30090 }],
      }),
    ],
    slices: [
      slice('ops/itp', { name: 'm', port: 9100 }, [{ ip: '10.244.2.30', node: 'node-b' }]),
      slice('ops/drain', { name: 'http', port: 80 }, [
        { ip: '10.244.1.40', node: 'node-a', draining: true },
        { ip: '10.244.2.40', node: 'node-b' },
      ]),
    ],
  },
  8: {
    rules: { family: 6, localTraffic: { by: 'cidr', cidr: 'fd00:244::/48' } },
    services: [
      service('default/web6', {
        type: 'NodePort',
        clusterIP: 'fd00:96::50',
        ports: [{ name: 'http', port: 80, nodePort: 30180 }],
      }),
    ],
    slices: [slice('default/web6', http, [{ ip: 'fd00:244:1::5', node: 'node-a' }])],
  },
};

/** A host with the kernel's packet counters, and one without. */
const counting = { ensure: async () => new Set([INVALID_DROPPED, LOCALHOST_NODE_PORTS]), refuse: () => {} };
const notCounting = { ...counting, ensure: async () => new Set<string>() };

function load(example: Example, packetCounters = notCounting): { proxier: FamilyProxier; kernel: FakeIptables } {
  const kernel = new FakeIptables(['192.0.2.10', '2001:db8::10']);
  const { exec } = kernel;
  const backend = new IptablesBackend({ ...RULES, ...example.rules }, { exec, packetCounters });
  const opts = { nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 };
  const proxier = new FamilyProxier(opts, { backend, exec, clock: new FakeClock(), log: silentLog });
  for (const s of example.services) proxier.handleService(`${s.metadata!.namespace}/${s.metadata!.name}`, s);
  for (const s of example.slices) proxier.handleSlice(s);
  return { proxier, kernel };
}

/** Chain → rules of the proxy's own chains, in table order. Jumps from built-in chains are upstream's separate step. */
function ownRules(kernel: FakeIptables): Record<string, readonly string[]> {
  const out: Record<string, readonly string[]> = {};
  for (const table of ['filter', 'nat']) {
    for (const chain of kernel.chains(table)) {
      if (!chain.startsWith('KUBE-') || chain === 'KUBE-PROXY-CANARY') continue;
      const rules = kernel.rules(table, chain);
      // Nothing matches twice in these, so their order is free but for the last rule of nat KUBE-SERVICES.
      const free = chain === 'KUBE-SERVICES' || chain === 'KUBE-NODEPORTS';
      const tail = rules.filter((r) => r.includes('must be the last rule'));
      expect(rules.slice(rules.length - tail.length)).toEqual(tail);
      out[`${table}/${chain}`] = free ? [...rules].sort() : rules;
    }
  }
  if (out['filter/KUBE-FIREWALL']?.length === 0) delete out['filter/KUBE-FIREWALL'];
  return out;
}

function upstreamRules(documents: readonly string[], counts = false): Record<string, readonly string[]> {
  const kernel = new FakeIptables();
  for (const d of documents) {
    if (counts) {
      kernel.restore(d);
      continue;
    }
    // Without the kernel's packet counters upstream leaves these out too.
    const plain = d
      .split('\n')
      .filter((l) => !l.includes('localhost_nps_accepted_pkts'))
      .map((l) => l.replace(' -m nfacct --nfacct-name ct_state_invalid_dropped_pkts', ''));
    kernel.restore(plain.join('\n'));
  }
  return ownRules(kernel);
}

test.each(Object.keys(examples).map(Number))('example %i: the rules are those of upstream', async (n) => {
  const { proxier, kernel } = load(examples[n]!);
  await proxier.sync(signal);
  expect(ownRules(kernel)).toEqual(upstreamRules([expected[n]!]));
});

test('example 3 on a host with packet counters: the rules that feed them are those of upstream', async () => {
  const { proxier, kernel } = load(examples[3]!, counting);
  await proxier.sync(signal);
  expect(expected[3]).toContain('nfacct');
  expect(ownRules(kernel)).toEqual(upstreamRules([expected[3]!], true));
});

test('a node port that comes later is counted on 127.0.0.1 too, before the rule for all addresses', async () => {
  const { proxier, kernel } = load({ services: [], slices: [] }, counting);
  await proxier.sync(signal);
  for (const s of examples[3]!.services) proxier.handleService(`${s.metadata!.namespace}/${s.metadata!.name}`, s);
  for (const s of examples[3]!.slices) proxier.handleSlice(s);
  expect(await proxier.sync(signal)).toBe('partial');
  const rules = kernel.rules('nat', 'KUBE-NODEPORTS');
  expect(rules.map((r) => r.includes('nfacct'))).toEqual([true, false]);
  expect(ownRules(kernel)).toEqual(upstreamRules([expected[3]!], true));
});

test('example 9: one process brings a changed slice to the state of upstream', async () => {
  const other = service('default/other', { clusterIP: '10.96.0.51', ports: [{ name: 'http', port: 80 }] });
  const { proxier, kernel } = load({
    services: [web, other],
    slices: [
      ...examples[1]!.slices,
      slice('default/other', { name: 'http', port: 80 }, [{ ip: '10.244.2.8', node: 'b' }]),
    ],
  });
  await proxier.sync(signal);
  const before = kernel.programs.length;
  proxier.handleSlice(
    slice('default/web', http, [
      { ip: '10.244.1.5', node: 'node-a' },
      { ip: '10.244.3.4', node: 'node-b' },
    ]),
  );
  expect(await proxier.sync(signal)).toBe('partial');
  expect(kernel.programs.slice(before)).toEqual(['iptables-restore']);

  const { 'nat/KUBE-SVC-6M2PNY2GQKD6K7F5': svc, ...rest } = ownRules(kernel);
  const start = `*nat\n:KUBE-SVC-6M2PNY2GQKD6K7F5 - [0:0]\n:KUBE-SEP-2RIJ5GIYXEFH6G4D - [0:0]\nCOMMIT\n`;
  const wanted = upstreamRules([start, expected[9]!]);
  delete wanted['nat/KUBE-SVC-6M2PNY2GQKD6K7F5'];
  expect(svc).toHaveLength(2);
  const sepOfOther = Object.keys(rest).filter((c) => c.startsWith('nat/KUBE-SEP') && wanted[c] === undefined);
  expect(sepOfOther).toHaveLength(1);
  delete rest[sepOfOther[0]!];
  expect(rest).toEqual(wanted);
  // What did not change is not written.
  expect(kernel.applied.at(-1)).not.toMatch(/6M2PNY2GQKD6K7F5|KUBE-MARK-MASQ - |:KUBE-SEP-AFGSLHOD2HFNCBX4/);
});

describe('packet walks', () => {
  const client = '198.51.100.99';
  const cases: readonly [number, string, Packet, readonly string[]][] = [
    [1, 'pod to cluster IP', tcp('10.244.1.9', '10.96.0.50', 80), ['10.244.1.5:8080', '10.244.2.7:8080']],
    [1, 'endpoint to itself', tcp('10.244.1.5', '10.96.0.50', 80), ['10.244.1.5:8080 masq', '10.244.2.7:8080']],
    [
      1,
      'host',
      { ...tcp('192.0.2.10', '10.96.0.50', 80), fromHost: true },
      ['10.244.1.5:8080 masq', '10.244.2.7:8080 masq'],
    ],
    [1, 'client', tcp(client, '10.96.0.50', 80), ['10.244.1.5:8080 masq', '10.244.2.7:8080 masq']],
    [2, 'cluster IP without endpoints', tcp('10.244.1.9', '10.96.0.60', 443), ['reject']],
    [2, 'node port without endpoints', tcp(client, '192.0.2.10', 30443), ['reject']],
    [3, 'pod to external IP', tcp('10.244.1.9', '198.51.100.7', 80), ['10.244.2.9:8080 masq']],
    [3, 'client to node port', tcp(client, '192.0.2.10', 30080), ['10.244.2.9:8080 masq']],
    [4, 'client to VIP', tcp(client, '203.0.113.9', 443), ['10.244.1.8:8443']],
    [4, 'client to node port', tcp(client, '192.0.2.10', 31443), ['10.244.1.8:8443']],
    [4, 'pod to VIP', tcp('10.244.1.9', '203.0.113.9', 443), ['10.244.1.8:8443', '10.244.3.8:8443']],
    [
      4,
      'host to VIP',
      { ...tcp('192.0.2.10', '203.0.113.9', 443), fromHost: true },
      ['10.244.1.8:8443 masq', '10.244.3.8:8443 masq'],
    ],
    [5, 'admitted client', tcp('198.51.100.20', '203.0.113.10', 80), ['10.244.2.11:80 masq']],
    [5, 'other client', tcp('203.0.114.1', '203.0.113.10', 80), ['drop']],
    [5, 'other client to node port', tcp('203.0.114.1', '192.0.2.10', 31080), ['10.244.2.11:80 masq']],
    [7, 'no local endpoint', tcp('10.244.1.9', '10.96.2.1', 9100), ['drop']],
    [7, 'terminating local endpoint', tcp(client, '192.0.2.10', 30090), ['10.244.1.40:80']],
    [7, 'pod to cluster IP', tcp('10.244.1.9', '10.96.2.2', 80), ['10.244.2.40:80']],
  ];
  test.each(cases)('example %i: %s', async (n, _name, packet, outcomes) => {
    const { proxier, kernel } = load(examples[n]!);
    await proxier.sync(signal);
    const seen = kernel
      .trace(packet)
      .map((o) => (o.verdict === 'accept' ? `${o.to}${o.masqueraded ? ' masq' : ''}` : o.verdict));
    expect([...new Set(seen)].sort()).toEqual([...outcomes].sort());
  });
});

function tcp(src: string, dst: string, dport: number): Packet {
  return { src, dst, proto: 'tcp', dport };
}
