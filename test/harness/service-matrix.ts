// A matrix of Services (policies × endpoints × source ranges × affinity), and a small model of its own that says what
// must happen to a connection of each client through each frontend. The model knows the rules of Services and nothing of
// chains, maps or the proxy's code: what the tracer finds and what packets do are both held against it.
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import type { NftOptions } from '../../proxy/nftables/table.ts';

export type Mode = 'iptables' | 'nftables';
export type Family = 4 | 6;

/** Settings that change who is masqueraded: all cluster IP traffic; nothing known about addresses of pods. */
const VARIANTS = ['usual', 'masquerade all', 'no detector'] as const;
export type Variant = (typeof VARIANTS)[number];

export const FRONTENDS = ['cluster IP', 'external IP', 'load balancer IP', 'node port'] as const;
export type FrontendKind = (typeof FRONTENDS)[number];

/** A pod on the node that is no endpoint; the endpoint on the node; the node itself; a client outside the cluster. */
export const PLACES = ['pod', 'endpoint', 'node', 'outside'] as const;
export type Place = (typeof PLACES)[number];

const ENDPOINT_STATES = [
  'both',
  'remote only',
  'local only',
  'local draining',
  'all draining',
  'unready',
  'none',
] as const;
export type EndpointState = (typeof ENDPOINT_STATES)[number];

export interface Shape {
  /** Number of the Service in the matrix: its addresses and its node port follow from it. */
  readonly index: number;
  readonly externalLocal: boolean;
  readonly internalLocal: boolean;
  readonly endpoints: EndpointState;
  /** Source ranges: none; with the node's network in them; with neither the node nor the client. */
  readonly ranges: 'open' | 'admit' | 'refuse';
  readonly affinity: boolean;
}

/** Every combination. */
export function wholeMatrix(): Shape[] {
  return ENDPOINT_STATES.flatMap((endpoints) =>
    [false, true].flatMap((externalLocal) =>
      [false, true].flatMap((internalLocal) =>
        (['open', 'admit', 'refuse'] as const).flatMap((ranges) =>
          [false, true].map((affinity) => ({ externalLocal, internalLocal, endpoints, ranges, affinity })),
        ),
      ),
    ),
  ).map((shape, index) => ({ ...shape, index: index + 1 }));
}

/** What real packets are sent through: every policy with the endpoints that make a difference. */
export function packetMatrix(): Shape[] {
  const shapes: Omit<Shape, 'index'>[] = [];
  for (const endpoints of ['both', 'remote only', 'local draining', 'none'] as const) {
    for (const externalLocal of [false, true]) {
      shapes.push({ externalLocal, internalLocal: externalLocal, endpoints, ranges: 'open', affinity: false });
    }
  }
  for (const ranges of ['admit', 'refuse'] as const) {
    shapes.push({ externalLocal: true, internalLocal: false, endpoints: 'both', ranges, affinity: false });
  }
  return shapes.map((shape, index) => ({ ...shape, index: index + 1 }));
}

export interface Addresses {
  readonly node: string;
  readonly podCidr: string;
  readonly localPod: string;
  readonly localEndpoint: string;
  readonly remoteEndpoint: string;
  readonly outside: string;
  readonly bridge: string;
  readonly remoteGateway: string;
  readonly serviceCidr: string;
  clusterIp(index: number): string;
  externalIp(index: number): string;
  vip(index: number): string;
  readonly admitted: string;
  readonly refused: string;
}

