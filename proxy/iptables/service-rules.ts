// The rules of one Service port, pure. What top-level chains hold for it (dispatch) is apart from its own chains, so
// that a sync can write only what differs from the one before.
import { cidrContains, parseCidr, parseIp } from '../../api/cidr.ts';
import type { RuleOptions } from '../options.ts';
import type { Blocked, PortPlan } from '../port-plan.ts';
import type { ServicePlan } from '../rule-backend.ts';
import type { Endpoint, ServicePort } from '../service-map.ts';
import { usesClusterEndpoints, usesLocalEndpoints } from '../service-map.ts';
import { counterMatch, LOCALHOST_NODE_PORTS } from './counter-match.ts';
import { localMatch } from './local-traffic.ts';
import { arranged } from './long-chains.ts';
import { endpointChain, servicePortHash } from './names.ts';

/** Chains that hold what leads to Services, whatever table they are in. */
export const TOP_CHAINS = [
  'filter/KUBE-SERVICES',
  'filter/KUBE-EXTERNAL-SERVICES',
  'filter/KUBE-NODEPORTS',
  'filter/KUBE-PROXY-FIREWALL',
  'nat/KUBE-SERVICES',
  'nat/KUBE-NODEPORTS',
] as const;

export type TopChain = (typeof TOP_CHAINS)[number];

export interface DispatchRule {
  readonly chain: TopChain;
  /** Everything after `-A CHAIN `. */
  readonly spec: string;
}

export interface ServiceRules {
  readonly dispatch: readonly DispatchRule[];
  /** Chains of table nat with their rules, each without `-A CHAIN `. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
}

export interface RenderContext {
  readonly opts: RuleOptions;
  /** False in large clusters, where they cost more than they tell. */
  readonly endpointComments: boolean;
  /** Rules of a long chain as the kernel has them. */
  readonly longChain?: (chain: string) => readonly string[] | undefined;
}

export function renderService(plan: ServicePlan, ctx: RenderContext): ServiceRules {
  const dispatch: DispatchRule[] = [];
  const chains = new Map<string, string[]>();
  for (const portPlan of plan) {
    const p = withChains(portPlan);
    renderDispatch(p, ctx, dispatch);
    renderChains(p, ctx, chains);
  }
  return { dispatch, chains };
}

/** A plan with the names of its chains. */
interface ChainPlan extends PortPlan {
  readonly svc: string;
  readonly svl: string;
  readonly ext: string;
  readonly fw: string;
  readonly internalChain: string;
  readonly externalChain: string;
  readonly usesFw: boolean;
  /** KUBE-SEP chains by address of the endpoint. */
  readonly seps: ReadonlyMap<string, string>;
  /** `-m tcp -p tcp`. */
  readonly proto: string;
}

function withChains(plan: PortPlan): ChainPlan {
  const { port, usable } = plan;
  const id = servicePortHash(port);
  const proto = port.protocol.toLowerCase();
  return {
    ...plan,
    svc: `KUBE-SVC-${id}`,
    svl: `KUBE-SVL-${id}`,
    ext: `KUBE-EXT-${id}`,
    fw: `KUBE-FW-${id}`,
    internalChain: `KUBE-${port.internalPolicyLocal ? 'SVL' : 'SVC'}-${id}`,
    externalChain: `KUBE-${port.externalPolicyLocal ? 'SVL' : 'SVC'}-${id}`,
    usesFw: usable.hasAny && port.loadBalancerVips.length > 0 && port.sourceRanges.length > 0,
    seps: new Map(usable.reachable.map((e) => [e.address, endpointChain(port, e)])),
    proto: `-m ${proto} -p ${proto}`,
  };
}

interface Block {
  readonly comment: string;
  readonly target: 'REJECT' | 'DROP';
}

function blockOf({ nameString }: ServicePort, why: Blocked): Block {
  return why === 'none'
    ? { comment: `"${nameString} has no endpoints"`, target: 'REJECT' }
    : { comment: `"${nameString} has no local endpoints"`, target: 'DROP' };
}

