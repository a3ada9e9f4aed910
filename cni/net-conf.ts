// flannel's network configuration (net-conf.json, or the key `<prefix>/config` in etcd): the ranges of all pods, how
// they are cut into subnets, and the backend. Facts: flannel pkg/subnet/config.go.
import {
  addressBits,
  type Cidr,
  cidrContains,
  cidrsOverlap,
  formatCidr,
  formatIp,
  type IpVersion,
  networkOf,
  nthSubnet,
  parseCidr,
  parseIp,
  subnetCount,
} from '../api/cidr.ts';
import { AgentError, errorMessage } from '../core/errors.ts';

export type BackendType = 'vxlan' | 'host-gw' | 'none';

export interface BackendConf {
  readonly type: BackendType;
  /** VXLAN network identifier; flannel's default is 1. */
  readonly vni: number;
  /** UDP port of VXLAN; 8472 is what Linux takes by itself. */
  readonly port: number;
  /** What the external interface is taken to carry, bytes; its own MTU when absent. */
  readonly mtu: number | undefined;
  /** Peers on the same link get plain routes instead of a tunnel. */
  readonly directRouting: boolean;
}

/** How the network of one family is cut into subnets; all bounds are canonical networks of length `subnetLength`. */
export interface SubnetPlan {
  readonly network: Cidr;
  readonly subnetLength: number;
  /** First and last subnet that may be given out. */
  readonly first: Cidr;
  readonly last: Cidr;
}

export interface NetConf {
  readonly v4: SubnetPlan | undefined;
  readonly v6: SubnetPlan | undefined;
  readonly nftables: boolean;
  readonly backend: BackendConf;
}

type Entries = Readonly<Record<string, unknown>>;
type Fault = (problem: string) => void;

/** Limits by family: usual length of a subnet, longest subnet, longest network (flannel pkg/subnet/config.go). */
const LIMITS = {
  4: { usual: 24, longest: 30, network: 28, keys: ['Network', 'SubnetLen', 'SubnetMin', 'SubnetMax'] },
  6: {
    usual: 64,
    longest: 126,
    network: 124,
    keys: ['IPv6Network', 'IPv6SubnetLen', 'IPv6SubnetMin', 'IPv6SubnetMax'],
  },
} as const;

/** @throws {AgentError} NET_CONF_INVALID naming every fault. */
export function parseNetConf(text: string, where: string): NetConf {
  const faults: string[] = [];
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (err) {
    faults.push(`is not JSON: ${errorMessage(err)}`);
  }
  const conf = faults.length > 0 ? undefined : readNetConf(parsed, 'leases', (problem) => faults.push(problem));
  if (conf !== undefined && faults.length === 0) return conf;
  throw new AgentError(`the network configuration ${where} cannot be used: ${faults.join('; ')}`, {
    code: 'NET_CONF_INVALID',
    hint: 'mend it as said; the network that runs stays as it is',
    details: { faults },
  });
}

/**
 * Reports every fault. `use`: where the control plane assigns subnets, their lengths and bounds are not looked at, as in
 * flannel. Undefined when there is nothing to be read.
 */
export function readNetConf(parsed: unknown, use: 'leases' | 'assigned', fault: Fault): NetConf | undefined {
  const conf = entriesOf(parsed);
  if (conf === undefined) {
    fault('expected an object');
    return undefined;
  }
  const enabled = {
    4: bool(conf, 'EnableIPv4', true, fault),
    6: bool(conf, 'EnableIPv6', false, fault),
  };
  if (!enabled[4] && !enabled[6]) fault('EnableIPv4, EnableIPv6: expected one of them to be true');
  return {
    v4: enabled[4] ? readPlan(conf, 4, use, fault) : undefined,
    v6: enabled[6] ? readPlan(conf, 6, use, fault) : undefined,
    nftables: bool(conf, 'EnableNFTables', false, fault),
    backend: readBackend(conf.Backend, fault),
  };
}

/** The plan of one family; undefined when something is wrong with it. */
function readPlan(conf: Entries, version: IpVersion, use: 'leases' | 'assigned', fault: Fault): SubnetPlan | undefined {
  const limits = LIMITS[version];
  const [networkKey, lengthKey] = limits.keys;
  const network = cidrOf(conf[networkKey], version);
  if (network === undefined) {
    fault(`${networkKey}: expected an IPv${version} range such as ${version === 4 ? '10.244.0.0/16' : 'fd00:42::/56'}`);
    return undefined;
  }
  if (use === 'assigned') return { network, subnetLength: network.prefixLength, first: network, last: network };
  if (network.prefixLength > limits.network) {
    fault(`${networkKey}: ${formatCidr(network)} is too small: expected a prefix length of at most ${limits.network}`);
    return undefined;
  }
  // A network that holds fewer than four usual subnets is cut into four smaller ones.
  const usual = network.prefixLength > limits.usual - 2 ? network.prefixLength + 2 : limits.usual;
  const length = conf[lengthKey] === undefined || conf[lengthKey] === 0 ? usual : conf[lengthKey];
  const isFit = typeof length === 'number' && Number.isInteger(length);
  if (!isFit || length < network.prefixLength + 2 || length > limits.longest) {
    fault(`${lengthKey}: expected a whole number from ${network.prefixLength + 2} to ${limits.longest}`);
    return undefined;
  }
  return withBounds(conf, network, length, fault);
}

