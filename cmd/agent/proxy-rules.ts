// From the configuration and the node's addresses to what the rules of one IP family depend on, pure.
import { cidrContains, parseCidr, parseIp } from '../../api/cidr.ts';
import type { LocalTraffic, NodeAddresses, RuleOptions } from '../../proxy/options.ts';
import type { ProxySettings } from '../config/agent-config.ts';

type Family = RuleOptions['family'];

export interface NodeFacts {
  /** Every address of the node's interfaces, of any family. */
  readonly own: readonly string[];
  /** The address of each family that the node is known by: what `primary` among node port addresses means. */
  readonly primary: readonly string[];
  /** The range of all pods, or of the node's own, of each family; '' when it is not known. */
  readonly podRanges: Readonly<Record<Family, string>>;
  /** Somebody set nf_conntrack_tcp_be_liberal: packets that look INVALID are wanted on this host. */
  readonly acceptsInvalid: boolean;
}

export function ruleOptions(family: Family, settings: ProxySettings, facts: NodeFacts): RuleOptions {
  return {
    family,
    masqueradeBit: settings.masqueradeBit,
    masqueradeAll: settings.masqueradeAll,
    localTraffic: localTraffic(settings.detectLocal, facts.podRanges[family]),
    localhostNodePorts: family === 4 && localhostNodePorts(settings),
    randomFully: true,
    dropInvalid: !settings.conntrack.tcpBeLiberal && !facts.acceptsInvalid,
    ...nodeAddresses(family, settings, facts),
  };
}

/**
 * The part that changes while the proxy runs: `facts.own` and `facts.primary` may be others each time. Addresses that no
 * rule depends on are left out: each pod brings a link-local one, and must not have everything written anew.
 */
export function nodeAddresses(family: Family, settings: ProxySettings, facts: NodeFacts): NodeAddresses {
  const nodeIps = facts.primary.filter((ip) => familyOf(ip) === family);
  const ranges = portRanges(family, settings, facts);
  if (ranges === undefined) return { nodeIps, nodePortIps: undefined };
  const own = facts.own.filter((ip) => familyOf(ip) === family);
  return { nodeIps, nodePortIps: own.filter((ip) => ranges.some((range) => cidrContains(range, parseIp(ip)))) };
}

export interface AddressSources {
  /** `--node-ip`. */
  readonly configured: readonly string[];
  /** What the Node says: counts only while this host has it, as it may be from before a move. */
  readonly ofNode: readonly string[];
  readonly own: readonly string[];
  /** Of the way out, as the proxy found it when it started. */
  readonly atStart: readonly string[];
}

/** The address of each family that the node is known by. */
export function primaryAddresses({ configured, ofNode, own, atStart }: AddressSources): readonly string[] {
  return ([4, 6] as const).flatMap((family) => {
    const known = [...configured, ...ofNode.filter((ip) => own.includes(ip)), ...atStart];
    return known.find((ip) => familyOf(ip) === family) ?? [];
  });
}

/** Node ports on 127.0.0.1, unless no address there is among those that node ports answer on: all, where none is of IPv4. */
export function localhostNodePorts(settings: ProxySettings): boolean {
  if (settings.mode !== 'iptables' || !settings.localhostNodePorts) return false;
  const ranges = settings.nodePortAddresses.filter((range) => familyOf(range) === 4);
  if (ranges.length === 0) return true;
  const loopback = parseCidr('127.0.0.0/8');
  return ranges.some((range) => {
    if (range === 'primary') return false;
    const isInLoopback = cidrContains(loopback, parseIp(range.slice(0, range.indexOf('/'))));
    return isInLoopback || cidrContains(parseCidr(range), parseIp('127.0.0.0'));
  });
}

/** Undefined: all addresses. That is also so for a family of which no range is named. */
function portRanges(
  family: Family,
  settings: ProxySettings,
  { primary }: NodeFacts,
): ReturnType<typeof parseCidr>[] | undefined {
  // Upstream's default differs: node ports answer on every address with iptables, on the node's own with nftables.
  const isDefault = settings.nodePortAddresses.length === 0;
  const named = isDefault && settings.mode === 'nftables' ? ['primary'] : settings.nodePortAddresses;
  const ranges = named
    .flatMap((range) => (range === 'primary' ? primary.map((ip) => `${ip}/${familyOf(ip) === 4 ? 32 : 128}`) : [range]))
    .filter((range) => familyOf(range) === family);
  return ranges.length === 0 || ranges.some((range) => range.endsWith('/0')) ? undefined : ranges.map(parseCidr);
}

function localTraffic(detect: ProxySettings['detectLocal'], podRange: string): LocalTraffic | undefined {
  if (detect.by === 'interface' || detect.by === 'interface-prefix') return detect;
  return podRange === '' ? undefined : { by: 'cidr', cidr: podRange };
}

function familyOf(text: string): Family {
  return text.includes(':') ? 6 : 4;
}
