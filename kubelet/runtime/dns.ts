// resolv.conf of a pod: the node's own, the cluster's, and what the pod asks for (pkg/kubelet/network/dns/dns.go). Pure.
import { type Pod, podDescription } from '../../api/pod.ts';
import { AgentError } from '../../core/errors.ts';
import type { DNSConfig } from '../../cri/gen/messages.ts';

const MAX_NAMESERVERS = 3;
const MAX_SEARCHES = 32;
const MAX_SEARCH_LENGTH = 2048;
const MAX_DOMAIN_LENGTH = 253;
/** What a pod with dnsPolicy ClusterFirst adds to the searches of the node. */
const CLUSTER_SEARCHES = 3;

export const MISSING_CLUSTER_DNS = 'MissingClusterDNS';
/** For the node; a pod's Event names the pod before it. */
export const MISSING_CLUSTER_DNS_TEXT =
  'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. Falling back to "Default" policy.';

export interface DnsSettings {
  /** clusterDNS addresses. */
  readonly clusterDns: readonly string[];
  readonly clusterDomain: string;
  /** What the node's resolv.conf says; undefined when resolvConf is configured as the empty string. */
  readonly host: DNSConfig | undefined;
  /** Families of the node's addresses, for the loopback servers used without a resolv.conf. */
  readonly nodeIps: readonly string[];
}

export interface PodDns {
  readonly config: DNSConfig;
  /** Events for the pod. */
  readonly warnings: readonly { readonly reason: string; readonly message: string }[];
}

/** @throws {AgentError} RESOLV_CONF_INVALID. */
export function parseResolvConf(text: string): DNSConfig {
  const servers: string[] = [];
  let searches: string[] = [];
  const options = new Map<string, string>();
  for (const line of text.split('\n')) {
    const fields = line.replace(/#.*$/, '').trim().split(/\s+/);
    const [keyword, ...values] = fields;
    if (keyword === 'nameserver') {
      if (values[0] === undefined) throw new AgentError('nameserver list is empty', { code: 'RESOLV_CONF_INVALID' });
      servers.push(values[0]);
    } else if (keyword === 'search') {
      searches = values.filter((s) => s !== '.').map((s) => s.replace(/\.$/, ''));
    } else if (keyword === 'options') {
      for (const option of values) options.set(option.split(':')[0]!, option);
    }
  }
  return { servers, searches, options: [...options.values()] };
}

export function podDns(pod: Pod, settings: DnsSettings): PodDns {
  const warnings: { reason: string; message: string }[] = [];
  let config = baseConfig(pod, settings, warnings);
  const own = pod.spec?.dnsConfig;
  if (own !== undefined) {
    config = {
      servers: unique([...config.servers, ...(own.nameservers ?? [])]),
      searches: unique([...config.searches, ...(own.searches ?? [])]),
      options: mergeOptions(config.options, own.options ?? []),
    };
  }
  return { config: applyLimits(config, warnings), warnings };
}

function baseConfig(pod: Pod, settings: DnsSettings, warnings: { reason: string; message: string }[]): DNSConfig {
  const policy = pod.spec?.dnsPolicy ?? 'ClusterFirst';
  if (policy === 'None') return { servers: [], searches: [], options: [] };
  if (policy === 'Default' || (policy === 'ClusterFirst' && pod.spec?.hostNetwork === true))
    return hostConfig(settings);
  if (settings.clusterDns.length > 0) return clusterConfig(pod, settings);
  warnings.push({ reason: MISSING_CLUSTER_DNS, message: `pod: "${podDescription(pod)}". ${MISSING_CLUSTER_DNS_TEXT}` });
  return hostConfig(settings);
}

function clusterConfig(pod: Pod, { clusterDns, clusterDomain, host }: DnsSettings): DNSConfig {
  const own =
    clusterDomain === ''
      ? []
      : [`${pod.metadata?.namespace ?? ''}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain];
  return { servers: [...clusterDns], searches: unique([...own, ...(host?.searches ?? [])]), options: ['ndots:5'] };
}

function hostConfig({ host, nodeIps }: DnsSettings): DNSConfig {
  if (host !== undefined) return host;
  const hasV4 = nodeIps.some((ip) => !ip.includes(':'));
  const hasV6 = nodeIps.some((ip) => ip.includes(':'));
  return { servers: [...(hasV4 ? ['127.0.0.1'] : []), ...(hasV6 ? ['::1'] : [])], searches: ['.'], options: [] };
}

/** By name; the pod's value wins and keeps the place of the one it replaces. */
function mergeOptions(base: readonly string[], own: readonly { name?: string; value?: string }[]): string[] {
  const merged = new Map(base.map((o) => [o.split(':')[0]!, o]));
  for (const { name, value } of own) if (name) merged.set(name, value ? `${name}:${value}` : name);
  return [...merged.values()];
}

function applyLimits(config: DNSConfig, warnings: { reason: string; message: string }[]): DNSConfig {
  const servers = config.servers.slice(0, MAX_NAMESERVERS);
  if (servers.length < config.servers.length) {
    const message = `Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ${servers.join(' ')}`;
    warnings.push({ reason: 'DNSConfigForming', message });
  }
  const searches: string[] = [];
  let length = 0;
  for (const search of config.searches) {
    if (search.length > MAX_DOMAIN_LENGTH) continue;
    const next = length + search.length + (searches.length > 0 ? 1 : 0);
    if (searches.length === MAX_SEARCHES || next > MAX_SEARCH_LENGTH) break;
    searches.push(search);
    length = next;
  }
  if (searches.length < config.searches.length) {
    const message = `Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ${searches.join(' ')}`;
    warnings.push({ reason: 'DNSConfigForming', message });
  }
  return { servers, searches, options: config.options };
}

/** Why the searches of the node's own file do not fit into a pod's, for an Event on the node; undefined when they do. */
export function resolvConfFault(file: string, { searches }: DNSConfig, clusterDomain: string): string | undefined {
  const limit = clusterDomain === '' ? MAX_SEARCHES : MAX_SEARCHES - CLUSTER_SEARCHES;
  if (searches.length > limit) {
    return `Resolv.conf file '${file}' contains search line consisting of more than ${limit} domains!`;
  }
  if (searches.join(' ').length > MAX_SEARCH_LENGTH) {
    return `Resolv.conf file '${file}' contains search line which length is more than allowed ${MAX_SEARCH_LENGTH} chars!`;
  }
  return undefined;
}

function unique(list: readonly string[]): string[] {
  return [...new Set(list)];
}