function renderDispatch(p: ChainPlan, { opts }: RenderContext, out: DispatchRule[]): void {
  const { port, proto, usable } = p;
  const blocked = p.externalBlocked === undefined ? undefined : blockOf(port, p.externalBlocked);
  const name = port.nameString;
  const add = (chain: TopChain, spec: string) => out.push({ chain, spec });
  const to = (ip: string) => `${proto} -d ${ip} --dport ${port.port}`;

  if (p.internalBlocked === undefined) {
    add('nat/KUBE-SERVICES', `${comment(`"${name} cluster IP"`)} ${to(port.clusterIp)} -j ${p.internalChain}`);
  } else {
    const { comment: why, target } = blockOf(port, p.internalBlocked);
    add('filter/KUBE-SERVICES', `${comment(why)} ${to(port.clusterIp)} -j ${target}`);
  }
  for (const ip of port.externalIps) {
    if (usable.hasAny) add('nat/KUBE-SERVICES', `${comment(`"${name} external IP"`)} ${to(ip)} -j ${p.ext}`);
  }
  for (const ip of port.loadBalancerVips) {
    const entry = p.usesFw ? p.fw : p.ext;
    if (usable.hasAny) add('nat/KUBE-SERVICES', `${comment(`"${name} loadbalancer IP"`)} ${to(ip)} -j ${entry}`);
    if (p.usesFw) {
      add('filter/KUBE-PROXY-FIREWALL', `${comment(`"${name} traffic not accepted by ${p.fw}"`)} ${to(ip)} -j DROP`);
    }
  }
  if (blocked) {
    // An address of both kinds gets its rule once: two that are the same could not be told apart when one goes.
    for (const ip of new Set([...port.externalIps, ...port.loadBalancerVips])) {
      add('filter/KUBE-EXTERNAL-SERVICES', `${comment(blocked.comment)} ${to(ip)} -j ${blocked.target}`);
    }
  }
  if (port.nodePort !== undefined) {
    const nodePort = `${proto} --dport ${port.nodePort}`;
    const isServed = usable.hasAny && opts.family === 4 && opts.localhostNodePorts;
    const counter = isServed ? counterMatch(LOCALHOST_NODE_PORTS, opts) : undefined;
    if (counter !== undefined) {
      const toLocalhost = `${proto} -d 127.0.0.0/8 --dport ${port.nodePort}`;
      add('nat/KUBE-NODEPORTS', `${comment(name)} ${toLocalhost} ${counter}-j ${p.ext}`);
    }
    if (usable.hasAny) add('nat/KUBE-NODEPORTS', `${comment(name)} ${nodePort} -j ${p.ext}`);
    if (blocked) {
      const local = `${comment(blocked.comment)} -m addrtype --dst-type LOCAL`;
      add('filter/KUBE-EXTERNAL-SERVICES', `${local} ${nodePort} -j ${blocked.target}`);
    }
  }
  if (port.healthCheckNodePort !== undefined) {
    const health = `-m tcp -p tcp --dport ${port.healthCheckNodePort}`;
    add('filter/KUBE-NODEPORTS', `${comment(`"${name} health check node port"`)} ${health} -j ACCEPT`);
  }
}

function renderChains(p: ChainPlan, ctx: RenderContext, out: Map<string, string[]>): void {
  const { port, usable } = p;
  if (usesClusterEndpoints(port) && usable.cluster.length > 0) out.set(p.svc, []);
  if (usesLocalEndpoints(port) && usable.local.length > 0) out.set(p.svl, []);
  // Every cluster IP flow that does not start in a local pod must come back through this node.
  if (p.internalBlocked === undefined) {
    const match = masqueradeMatch(ctx.opts);
    const flow = `${p.proto} -d ${port.clusterIp} --dport ${port.port}`;
    if (match !== undefined) {
      const rule = `${comment(`"${port.nameString} cluster IP"`)} ${flow}${match} -j KUBE-MARK-MASQ`;
      out.get(p.internalChain)?.push(rule);
    }
  }
  if (p.usesExternal) out.set(p.ext, externalRules(p, ctx.opts));
  if (p.usesFw) out.set(p.fw, firewallRules(p, ctx.opts));
  for (const rule of balancingRules(p, p.svc, usable.cluster, ctx)) out.get(p.svc)?.push(rule);
  for (const rule of balancingRules(p, p.svl, usable.local, ctx)) out.get(p.svl)?.push(rule);
  for (const e of usable.reachable) out.set(p.seps.get(e.address)!, endpointRules(p, e, ctx));
}

