// Where packets to Services go in both modes, on the real kernel, Service by Service: what the matrix of Services leaves out.
// Protocols that share a port number, several addresses of a balancer, addresses and slices as the API server may have
// them, the settings of node ports, and the ways to tell traffic of pods.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import type { Exec } from '../../host/exec.ts';
import { systemExec } from '../../host/exec.ts';
import { ipBatch } from '../../host/ip-batch.ts';
import type { NftOptions } from '../../proxy/nftables/table.ts';
import { trace } from '../../proxy/trace/evaluate.ts';
import { type LiveState, readLiveState } from '../../proxy/trace/live.ts';
import type { Protocol } from '../../proxy/trace/ruleset.ts';
import { matrixProxier } from '../harness/matrix-proxier.ts';
import { TestNamespaces } from '../harness/netns.ts';
import { ADDRESSES, type Mode } from '../harness/service-matrix.ts';

const signal = new AbortController().signal;
const namespaces = new TestNamespaces('flow');
const A = ADDRESSES[4];
const FROM = {
  pod: A.localPod,
  endpoint: A.localEndpoint,
  node: A.node,
  localhost: '127.0.0.1',
  outside: '192.0.2.9',
  far: '203.0.113.200',
  balancer: '203.0.113.1',
  admitted: '203.0.113.70',
} as const;
const [HERE, THERE] = [A.localEndpoint, A.remoteEndpoint];
const SECOND_ADDRESS = '100.64.0.1';

afterAll(() => namespaces[Symbol.asyncDispose]());

/** A node with two addresses, the bridge of its pods, and a route to those of others. */
async function node(name: string): Promise<Exec> {
  const netns = await namespaces.create(name);
  const lines = [
    'link add eth0 type veth peer name wire',
    'link add cni0 type bridge',
    ...['eth0', 'wire', 'cni0'].map((device) => `link set ${device} up`),
    `address add ${A.node}/24 dev eth0`,
    `address add ${SECOND_ADDRESS}/32 dev eth0`,
    `address add ${A.bridge} dev cni0`,
    `route add 10.244.2.0/24 dev eth0`,
    `route add default via ${A.outside}`,
  ];
  await ipBatch(systemExec, lines, { netns });
  return namespaces.exec(netns);
}

type Spec = NonNullable<Service['spec']>;
const labels = (name: string) => ({ 'kubernetes.io/service-name': name });

function service(name: string, spec: Partial<Spec>, rest: Partial<Service> = {}): Service {
  const ports = [{ name: 'p', port: 80 }];
  return { ...rest, metadata: { namespace: 'flow', name, ...rest.metadata }, spec: { ports, ...spec } };
}

function slice(name: string, rest: Partial<EndpointSlice> = {}): EndpointSlice {
  return {
    addressType: 'IPv4',
    ports: [{ name: 'p', port: 8080, protocol: 'TCP' }],
    endpoints: [
      { addresses: [HERE], nodeName: 'node-a' },
      { addresses: [THERE], nodeName: 'node-b' },
    ],
    ...rest,
    metadata: { namespace: 'flow', name: `${name}-1`, labels: labels(name), ...rest.metadata },
  };
}

async function load(
  exec: Exec,
  mode: Mode,
  objects: { readonly services: readonly Service[]; readonly slices: readonly EndpointSlice[] },
  options: Partial<NftOptions> = {},
): Promise<LiveState> {
  const proxier = matrixProxier(exec, { mode, family: 4, options });
  for (const s of objects.services) proxier.handleService(`flow/${s.metadata!.name}`, s);
  for (const s of objects.slices) proxier.handleSlice(s);
  await proxier.sync(signal);
  return await readLiveState(exec, 4, signal);
}

