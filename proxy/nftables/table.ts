// What stands in the table whatever Services there are: base chains, containers, the rules that look things up in them.
import { type LocalTraffic, markText, type RuleOptions } from '../options.ts';

export const TABLE = 'kube-proxy';

export type Container =
  | 'cluster-ips'
  | 'hairpin-connections'
  | 'service-ips'
  | 'service-nodeports'
  | 'no-endpoint-services'
  | 'no-endpoint-nodeports'
  | 'firewall-ips';

export interface NftOptions extends RuleOptions {
  /** Ranges of cluster IPs (ServiceCIDR) of the family; empty while they are not known. */
  readonly serviceCidrs: readonly string[];
  /** Kernels before 5.10 take no comments on tables, chains and sets. */
  readonly hasObjectComments: boolean;
}

interface BaseChain {
  readonly name: string;
  readonly type: 'filter' | 'nat';
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';
  /** As a number: older nft knows some names on some hooks only. */
  readonly priority: number;
}

const BEFORE_DNAT = -110;
const DNAT = -100;
const FILTER = 0;
const SNAT = 100;

export const BASE_CHAINS: readonly BaseChain[] = [
  { name: 'filter-prerouting-pre-dnat', type: 'filter', hook: 'prerouting', priority: BEFORE_DNAT },
  { name: 'filter-output-pre-dnat', type: 'filter', hook: 'output', priority: BEFORE_DNAT },
  { name: 'filter-input', type: 'filter', hook: 'input', priority: FILTER },
  { name: 'filter-forward', type: 'filter', hook: 'forward', priority: FILTER },
  { name: 'filter-output', type: 'filter', hook: 'output', priority: FILTER },
  { name: 'nat-prerouting', type: 'nat', hook: 'prerouting', priority: DNAT },
  { name: 'nat-output', type: 'nat', hook: 'output', priority: DNAT },
  { name: 'nat-postrouting', type: 'nat', hook: 'postrouting', priority: SNAT },
];

export const JUMPS: readonly (readonly [from: string, match: string, to: string])[] = [
  ['filter-input', 'ct state new ', 'nodeport-endpoints-check'],
  ['filter-input', 'ct state new ', 'service-endpoints-check'],
  ['filter-forward', 'ct state new ', 'service-endpoints-check'],
  ['filter-output', 'ct state new ', 'service-endpoints-check'],
  ['filter-prerouting-pre-dnat', 'ct state new ', 'firewall-check'],
  ['filter-output-pre-dnat', 'ct state new ', 'firewall-check'],
  ['nat-output', '', 'services'],
  ['nat-prerouting', '', 'services'],
  ['nat-postrouting', '', 'masquerading'],
  ['filter-forward', 'ct state new ', 'cluster-ips-check'],
  ['filter-output', 'ct state new ', 'cluster-ips-check'],
];

const LOOKUP_CHAINS = [
  'cluster-ips-check',
  'masquerading',
  'reject-chain',
  'service-endpoints-check',
  'nodeport-endpoints-check',
  'firewall-check',
  'services',
] as const;

const REJECT_COMMENT = 'helper for @no-endpoint-services / @no-endpoint-nodeports';

interface ContainerSpec {
  readonly name: Container;
  readonly kind: 'set' | 'map';
  /** `A` stands for the address type of the family. */
  readonly type: string;
  readonly comment: string;
}