export const ADDRESSES: Readonly<Record<Family, Addresses>> = {
  4: {
    node: '192.0.2.1',
    podCidr: '10.244.0.0/16',
    localPod: '10.244.1.20',
    localEndpoint: '10.244.1.10',
    remoteEndpoint: '10.244.2.10',
    outside: '192.0.2.9',
    bridge: '10.244.1.1/24',
    remoteGateway: '10.244.2.1/24',
    serviceCidr: '10.96.0.0/16',
    clusterIp: (i) => `10.96.0.${i}`,
    externalIp: (i) => `198.51.100.${i}`,
    vip: (i) => `203.0.113.${i}`,
    admitted: '192.0.2.0/24',
    refused: '100.64.0.0/10',
  },
  6: {
    node: '2001:db8::1',
    podCidr: 'fd00:244::/48',
    localPod: 'fd00:244:0:1::20',
    localEndpoint: 'fd00:244:0:1::10',
    remoteEndpoint: 'fd00:244:0:2::10',
    outside: '2001:db8::9',
    bridge: 'fd00:244:0:1::1/64',
    remoteGateway: 'fd00:244:0:2::1/64',
    serviceCidr: 'fd00:96::/112',
    clusterIp: (i) => `fd00:96::${i.toString(16)}`,
    externalIp: (i) => `2001:db8:e::${i.toString(16)}`,
    vip: (i) => `2001:db8:f::${i.toString(16)}`,
    admitted: '2001:db8::/64',
    refused: '2001:db8:dead::/48',
  },
};

const SERVICE_PORT = 80;
export const ENDPOINT_PORT = 8080;
const nodePortOf = (shape: Shape): number => 30_000 + shape.index;

/** Where a client of `kind` connects to. */
export function targetOf(shape: Shape, kind: FrontendKind, family: Family): { ip: string; port: number } {
  const a = ADDRESSES[family];
  switch (kind) {
    case 'cluster IP':
      return { ip: a.clusterIp(shape.index), port: SERVICE_PORT };
    case 'external IP':
      return { ip: a.externalIp(shape.index), port: SERVICE_PORT };
    case 'load balancer IP':
      return { ip: a.vip(shape.index), port: SERVICE_PORT };
    case 'node port':
      return { ip: a.node, port: nodePortOf(shape) };
  }
}

export function sourceOf(place: Place, family: Family): string {
  const a = ADDRESSES[family];
  return { pod: a.localPod, endpoint: a.localEndpoint, node: a.node, outside: a.outside }[place];
}

export function ruleOptions(mode: Mode, family: Family, variant: Variant = 'usual'): NftOptions {
  const a = ADDRESSES[family];
  return {
    family,
    masqueradeBit: 14,
    masqueradeAll: variant === 'masquerade all',
    localTraffic: variant === 'no detector' ? undefined : { by: 'cidr', cidr: a.podCidr },
    localhostNodePorts: mode === 'iptables' && family === 4,
    nodePortIps: mode === 'nftables' ? [a.node] : undefined,
    nodeIps: [a.node],
    randomFully: true,
    dropInvalid: true,
    serviceCidrs: [a.serviceCidr],
    hasObjectComments: true,
  };
}

const nameOf = (shape: Shape): string => `s${shape.index}`;
export const keyOf = (shape: Shape): string => `matrix/${nameOf(shape)}`;

export function serviceOf(shape: Shape, family: Family): Service {
  const a = ADDRESSES[family];
  const ranges = { open: undefined, admit: [a.admitted], refuse: [a.refused] }[shape.ranges];
  return {
    metadata: { namespace: 'matrix', name: nameOf(shape) },
    spec: {
      type: 'LoadBalancer',
      clusterIP: a.clusterIp(shape.index),
      externalIPs: [a.externalIp(shape.index)],
      externalTrafficPolicy: shape.externalLocal ? 'Local' : 'Cluster',
      internalTrafficPolicy: shape.internalLocal ? 'Local' : 'Cluster',
      sessionAffinity: shape.affinity ? 'ClientIP' : 'None',
      ...(ranges === undefined ? {} : { loadBalancerSourceRanges: ranges }),
      ports: [{ name: 'p', port: SERVICE_PORT, nodePort: nodePortOf(shape) }],
    },
    status: { loadBalancer: { ingress: [{ ip: a.vip(shape.index) }] } },
  };
}