/** `udp 10.96.0.1:53` → `10.244.1.10:53, 10.244.2.10:53 masq`, `rejected`, `dropped` or `untouched`. */
function outcome({ ruleset, facts }: LiveState, from: keyof typeof FROM, to: string): string {
  const [protocol, ip, port] = to.split(/[ :]/) as [Protocol, string, string];
  const { ways, unknown } = trace({ from: FROM[from], to: ip, port: Number(port), protocol }, ruleset, facts);
  const ends = ways.map((w) => {
    if (w.outcome !== 'delivered') return w.outcome;
    return w.isDnat ? `${w.destination.ip}:${w.destination.port}` : 'untouched';
  });
  const masqueraded = new Set(ways.filter((w) => w.isDnat).map((w) => (w.source === 'kept' ? '' : ' masq')));
  return [...unknown, `${ends.sort().join(', ')}${[...masqueraded].sort().join(' or')}`].join('; ');
}

const services: Service[] = [
  service('many', {
    clusterIP: '10.96.0.1',
    ports: [
      { name: 'p', port: 80 },
      { name: 'https', port: 443 },
      { name: 'dns', port: 53, protocol: 'UDP' },
      { name: 'dns-tcp', port: 53 },
      { name: 'dns-sctp', port: 53, protocol: 'SCTP' },
    ],
  }),
  service('nodeport', { type: 'NodePort', clusterIP: '10.96.0.2', ports: [{ name: 'p', port: 80, nodePort: 30_080 }] }),
  service(
    'balanced',
    {
      type: 'LoadBalancer',
      clusterIP: '10.96.0.3',
      // One with blanks around it, one that is none, one of the other family.
      loadBalancerSourceRanges: [' 192.0.2.0/24 ', 'anybody', '2001:db8::/32', '0203.0.113.064/26'],
      ports: [{ name: 'p', port: 80, nodePort: 30_083 }],
    },
    {
      status: { loadBalancer: { ingress: [{ ip: '203.0.113.1' }, { ip: '203.0.113.2' }, { hostname: 'lb.example' }] } },
    },
  ),
  service(
    'unranged',
    { type: 'LoadBalancer', clusterIP: '10.96.0.4', loadBalancerSourceRanges: ['anybody', '2001:db8::/32'] },
    { status: { loadBalancer: { ingress: [{ ip: '203.0.113.4' }] } } },
  ),
  service(
    'proxied',
    { type: 'LoadBalancer', clusterIP: '10.96.0.5', ports: [{ name: 'p', port: 80, nodePort: 30_085 }] },
    { status: { loadBalancer: { ingress: [{ ip: '203.0.113.5', ipMode: 'Proxy' } as { ip: string }] } } },
  ),
  service('zeros', { clusterIP: '010.096.0.6', externalIPs: ['0198.051.100.06', 'nowhere', '2001:db8::6'] }),
  service('doubled', { clusterIP: '10.96.0.7' }),
  service('sparse', { clusterIP: '10.96.0.8' }),
  service('named', { clusterIP: '10.96.0.9' }),
  service('leaving', { clusterIP: '10.96.0.10' }),
  service('stopping', { clusterIP: '10.96.0.11' }),
  service('external-name', { type: 'ExternalName', clusterIP: '10.96.0.12', externalName: 'www.example' }),
  service(
    'of-another-proxy',
    { clusterIP: '10.96.0.13' },
    {
      metadata: {
        namespace: 'flow',
        name: 'of-another-proxy',
        labels: { 'service.kubernetes.io/service-proxy-name': '' },
      },
    },
  ),
];