const CONTAINERS: readonly ContainerSpec[] = [
  { name: 'cluster-ips', kind: 'set', type: 'A', comment: 'Active ClusterIPs' },
  {
    name: 'hairpin-connections',
    kind: 'set',
    type: 'A . A . inet_proto . inet_service',
    comment: 'service hairpin connections',
  },
  {
    name: 'service-ips',
    kind: 'map',
    type: 'A . inet_proto . inet_service : verdict',
    comment: 'ClusterIP, ExternalIP and LoadBalancer IP traffic',
  },
  {
    name: 'service-nodeports',
    kind: 'map',
    type: 'inet_proto . inet_service : verdict',
    comment: 'NodePort traffic',
  },
  {
    name: 'no-endpoint-services',
    kind: 'map',
    type: 'A . inet_proto . inet_service : verdict',
    comment: 'vmap to drop or reject packets to services with no endpoints',
  },
  {
    name: 'no-endpoint-nodeports',
    kind: 'map',
    type: 'inet_proto . inet_service : verdict',
    comment: 'vmap to drop or reject packets to service nodeports with no endpoints',
  },
  {
    name: 'firewall-ips',
    kind: 'map',
    type: 'A . inet_proto . inet_service : verdict',
    comment: 'destinations that are subject to LoadBalancerSourceRanges',
  },
];

export const CONTAINER_NAMES: readonly Container[] = CONTAINERS.map((c) => c.name);

/** Set of addresses on which node ports answer; there only when these are restricted. */
const NODE_PORT_IPS = 'nodeport-ips';

export interface HowToRender {
  /** Base chains are made anew, so that another type or priority takes effect. */
  readonly isFirst: boolean;
  /** Whatever there is of the table goes first: what stands there cannot be changed into ours. */
  readonly rebuild?: boolean;
  /** Containers to empty. The others keep what they have, so that Services go on working. */
  readonly flush?: readonly Container[];
}

/** Lines that make the table and all that stands in it for all Services, whatever was there before. */
export function renderTable(opts: NftOptions, { isFirst, rebuild = false, flush = [] }: HowToRender): string[] {
  const at = `${familyName(opts)} ${TABLE}`;
  const note = (text: string) => (opts.hasObjectComments ? ` comment "${text}" ;` : '');
  const lines = rebuild ? [`add table ${at}`, `delete table ${at}`] : [];
  lines.push(`add table ${at} {${note('rules for kube-proxy')} }`);
  if (isFirst) {
    for (const c of BASE_CHAINS) lines.push(baseChainLine(at, c), `delete chain ${at} ${c.name}`);
  }
  for (const c of BASE_CHAINS) lines.push(baseChainLine(at, c), `flush chain ${at} ${c.name}`);
  for (const name of LOOKUP_CHAINS) {
    const comment = name === 'reject-chain' ? note(REJECT_COMMENT) : '';
    lines.push(`add chain ${at} ${name}${comment === '' ? '' : ` {${comment} }`}`, `flush chain ${at} ${name}`);
  }
  const address = opts.family === 6 ? 'ipv6_addr' : 'ipv4_addr';
  for (const { name, kind, type, comment } of CONTAINERS) {
    lines.push(`add ${kind} ${at} ${name} { type ${type.replaceAll(/\bA\b/g, address)} ;${note(comment)} }`);
    if (flush.includes(name)) lines.push(`flush ${kind} ${at} ${name}`);
  }
  lines.push(...nodePortIpsLines(opts, at, address, note('IPs that accept NodePort traffic')));
  for (const [from, match, to] of JUMPS) lines.push(`add rule ${at} ${from} ${match}jump ${to}`);
  for (const [chain, rule] of lookupRules(opts)) lines.push(`add rule ${at} ${chain} ${rule}`);
  return lines;
}

/** `ip` or `ip6`. */
export function familyName({ family }: { readonly family: 4 | 6 }): 'ip' | 'ip6' {
  return family === 6 ? 'ip6' : 'ip';
}

export function containerKind(name: Container): 'set' | 'map' {
  return CONTAINERS.find((c) => c.name === name)!.kind;
}

/** Matches packets of pods on this node. */
export function localMatch(traffic: LocalTraffic, ip: 'ip' | 'ip6'): { local: string; notLocal: string } {
  switch (traffic.by) {
    case 'cidr':
      return { local: `${ip} saddr ${traffic.cidr}`, notLocal: `${ip} saddr != ${traffic.cidr}` };
    case 'interface':
      return { local: `iifname "${traffic.name}"`, notLocal: `iifname != "${traffic.name}"` };
    case 'interface-prefix':
      return { local: `iifname "${traffic.prefix}*"`, notLocal: `iifname != "${traffic.prefix}*"` };
  }
}