/** Undefined when there is no endpoint at all. */
export function sliceOf(shape: Shape, family: Family): EndpointSlice | undefined {
  const endpoints = ENDPOINTS[shape.endpoints];
  if (endpoints.length === 0) return undefined;
  const a = ADDRESSES[family];
  return {
    metadata: {
      namespace: 'matrix',
      name: `${nameOf(shape)}-1`,
      labels: { 'kubernetes.io/service-name': nameOf(shape) },
    },
    addressType: family === 4 ? 'IPv4' : 'IPv6',
    ports: [{ name: 'p', port: ENDPOINT_PORT, protocol: 'TCP' }],
    endpoints: endpoints.map(({ where, state }) => ({
      addresses: [where === 'local' ? a.localEndpoint : a.remoteEndpoint],
      nodeName: where === 'local' ? 'node-a' : 'node-b',
      conditions: { ready: state === 'ready', serving: state !== 'unready', terminating: state === 'draining' },
    })),
  };
}

type Where = 'local' | 'remote';

const ENDPOINTS: Readonly<
  Record<EndpointState, readonly { readonly where: Where; readonly state: 'ready' | 'draining' | 'unready' }[]>
> = {
  both: [
    { where: 'local', state: 'ready' },
    { where: 'remote', state: 'ready' },
  ],
  'remote only': [{ where: 'remote', state: 'ready' }],
  'local only': [{ where: 'local', state: 'ready' }],
  'local draining': [
    { where: 'local', state: 'draining' },
    { where: 'remote', state: 'ready' },
  ],
  'all draining': [
    { where: 'local', state: 'draining' },
    { where: 'remote', state: 'draining' },
  ],
  unready: [{ where: 'local', state: 'unready' }],
  none: [],
};

/** `rejected`, `dropped`, `untouched` (goes on as if there were no Service), or `local masq 50%, remote 50%`. */
export function expectedOutcome(
  shape: Shape,
  kind: FrontendKind,
  place: Place,
  mode: Mode,
  variant: Variant = 'usual',
): string {
  const all = ENDPOINTS[shape.endpoints];
  const usable = (of: typeof all) => {
    const ready = of.filter((e) => e.state === 'ready');
    return (ready.length > 0 ? ready : of.filter((e) => e.state === 'draining')).map((e) => e.where);
  };
  const cluster = usable(all);
  const local = usable(all.filter((e) => e.where === 'local'));
  const isOutside = place === 'node' || place === 'outside'; // of the pod network

  if (kind === 'load balancer IP' && !isAdmitted(shape, place)) {
    // With iptables, a VIP without endpoints has no firewall; what is refused there is refused for having no endpoints.
    if (mode === 'nftables' || cluster.length > 0) return 'dropped';
  }
  if (cluster.length === 0) {
    // With iptables, nothing on the host's own way out refuses addresses that are not the cluster's.
    const isForeign = kind === 'external IP' || kind === 'load balancer IP';
    return mode === 'iptables' && place === 'node' && isForeign ? 'untouched' : 'rejected';
  }
  if (kind === 'cluster IP') {
    const masqueraded = variant === 'usual' ? isOutside : variant === 'masquerade all';
    return reach(shape.internalLocal ? local : cluster, masqueraded, place);
  }
  if (!shape.externalLocal) return reach(cluster, true, place);
  // The Local policy is about clients outside the cluster: pods and the node itself are inside.
  // Without a detector nobody can tell pods from those outside.
  const isForeign = place === 'outside' || (variant === 'no detector' && place !== 'node');
  if (isForeign) return reach(local, false, place);
  return reach(cluster, place === 'node', place);
}

function isAdmitted({ ranges }: Shape, place: Place): boolean {
  return ranges === 'open' || (ranges === 'admit' && (place === 'node' || place === 'outside'));
}

function reach(endpoints: readonly Where[], masqueraded: boolean, place: Place): string {
  if (endpoints.length === 0) return 'dropped';
  const share = `${Math.round(100 / endpoints.length)}%`;
  return endpoints
    .map((where) => {
      const isItself = place === 'endpoint' && where === 'local'; // its answers would never come by the node otherwise
      return `${where}${masqueraded || isItself ? ' masq' : ''} ${share}`;
    })
    .sort()
    .join(', ');
}