const published = { ready: true, serving: false, terminating: false };
const draining = { ready: false, serving: true, terminating: true };
const slices: EndpointSlice[] = [
  slice('many', {
    ports: [
      { name: 'p', port: 8080, protocol: 'TCP' },
      { name: 'https', port: 8443, protocol: 'TCP' },
      { name: 'dns', port: 53, protocol: 'UDP' },
      { name: 'dns-tcp', port: 5353, protocol: 'TCP' },
      { name: 'dns-sctp', port: 53, protocol: 'SCTP' },
    ],
  }),
  ...['nodeport', 'balanced', 'unranged', 'proxied', 'zeros', 'external-name', 'of-another-proxy'].map((n) => slice(n)),
  // A pod that goes, and another one with its address, in either order.
  slice('doubled', {
    endpoints: [
      { addresses: [HERE], conditions: draining },
      { addresses: [THERE], conditions: {} },
    ],
  }),
  slice('doubled', {
    metadata: { name: 'doubled-2' },
    endpoints: [
      { addresses: [HERE], conditions: {} },
      { addresses: [THERE], conditions: draining },
    ],
  }),
  // Nothing but what must be there; a second address, which nobody uses; one that is published though it is not ready.
  slice('sparse', { endpoints: [{ addresses: [HERE, '10.244.1.99'] }, { addresses: [THERE], conditions: published }] }),
  // By other controllers; of an address type that proxies do not know; of a Service by another label.
  slice('named', { metadata: { labels: { ...labels('named'), 'endpointslice.kubernetes.io/managed-by': 'me' } } }),
  slice('named', { metadata: { name: 'named-2' }, addressType: 'FQDN', endpoints: [{ addresses: ['a.example'] }] }),
  slice('named', {
    metadata: { name: 'named-3', labels: { app: 'named' } },
    endpoints: [{ addresses: ['10.244.1.98'] }],
  }),
  slice('leaving', {
    endpoints: [
      { addresses: [THERE], conditions: draining },
      { addresses: [HERE], conditions: { ready: false, serving: false, terminating: true } },
    ],
  }),
  slice('stopping', { endpoints: [{ addresses: [HERE], conditions: { ready: false, serving: true } }] }),
];

type Wanted = string | Readonly<Record<Mode, string>>;
const BOTH = `${HERE}:8080, ${THERE}:8080`;
/** A cluster IP without a Service, or a port that the Service of a cluster IP does not have. */
const UNUSED: Wanted = { iptables: 'untouched', nftables: 'dropped' };
const UNKNOWN_PORT: Wanted = { iptables: 'untouched', nftables: 'rejected' };

const flows: readonly (readonly [what: string, from: keyof typeof FROM, to: string, wanted: Wanted])[] = [
  ['a port of a pod with another number', 'pod', 'tcp 10.96.0.1:443', `${HERE}:8443, ${THERE}:8443`],
  ['one number, TCP', 'pod', 'tcp 10.96.0.1:53', `${HERE}:5353, ${THERE}:5353`],
  ['one number, UDP', 'pod', 'udp 10.96.0.1:53', `${HERE}:53, ${THERE}:53`],
  ['one number, SCTP', 'pod', 'sctp 10.96.0.1:53', `${HERE}:53, ${THERE}:53`],
  ['a TCP port by UDP', 'pod', 'udp 10.96.0.1:80', UNKNOWN_PORT],
  ['a port of another Service', 'pod', 'tcp 10.96.0.2:443', UNKNOWN_PORT],
  ['an address without a Service', 'pod', 'tcp 10.96.0.200:80', UNUSED],
  ['a node port', 'outside', `tcp ${A.node}:30080`, `${BOTH} masq`],
  ['a node port from the node', 'node', `tcp ${A.node}:30080`, `${BOTH} masq`],
  ['a node port by UDP', 'outside', `udp ${A.node}:30080`, 'untouched'],
  [
    'a node port on another address',
    'outside',
    `tcp ${SECOND_ADDRESS}:30080`,
    {
      iptables: `${BOTH} masq`,
      nftables: 'untouched',
    },
  ],
  ['a node port on 127.0.0.1', 'localhost', 'tcp 127.0.0.1:30080', { iptables: `${BOTH} masq`, nftables: 'untouched' }],
  ['the first address of a balancer', 'outside', 'tcp 203.0.113.1:80', `${BOTH} masq`],
  ['its second address', 'outside', 'tcp 203.0.113.2:80', `${BOTH} masq`],
  ['it, from where nobody may', 'far', 'tcp 203.0.113.1:80', 'dropped'],
  ['it, from where a range with leading zeros lets in', 'admitted', 'tcp 203.0.113.1:80', `${BOTH} masq`],
  ['it, from a pod, which may not', 'pod', 'tcp 203.0.113.2:80', 'dropped'],
  ['it, from the node, which may', 'node', 'tcp 203.0.113.1:80', `${BOTH} masq`],
  ['it, handed back by the balancer', 'balancer', 'tcp 203.0.113.1:80', `${BOTH} masq`],
  ['its node port, which no range guards', 'far', `tcp ${A.node}:30083`, `${BOTH} masq`],
  ['a balancer none of whose ranges is one', 'far', 'tcp 203.0.113.4:80', `${BOTH} masq`],
  ['a balancer that wants to see the traffic', 'pod', 'tcp 203.0.113.5:80', 'untouched'],
  ['the node port of such a one', 'outside', `tcp ${A.node}:30085`, `${BOTH} masq`],
  ['an address with leading zeros', 'pod', 'tcp 10.96.0.6:80', BOTH],
  ['an external address with leading zeros', 'outside', 'tcp 198.51.100.6:80', `${BOTH} masq`],
  ['an endpoint by way of itself or another', 'endpoint', 'tcp 10.96.0.9:80', `${BOTH} or masq`],
  ['addresses that were taken over', 'pod', 'tcp 10.96.0.7:80', BOTH],
  ['endpoints without conditions, and published ones', 'pod', 'tcp 10.96.0.8:80', BOTH],
  ['slices by whomever', 'pod', 'tcp 10.96.0.9:80', BOTH],
  ['the last endpoint that still answers', 'outside', 'tcp 10.96.0.10:80', `${THERE}:8080 masq`],
  ['a Service whose endpoints are not ready', 'pod', 'tcp 10.96.0.11:80', 'rejected'],
  ['the same from the node', 'node', 'tcp 10.96.0.11:80', 'rejected'],
  ['a Service that is but a name', 'pod', 'tcp 10.96.0.12:80', UNUSED],
  ['a Service of another proxy', 'pod', 'tcp 10.96.0.13:80', UNUSED],
];