/** The first subnet is left out unless asked for: its address equals the network's own. */
function withBounds(conf: Entries, network: Cidr, length: number, fault: Fault): SubnetPlan | undefined {
  const [, , minKey, maxKey] = LIMITS[network.version].keys;
  const last = subnetCount(network, length) - 1n;
  const first = boundOf(conf, minKey, network, length, nthSubnet(network, length, 1), fault);
  const final = boundOf(conf, maxKey, network, length, nthSubnet(network, length, last), fault);
  if (first === undefined || final === undefined) return undefined;
  if (first.base > final.base) {
    fault(`${minKey}: expected at most ${maxKey} (${formatIp({ version: network.version, value: final.base })})`);
    return undefined;
  }
  return { network, subnetLength: length, first, last: final };
}

function boundOf(conf: Entries, key: string, network: Cidr, length: number, usual: Cidr, fault: Fault) {
  const written = conf[key];
  if (written === undefined || written === null || written === '') return usual;
  try {
    const ip = parseIp(String(written));
    const subnet = networkOf(ip, length);
    if (cidrContains(network, ip) && subnet.base === ip.value) return subnet;
  } catch {
    // not an address: told below with what would be one
  }
  fault(`${key}: expected the address of a /${length} subnet inside ${formatCidr(network)}`);
  return undefined;
}

/** Keys are matched without regard to case, as Go's JSON decoder does. */
function readBackend(written: unknown, fault: Fault): BackendConf {
  const entries = written === undefined ? {} : entriesOf(written);
  if (entries === undefined) fault('Backend: expected an object');
  const keys = Object.fromEntries(Object.entries(entries ?? {}).map(([k, v]) => [k.toLowerCase(), v]));
  const { type } = keys;
  const known = type === 'vxlan' || type === 'host-gw' || type === 'none';
  if (!known) {
    const got = type === undefined ? 'nothing, which means udp' : JSON.stringify(type);
    fault(`Backend.Type: expected vxlan, host-gw or none, got ${got}`);
  }
  for (const key of ['gbp', 'learning']) {
    if (keys[key] === true) fault(`Backend.${key === 'gbp' ? 'GBP' : 'Learning'}: expected false: not supported here`);
  }
  return {
    type: known ? type : 'none',
    vni: whole(keys.vni, 'Backend.VNI', 1, 16_777_215, fault) ?? 1,
    port: whole(keys.port, 'Backend.Port', 1, 65_535, fault) ?? 8472,
    mtu: whole(keys.mtu, 'Backend.MTU', 1330, 65_535, fault),
    directRouting: bool(keys, 'directrouting', false, fault),
  };
}

/** 0 means "not given", as in Go. 1330: IPv6 needs 1280 inside of 50 bytes of tunnel. */
function whole(value: unknown, at: string, min: number, max: number, fault: Fault): number | undefined {
  if (value === undefined || value === null || value === 0) return undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  fault(`${at}: expected a whole number from ${min} to ${max}`);
  return undefined;
}

function bool(entries: Entries, key: string, fallback: boolean, fault: Fault): boolean {
  const value = entries[key];
  if (value === undefined || value === null) return fallback;
  if (typeof value === 'boolean') return value;
  fault(`${key}: expected true or false`);
  return fallback;
}

function cidrOf(value: unknown, version: IpVersion): Cidr | undefined {
  try {
    const cidr = parseCidr(String(value));
    return cidr.version === version ? cidr : undefined;
  } catch {
    return undefined; // ParseError; the caller names the field
  }
}

function entriesOf(value: unknown): Entries | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Entries) : undefined;
}

/**
 * Why `subnet` cannot be a node's part of `network`; undefined when it can. `externalIp`, the address that carries the
 * tunnel, may not lie in the pod network: packets to peers would be sent to pods.
 */
export function subnetFault(network: string, subnet: string, externalIp: string): string | undefined {
  const [whole, part] = [parseCidr(network), parseCidr(subnet)];
  if (part.version !== whole.version || !cidrsOverlap(whole, part) || part.prefixLength < whole.prefixLength) {
    return `${subnet} is not inside the pod network ${network}`;
  }
  if (part.prefixLength > addressBits(part.version) - 2) {
    return `${subnet} is too small: a gateway and at least one pod need a prefix length of at most ${addressBits(part.version) - 2}`;
  }
  const ip = parseIp(externalIp);
  if (cidrContains(whole, ip)) return `the pod network ${network} holds this node's own address ${externalIp}`;
  return undefined;
}
