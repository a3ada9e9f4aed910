// Under which addresses a Service is reached: told by the Service object, or, where no API server can be asked, by the
// proxy's own rules, whose comments and chain names carry the Service's name. Pure.

import { isIp, parseIp } from '../../api/cidr.ts';
import type { Service } from '../../api/kinds.ts';
import type { MapEntry, Protocol, Ruleset } from './ruleset.ts';

export type FrontendKind = 'cluster IP' | 'external IP' | 'load balancer IP' | 'node port';

export interface Frontend {
  readonly kind: FrontendKind;
  /** Undefined for a node port: any address of the node. */
  readonly ip: string | undefined;
  readonly port: number;
  readonly protocol: Protocol;
  /** Empty for the only port of a Service. */
  readonly portName: string;
}

/** Of the addresses of `family`. A Service without a cluster IP has none: DNS answers for it. */
export function frontendsOfService({ spec, status }: Service, family: 4 | 6): Frontend[] {
  if (spec === undefined || spec.type === 'ExternalName' || spec.clusterIP === 'None') return [];
  const clusterIps = spec.clusterIPs?.length ? spec.clusterIPs : [spec.clusterIP ?? ''];
  const ofFamily = (ips: readonly (string | undefined)[]) =>
    ips.filter((ip): ip is string => ip !== undefined && isIp(ip) && parseIp(ip).version === family);
  const vips = (status?.loadBalancer?.ingress ?? []).filter((i) => i.ipMode !== 'Proxy').map((i) => i.ip);
  const out: Frontend[] = [];
  for (const { name = '', port, protocol = 'TCP', nodePort } of spec.ports ?? []) {
    const add = (kind: FrontendKind, ip: string | undefined, number = port) =>
      out.push({ kind, ip, port: number, protocol: protocol.toLowerCase() as Protocol, portName: name });
    for (const ip of ofFamily(clusterIps)) add('cluster IP', ip);
    for (const ip of ofFamily(spec.externalIPs ?? [])) add('external IP', ip);
    for (const ip of ofFamily(vips)) add('load balancer IP', ip);
    if (nodePort && ofFamily(clusterIps).length > 0) add('node port', undefined, nodePort);
  }
  return out;
}

/** From the dispatch rules of either mode; `key` is `namespace/name`. */
export function frontendsOfRules(key: string, ruleset: Ruleset): Frontend[] {
  const found = new Map<string, Frontend>();
  const add = (frontend: Frontend) => {
    const id = `${frontend.ip ?? ''} ${frontend.port} ${frontend.protocol}`;
    if (!found.has(id)) found.set(id, frontend);
  };
  for (const table of ruleset) {
    if (table.tool === 'iptables') {
      for (const name of DISPATCH_CHAINS) {
        for (const { comment, text } of table.chains.get(name)?.rules ?? [])
          readDispatch(key, comment, text).forEach(add);
      }
    }
    for (const map of DISPATCH_MAPS) {
      for (const entry of table.maps.get(map) ?? []) readElement(key, entry).forEach(add);
    }
  }
  return [...found.values()].sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
}

const KINDS: readonly FrontendKind[] = ['cluster IP', 'external IP', 'load balancer IP', 'node port'];

const DISPATCH_CHAINS = ['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-EXTERNAL-SERVICES'];
const DISPATCH_MAPS = ['service-ips', 'service-nodeports', 'no-endpoint-services', 'no-endpoint-nodeports'];

/** Comments: `ns/web:http cluster IP`, `ns/web:http has no endpoints`, `ns/web:http` alone at a node port. */
function readDispatch(key: string, comment: string, text: string): Frontend[] {
  const [, service, portName = '', words = ''] = /^([^\s:]+)(?::(\S+))?(?: (.*))?$/.exec(comment) ?? [];
  if (service !== key || words.startsWith('health check')) return [];
  const ip = /-d (\S+?)(?:\/\d+)?(?: |$)/.exec(text)?.[1];
  const port = Number(/--dport (\d+)/.exec(text)?.[1]);
  const protocol = /-p (tcp|udp|sctp)/.exec(text)?.[1] as Protocol | undefined;
  if (protocol === undefined || Number.isNaN(port)) return [];
  const kind = words === 'external IP' ? words : words === 'loadbalancer IP' ? 'load balancer IP' : 'cluster IP';
  return [
    ip === undefined || ip === '127.0.0.0'
      ? nodePort(port, protocol, portName)
      : { kind, ip, port, protocol, portName },
  ];
}

/** `10.96.0.10 . tcp . 80` and `tcp . 30080`; the verdict names a chain of the Service, or the comment the Service. */
function readElement(key: string, { key: element, verdict, comment }: MapEntry): Frontend[] {
  const [, kind, ofChain, proto, nameOfChain] =
    /(service|local|external)-\w{8}-([^/]+\/[^/]+)\/([^/]+)\/(.*)$/.exec(verdict) ?? [];
  const [, ofComment, nameOfComment] = /^([^:]+)(?::(.*))?$/.exec(comment) ?? [];
  if ((ofChain ?? ofComment) !== key) return [];
  const parts = element.split(' . ');
  const port = Number(parts.at(-1));
  const protocol = (proto ?? parts.at(-2)) as Protocol;
  const portName = nameOfChain ?? nameOfComment ?? '';
  if (parts.length === 2) return [nodePort(port, protocol, portName)];
  return [{ kind: kind === 'external' ? 'external IP' : 'cluster IP', ip: parts[0]!, port, protocol, portName }];
}

function nodePort(port: number, protocol: Protocol, portName: string): Frontend {
  return { kind: 'node port', ip: undefined, port, protocol, portName };
}