describe.each(['iptables', 'nftables'] as const)('%s: a packet to', (mode) => {
  let state: LiveState;
  beforeAll(async () => {
    state = await load(await node(mode), mode, { services, slices });
  });

  test.each(flows)('%s, %s → %s', (_what, from, to, wanted) => {
    expect(outcome(state, from, to)).toBe(typeof wanted === 'string' ? wanted : wanted[mode]);
  });
});

const LOCAL = service('local', {
  type: 'NodePort',
  clusterIP: '10.96.0.20',
  externalTrafficPolicy: 'Local',
  ports: [{ name: 'p', port: 80, nodePort: 30_020 }],
});
const objects = { services: [LOCAL], slices: [slice('local')] };

describe.each(['iptables', 'nftables'] as const)('%s:', (mode) => {
  test.each<[string, readonly string[], readonly (keyof typeof FROM)[]]>([
    ['the addresses named', [A.node, SECOND_ADDRESS], ['outside', 'node']],
    ['one of them', [SECOND_ADDRESS], ['outside']],
    ['none, as the node has none of those named', [], []],
  ])('node ports answer on %s', async (what, nodePortIps, answered) => {
    const exec = await node(`${mode}-${what.replaceAll(/\W+/g, '-').slice(0, 12)}`);
    const state = await load(exec, mode, objects, { nodePortIps, localhostNodePorts: false });
    const on = (ip: string) => outcome(state, 'outside', `tcp ${ip}:30020`);
    expect(on(A.node)).toBe(answered.includes('node') ? `${HERE}:8080` : 'untouched');
    expect(on(SECOND_ADDRESS)).toBe(answered.includes('outside') ? `${HERE}:8080` : 'untouched');
    expect(outcome(state, 'localhost', 'tcp 127.0.0.1:30020')).toBe('untouched');
  });

  test.each<NonNullable<NftOptions['localTraffic']>>([
    { by: 'interface', name: 'cni0' },
    { by: 'interface-prefix', prefix: 'cn' },
    { by: 'cidr', cidr: '10.244.1.0/24' },
  ])('traffic of pods is told by $by', async (localTraffic) => {
    const state = await load(await node(`${mode}-${localTraffic.by.slice(-6)}`), mode, objects, { localTraffic });
    const seen = (['pod', 'outside', 'node'] as const).map((from) => [
      outcome(state, from, 'tcp 10.96.0.20:80'),
      outcome(state, from, `tcp ${A.node}:30020`),
    ]);
    expect(seen).toEqual([
      [BOTH, BOTH],
      [`${BOTH} masq`, `${HERE}:8080`],
      [`${BOTH} masq`, `${BOTH} masq`],
    ]);
  });
});
