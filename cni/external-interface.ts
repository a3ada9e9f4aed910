// Which interface carries what goes to other nodes, and which of its addresses. flannel's rules (pkg/ipmatch/match.go).
import { isIP } from 'node:net';
import { AgentError } from '../core/errors.ts';
import type { Exec } from '../host/exec.ts';
import { type IpLink, type IpRoute, readJson } from '../host/ip-batch.ts';
import type { OwnSubnets } from './subnet-source.ts';

export interface InterfaceWishes {
  /** Names or addresses; the first that exists is taken. */
  readonly ifaces: readonly string[];
  /** Expressions, held against addresses first and names then. */
  readonly regexes: readonly string[];
  /** The interface by which this address is reached. */
  readonly canReach?: string;
  /** What others use to reach this node, by family: without other wishes, addresses of the interface itself. */
  readonly publicIps: OwnSubnets;
}

export interface InterfaceAddress {
  readonly family: string;
  readonly local: string;
  readonly prefixlen: number;
  readonly scope?: string;
  readonly dynamic?: boolean;
  readonly temporary?: boolean;
  readonly deprecated?: boolean;
}

export interface HostInterface extends IpLink {
  readonly addr_info?: readonly InterfaceAddress[];
}

export interface HostRouting {
  readonly interfaces: readonly HostInterface[];
  /** Devices of the default routes, best first. */
  readonly defaults: { readonly v4?: string; readonly v6?: string };
  /** The route to `canReach`. */
  readonly reach?: { readonly device: string; readonly source: string | undefined };
}

export interface ExternalChoice {
  readonly external: { readonly device: string; readonly mtu: number; readonly v4?: string; readonly v6?: string };
  readonly publicIps: OwnSubnets;
}

/**
 * Pure. `families` are those of the pod network. Addresses of `present` are kept for as long as its interface has them,
 * whatever others come beside them. @throws {AgentError} NODE_ADDRESS.
 */
export function chooseInterface(
  wishes: InterfaceWishes,
  families: readonly (4 | 6)[],
  host: HostRouting,
  present?: ExternalChoice,
): ExternalChoice {
  const found = byWishes(wishes, host) ?? byDefault(wishes, families, host);
  const { device, preferred } = found;
  const iface = host.interfaces.find((i) => i.ifname === device);
  if (iface === undefined) throw refused(`there is no network interface ${device}`);
  const ips: { v4?: string; v6?: string } = {};
  const publicIps: { v4?: string; v6?: string } = {};
  for (const version of families) {
    const key = version === 4 ? 'v4' : 'v6';
    const own = addressesOf(iface, version);
    const kept = present?.external.device === device ? present.external[key] : undefined;
    const wished = [preferred, wishes.publicIps[key], kept].find((ip) => ip !== undefined && own.includes(ip));
    const ip = wished ?? own[0];
    if (ip === undefined) throw refused(`interface ${device} has no usable IPv${version} address`);
    ips[key] = ip;
    publicIps[key] = wishes.publicIps[key] ?? ip;
  }
  return { external: { device, mtu: iface.mtu, ...ips }, publicIps };
}

interface Found {
  readonly device: string;
  /** The address that led here. */
  readonly preferred?: string;
}

/** Undefined when no flag names an interface. */
function byWishes({ ifaces, regexes, canReach }: InterfaceWishes, host: HostRouting): Found | undefined {
  if (ifaces.length === 0 && regexes.length === 0 && canReach === undefined) return undefined;
  for (const wish of ifaces) {
    const owner = host.interfaces.find((i) => i.ifname === wish || hasAddress(i, wish));
    if (owner !== undefined) return { device: owner.ifname, ...(isIP(wish) === 0 ? {} : { preferred: wish }) };
  }
  for (const expression of regexes) {
    const regex = new RegExp(expression);
    for (const i of host.interfaces) {
      const local = i.addr_info?.find((a) => regex.test(a.local))?.local;
      if (local !== undefined) return { device: i.ifname, preferred: local };
    }
    const named = host.interfaces.find((i) => regex.test(i.ifname));
    if (named !== undefined) return { device: named.ifname };
  }
  if (host.reach !== undefined) {
    const { device, source } = host.reach;
    return { device, ...(source === undefined ? {} : { preferred: source }) };
  }
  throw refused(`no network interface of this host fits --iface, --iface-regex or --iface-can-reach`);
}

function byDefault({ publicIps }: InterfaceWishes, families: readonly (4 | 6)[], host: HostRouting): Found {
  const given = publicIps.v4 ?? publicIps.v6;
  if (given !== undefined) {
    const owner = host.interfaces.find((i) => hasAddress(i, given));
    if (owner !== undefined) return { device: owner.ifname };
    throw refused(`no network interface of this host has the address ${given}`);
  }
  const devices = families.map((version) => (version === 4 ? host.defaults.v4 : host.defaults.v6));
  const device = devices[0];
  if (device === undefined) throw refused('there is no default route to choose a network interface by');
  if (devices.some((d) => d !== device)) {
    throw refused(`the default routes of IPv4 and IPv6 use different interfaces: ${devices.join(' and ')}`);
  }
  return { device };
}

function hasAddress(i: HostInterface, ip: string): boolean {
  return (i.addr_info ?? []).some((a) => a.local === ip);
}

/** Global before link-local, permanent before dynamic, not temporary before temporary; deprecated ones not at all. */
function addressesOf(i: HostInterface, version: 4 | 6): string[] {
  const rank = (a: InterfaceAddress) =>
    (a.scope === 'link' ? 4 : 0) + (a.dynamic === true ? 2 : 0) + (a.temporary === true ? 1 : 0);
  const family = version === 4 ? 'inet' : 'inet6';
  const usable = (i.addr_info ?? []).filter((a) => a.family === family && a.deprecated !== true && a.scope !== 'host');
  return usable.toSorted((a, b) => rank(a) - rank(b)).map((a) => a.local);
}

function refused(message: string): AgentError {
  return new AgentError(message, {
    code: 'NODE_ADDRESS',
    hint: 'give an address of this host with --node-ip (or --public-ip), or an interface with --iface',
  });
}

/** What `chooseInterface` needs to know. */
export async function readHostRouting(exec: Exec, wishes: InterfaceWishes, signal: AbortSignal): Promise<HostRouting> {
  const read = async (...args: string[]) => (await readJson<IpRoute>(exec, 'ip', args, { signal })) ?? [];
  // Not from /sys: where only the network namespace is our own, /sys still shows the host's devices.
  const interfaces = (await readJson<HostInterface>(exec, 'ip', ['addr', 'show'], { signal })) ?? [];
  const [v4] = await read('-4', 'route', 'show', 'default');
  const [v6] = await read('-6', 'route', 'show', 'default');
  const reach = wishes.canReach === undefined ? undefined : (await read('route', 'get', wishes.canReach))[0];
  return {
    interfaces,
    defaults: { ...(v4?.dev === undefined ? {} : { v4: v4.dev }), ...(v6?.dev === undefined ? {} : { v6: v6.dev }) },
    ...(reach?.dev === undefined ? {} : { reach: { device: reach.dev, source: reach.prefsrc } }),
  };
}