function masqueradeMatch(opts: RuleOptions): string | undefined {
  if (opts.masqueradeAll) return '';
  return opts.localTraffic === undefined ? undefined : ` ${localMatch(opts.localTraffic).notLocal}`;
}

function externalRules(p: ChainPlan, opts: RuleOptions): string[] {
  const rules: string[] = [];
  const what = `${p.port.nameString} external destinations"`;
  if (!p.port.externalPolicyLocal) {
    rules.push(`${comment(`"masquerade traffic for ${what}`)} -j KUBE-MARK-MASQ`);
  } else {
    // Pods and the node itself are inside the cluster: the Local policy is about clients outside.
    const fromNode = '-m addrtype --src-type LOCAL';
    const { localTraffic } = opts;
    if (localTraffic !== undefined) {
      rules.push(`${comment(`"pod traffic for ${what}`)} ${localMatch(localTraffic).local} -j ${p.svc}`);
    }
    rules.push(`${comment(`"masquerade LOCAL traffic for ${what}`)} ${fromNode} -j KUBE-MARK-MASQ`);
    rules.push(`${comment(`"route LOCAL traffic for ${what}`)} ${fromNode} -j ${p.svc}`);
  }
  if (p.externalBlocked === undefined) rules.push(`-j ${p.externalChain}`);
  return rules;
}

function firewallRules(p: ChainPlan, opts: RuleOptions): string[] {
  const { port } = p;
  const label = comment(`"${port.nameString} loadbalancer IP"`);
  const rules = port.sourceRanges.map((range) => `${label} -s ${range} -j ${p.ext}`);
  const nodeIps = opts.nodeIps.map(parseIp);
  const admitsNode = port.sourceRanges.some((r) => nodeIps.some((ip) => cidrContains(parseCidr(r), ip)));
  // Some balancers hand packets on with the VIP as the source when a node talks to its own VIP.
  if (admitsNode) rules.push(...port.loadBalancerVips.map((vip) => `${label} -s ${vip} -j ${p.ext}`));
  rules.push(comment(`"other traffic to ${port.nameString} will be dropped by KUBE-PROXY-FIREWALL"`));
  return rules;
}

function balancingRules(
  { port, seps }: ChainPlan,
  chain: string,
  usable: readonly Endpoint[],
  ctx: RenderContext,
): string[] {
  const before = ctx.longChain?.(chain);
  const endpoints = before === undefined ? usable : arranged(usable, (e) => seps.get(e.address)!, before);
  const rules: string[] = [];
  const rule = (e: Endpoint, match: string) => {
    const note = ctx.endpointComments ? `${comment(`"${port.nameString} -> ${e.address}"`)} ` : '';
    rules.push(`${note}${match}-j ${seps.get(e.address)!}`);
  };
  if (port.affinitySeconds !== undefined) {
    for (const e of endpoints) {
      rule(e, `-m recent --name ${seps.get(e.address)!} --rcheck --seconds ${port.affinitySeconds} --reap `);
    }
  }
  for (const [i, e] of endpoints.entries()) {
    const left = endpoints.length - i;
    rule(e, left === 1 ? '' : `-m statistic --mode random --probability ${(1 / left).toFixed(10)} `);
  }
  return rules;
}

function endpointRules(p: ChainPlan, e: Endpoint, ctx: RenderContext): string[] {
  const note = ctx.endpointComments ? `${comment(p.port.nameString)} ` : '';
  const remember = p.port.affinitySeconds === undefined ? '' : `-m recent --name ${p.seps.get(e.address)!} --set `;
  return [
    `${note}-s ${e.ip} -j KUBE-MARK-MASQ`, // hairpin: the answer must not go straight back to itself
    `${note}${remember}${p.proto} -j DNAT --to-destination ${e.address}`,
  ];
}

function comment(text: string): string {
  return `-m comment --comment ${text}`;
}