function baseChainLine(at: string, { name, type, hook, priority }: BaseChain): string {
  return `add chain ${at} ${name} { type ${type} hook ${hook} priority ${priority} ; }`;
}

function nodePortIpsLines({ nodePortIps }: NftOptions, at: string, address: string, comment: string): string[] {
  const add = `add set ${at} ${NODE_PORT_IPS} { type ${address} ;${comment} }`;
  if (nodePortIps === undefined) return [add, `delete set ${at} ${NODE_PORT_IPS}`]; // there or not, it is gone
  const ips = nodePortIps.filter((ip) => !ip.startsWith('127.') && ip !== '::1');
  const elements = ips.length === 0 ? [] : [`add element ${at} ${NODE_PORT_IPS} { ${ips.join(' , ')} }`];
  return [add, `flush set ${at} ${NODE_PORT_IPS}`, ...elements];
}

function lookupRules(opts: NftOptions): (readonly [chain: string, rule: string])[] {
  const ip = familyName(opts);
  const mark = markText(opts.masqueradeBit);
  const target = `${ip} daddr . meta l4proto . th dport`;
  const notLoopback = opts.family === 6 ? 'ip6 daddr != ::1' : 'ip daddr != 127.0.0.0/8';
  const toNodePort = opts.nodePortIps === undefined ? notLoopback : `${ip} daddr @${NODE_PORT_IPS}`;
  const isOwnAddress = opts.nodePortIps === undefined ? 'fib daddr type local ' : '';
  const rules: (readonly [string, string])[] = [
    ['masquerading', `mark and ${mark} != 0 mark set mark xor ${mark} masquerade fully-random`],
    [
      'masquerading',
      `ct status dnat ${ip} saddr . ${ip} daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random`,
    ],
    ...clusterIpsCheck(opts).map((rule) => ['cluster-ips-check', rule] as const),
    ['reject-chain', 'reject'],
    ['service-endpoints-check', `${target} vmap @no-endpoint-services`],
    ['nodeport-endpoints-check', `${toNodePort} meta l4proto . th dport vmap @no-endpoint-nodeports`],
    ['firewall-check', `${target} vmap @firewall-ips`],
    ...masqueradeRules(opts).map((rule) => ['services', rule] as const),
    ['services', `${target} vmap @service-ips`],
    ['services', `${isOwnAddress}${toNodePort} meta l4proto . th dport vmap @service-nodeports`],
  ];
  return rules;
}

/** What becomes of packets to cluster IPs that no rule translated. */
function clusterIpsCheck(opts: NftOptions): string[] {
  const ip = familyName(opts);
  const rules = [`${ip} daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"`];
  if (opts.serviceCidrs.length > 0) {
    const ranges = `{ ${opts.serviceCidrs.join(' , ')} }`;
    rules.push(`${ip} daddr ${ranges} drop comment "Drop traffic to unallocated ClusterIPs"`);
  }
  return rules;
}

/** Lines that bring only that up to date which follows from the ranges of cluster IPs. */
export function renderServiceCidrs(opts: NftOptions): string[] {
  const chain = `${familyName(opts)} ${TABLE} cluster-ips-check`;
  return [`flush chain ${chain}`, ...clusterIpsCheck(opts).map((rule) => `add rule ${chain} ${rule}`)];
}

/** Every cluster IP flow that does not start in a local pod must come back through this node. */
function masqueradeRules(opts: NftOptions): string[] {
  const ip = familyName(opts);
  const mark = `mark set mark or ${markText(opts.masqueradeBit)}`;
  if (opts.masqueradeAll) return [`${ip} daddr @cluster-ips ${mark} comment "masquerade all clusterIP traffic"`];
  if (opts.localTraffic === undefined) return [];
  const { notLocal } = localMatch(opts.localTraffic, ip);
  return [`${ip} daddr @cluster-ips ${notLocal} ${mark} comment "masquerade clusterIP traffic from outside cluster"`];
}
