// What one Service has in the table: elements of the shared containers and chains of its own. Pure.
import { cidrContains, parseCidr, parseIp } from '../../api/cidr.ts';
import { markText } from '../options.ts';
import type { Blocked, PortPlan } from '../port-plan.ts';
import type { ServicePlan } from '../rule-backend.ts';
import { type Endpoint, usesClusterEndpoints, usesLocalEndpoints } from '../service-map.ts';
import { endpointBase, portBase } from './names.ts';
import { type Container, familyName, localMatch, type NftOptions } from './table.ts';

export interface Element {
  readonly container: Container;
  /** `10.96.0.50 . tcp . 80`. */
  readonly key: string;
  /** Verdict; empty in sets. */
  readonly value: string;
  /** Empty for none. */
  readonly comment: string;
}

export interface NftService {
  readonly elements: readonly Element[];
  /** Rules by chain. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** Sets that remember clients, with their timeout in seconds. */
  readonly affinitySets: ReadonlyMap<string, number>;
}

interface Out {
  readonly elements: Element[];
  readonly chains: Map<string, string[]>;
  readonly affinitySets: Map<string, number>;
}

/** nft takes 128 characters for a comment, and refuses the whole transaction for one that is longer. */
const MAX_COMMENT_LENGTH = 128;

export function renderService(plan: ServicePlan, opts: NftOptions): NftService {
  const out: Out = { elements: [], chains: new Map(), affinitySets: new Map() };
  for (const port of plan) {
    renderElements(port, out.elements);
    renderChains(port, opts, out);
  }
  return out;
}

function renderElements(p: PortPlan, out: Element[]): void {
  const { port, usable, externalBlocked } = p;
  const base = portBase(port);
  const proto = port.protocol.toLowerCase();
  const add = (container: Container, key: string, value = '', comment = '') =>
    out.push({ container, key, value, comment });
  const at = (ip: string) => `${ip} . ${proto} . ${port.port}`;
  const block = (container: Container, key: string, why: Blocked) =>
    add(container, key, why === 'none' ? 'goto reject-chain' : 'drop', commentOf(port.nameString));

  add('cluster-ips', port.clusterIp);
  for (const e of usable.reachable) {
    if (e.isLocal) add('hairpin-connections', `${e.ip} . ${e.ip} . ${proto} . ${e.port}`);
  }
  const internal = port.internalPolicyLocal ? 'local' : 'service';
  if (p.internalBlocked === undefined) add('service-ips', at(port.clusterIp), `goto ${internal}-${base}`);
  else block('no-endpoint-services', at(port.clusterIp), p.internalBlocked);
  for (const ip of [...port.externalIps, ...port.loadBalancerVips]) {
    if (usable.hasAny) add('service-ips', at(ip), `goto external-${base}`);
    if (externalBlocked !== undefined) block('no-endpoint-services', at(ip), externalBlocked);
  }
  if (port.sourceRanges.length > 0) {
    for (const ip of port.loadBalancerVips) add('firewall-ips', at(ip), `goto firewall-${base}`);
  }
  if (port.nodePort === undefined) return;
  const nodePort = `${proto} . ${port.nodePort}`;
  if (usable.hasAny) add('service-nodeports', nodePort, `goto external-${base}`);
  if (externalBlocked !== undefined) block('no-endpoint-nodeports', nodePort, externalBlocked);
}

/** Namespace, name and port may have 63 characters each: people still find the Service by what is left. */
function commentOf(name: string): string {
  return name.length > MAX_COMMENT_LENGTH ? `${name.slice(0, MAX_COMMENT_LENGTH - 3)}...` : name;
}

function renderChains(p: PortPlan, opts: NftOptions, out: Out): void {
  const { port, usable } = p;
  const base = portBase(port);
  const balanced = (endpoints: readonly Endpoint[]) => balancingRules(p, endpoints, opts);
  if (port.affinitySeconds !== undefined) renderAffinity(p, port.affinitySeconds, opts, out);
  if (usesClusterEndpoints(port) && usable.cluster.length > 0) {
    out.chains.set(`service-${base}`, balanced(usable.cluster));
  }
  if (usesLocalEndpoints(port) && usable.local.length > 0) out.chains.set(`local-${base}`, balanced(usable.local));
  if (p.usesExternal) out.chains.set(`external-${base}`, externalRules(p, opts));
  if (port.sourceRanges.length > 0 && port.loadBalancerVips.length > 0) {
    out.chains.set(`firewall-${base}`, [firewallRule(p, opts)]);
  }
}

function renderAffinity(p: PortPlan, seconds: number, opts: NftOptions, out: Out): void {
  const ip = familyName(opts);
  for (const e of p.usable.reachable) {
    const name = endpointBase(p.port, e);
    out.affinitySets.set(`affinity-${name}`, seconds);
    out.chains.set(`endpoint-${name}`, [
      `update @affinity-${name} { ${ip} saddr }`,
      `meta l4proto ${p.port.protocol.toLowerCase()} dnat to ${e.address}`,
    ]);
  }
}

function balancingRules({ port }: PortPlan, endpoints: readonly Endpoint[], opts: NftOptions): string[] {
  const ip = familyName(opts);
  const choose = `numgen random mod ${endpoints.length}`;
  if (port.affinitySeconds === undefined) {
    const targets = endpoints.map((e, i) => `${i} : ${e.ip} . ${e.port}`).join(' , ');
    return [`meta l4proto ${port.protocol.toLowerCase()} dnat ${ip} addr . port to ${choose} map { ${targets} }`];
  }
  const names = endpoints.map((e) => endpointBase(port, e));
  return [
    ...names.map((name) => `${ip} saddr @affinity-${name} goto endpoint-${name}`),
    `${choose} vmap { ${names.map((name, i) => `${i} : goto endpoint-${name}`).join(' , ')} }`,
  ];
}

function externalRules({ port, externalBlocked }: PortPlan, opts: NftOptions): string[] {
  const base = portBase(port);
  const mark = `mark set mark or ${markText(opts.masqueradeBit)}`;
  const rules: string[] = [];
  if (!port.externalPolicyLocal) {
    rules.push(`${mark} comment "masquerade"`);
  } else {
    // Pods and the node itself are inside the cluster: the Local policy is about clients outside.
    if (opts.localTraffic !== undefined) {
      const { local } = localMatch(opts.localTraffic, familyName(opts));
      rules.push(`${local} goto service-${base} comment "short-circuit pod traffic"`);
    }
    rules.push(`fib saddr type local ${mark} comment "masquerade local traffic"`);
    rules.push(`fib saddr type local goto service-${base} comment "short-circuit local traffic"`);
  }
  if (externalBlocked === undefined) rules.push(`goto ${port.externalPolicyLocal ? 'local' : 'service'}-${base}`);
  return rules;
}

function firewallRule({ port }: PortPlan, opts: NftOptions): string {
  const nodeIps = opts.nodeIps.map(parseIp);
  const admitsNode = port.sourceRanges.some((r) => nodeIps.some((ip) => cidrContains(parseCidr(r), ip)));
  // Some balancers hand packets on with the VIP as the source when a node talks to its own VIP.
  const admitted = [...port.sourceRanges, ...(admitsNode ? port.loadBalancerVips : [])];
  return `${familyName(opts)} saddr != { ${admitted.join(' , ')} } drop`;
}
