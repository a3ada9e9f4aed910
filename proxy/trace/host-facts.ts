// What rules ask about the host besides the packet: which addresses are its own, which device leads where, and which
// clients session affinity remembers. Pure: reads what `ip -j` and /proc print.
import {
  addressBits,
  type Cidr,
  cidrContains,
  formatIp,
  type IpVersion,
  isIp,
  parseCidr,
  parseIp,
} from '../../api/cidr.ts';

export interface HostFacts {
  /** True for addresses of this host: its interfaces' and all of 127.0.0.0/8. */
  isLocal(ip: string): boolean;
  /** The device by which packets to `ip` leave, `lo` for own addresses; undefined without a route. */
  deviceTo(ip: string): string | undefined;
  /** The source address that the host itself takes towards `ip`. */
  sourceTo(ip: string): string | undefined;
  /** The first address of the host that is no loopback or link-local one. */
  ownAddress(): string | undefined;
  /** The network on a device, for example the bridge of the pods. */
  subnetOf(device: string): Cidr | undefined;
  /** Clients in the list `name` of iptables' match `recent`. */
  recent(name: string): ReadonlySet<string>;
}

interface Address {
  readonly ip: string;
  readonly device: string;
  readonly cidr: Cidr;
}

interface Route {
  readonly cidr: Cidr;
  readonly device: string;
  readonly source: string | undefined;
  readonly metric: number;
}

/** Parts of `ip -j address` that are used. */
export interface IpAddressEntry {
  readonly ifname?: string;
  readonly addr_info?: readonly { readonly family?: string; readonly local?: string; readonly prefixlen?: number }[];
}

/** Parts of `ip -j route` that are used. */
export interface IpRouteEntry {
  readonly dst?: string;
  readonly dev?: string;
  readonly prefsrc?: string;
  readonly metric?: number;
  readonly type?: string;
}

/** Policy routing (`ip rule`) is left out of account: Services do not use it. */
export function hostFacts(
  addresses: readonly IpAddressEntry[],
  routes: readonly IpRouteEntry[],
  recentLists: ReadonlyMap<string, ReadonlySet<string>>,
  family: IpVersion,
): HostFacts {
  const own = readAddresses(addresses, family);
  const ownIps = new Set(own.map((a) => a.ip));
  const table = readRoutes(routes, family);
  const loopback = parseCidr(family === 4 ? '127.0.0.0/8' : '::1/128');
  const isLocal = (ip: string) => ownIps.has(ip) || cidrContains(loopback, parseIp(ip));
  const routeTo = (ip: string) => table.find((r) => cidrContains(r.cidr, parseIp(ip)));
  return {
    isLocal,
    deviceTo: (ip) => (isLocal(ip) ? 'lo' : routeTo(ip)?.device),
    sourceTo: (ip) => {
      if (isLocal(ip)) return ip;
      const route = routeTo(ip);
      if (route === undefined) return undefined;
      if (route.source !== undefined) return route.source;
      const onDevice = own.filter((a) => a.device === route.device && !a.ip.startsWith('fe80:'));
      return (onDevice.find((a) => cidrContains(a.cidr, parseIp(ip))) ?? onDevice[0])?.ip;
    },
    ownAddress: () => own.find((a) => !a.ip.startsWith('fe80:') && !cidrContains(loopback, parseIp(a.ip)))?.ip,
    subnetOf: (device) => own.find((a) => a.device === device && !a.ip.startsWith('fe80:'))?.cidr,
    recent: (name) => recentLists.get(name) ?? NOBODY,
  };
}

const NOBODY: ReadonlySet<string> = new Set();

function readAddresses(entries: readonly IpAddressEntry[], family: IpVersion): Address[] {
  return entries.flatMap(({ ifname = '', addr_info = [] }) =>
    addr_info.flatMap(({ local, prefixlen }) => {
      if (local === undefined || !isIp(local)) return [];
      const ip = parseIp(local);
      if (ip.version !== family) return [];
      const cidr = parseCidr(`${local}/${prefixlen ?? addressBits(family)}`);
      return [{ ip: formatIp(ip), device: ifname, cidr }];
    }),
  );
}

/** Most specific first. */
function readRoutes(entries: readonly IpRouteEntry[], family: IpVersion): Route[] {
  const routes: Route[] = [];
  for (const { dst, dev, prefsrc, metric = 0, type = 'unicast' } of entries) {
    if (dst === undefined || dev === undefined || type !== 'unicast') continue;
    const text = dst === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : dst;
    if (!isIp(text.split('/')[0]!)) continue;
    const cidr = parseCidr(text.includes('/') ? text : `${text}/${addressBits(family)}`);
    if (cidr.version === family) routes.push({ cidr, device: dev, source: prefsrc, metric });
  }
  return routes.sort((a, b) => b.cidr.prefixLength - a.cidr.prefixLength || a.metric - b.metric);
}

/** Lists by name from `grep -rH src= /proc/net/xt_recent`: lines `/proc/net/xt_recent/NAME:src=10.0.0.1 ttl: …`. */
export function readRecentLists(text: string): Map<string, Set<string>> {
  const lists = new Map<string, Set<string>>();
  for (const line of text.split('\n')) {
    const [, name, ip] = /xt_recent\/([^:]+):src=(\S+)/.exec(line) ?? [];
    if (name === undefined || ip === undefined || !isIp(ip)) continue;
    const list = lists.get(name) ?? new Set();
    lists.set(name, list.add(formatIp(parseIp(ip))));
  }
  return lists;
}
