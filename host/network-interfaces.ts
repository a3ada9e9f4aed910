// Addresses of this network namespace, and which of them carries the default route: where a node address comes from.
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import path from 'node:path';

export interface InterfaceAddress {
  readonly interfaceName: string;
  readonly address: string;
  readonly family: 4 | 6;
}

/**
 * The kernel tells its interfaces only when nobody is changing one, and Node.js asks with the event loop standing still:
 * for seconds in all, while many pods end. So it is asked when an address has come or gone, which tables tell that can be
 * read at any time; their texts grow with the routes of a large cluster, so a thread of the pool reads them.
 */
export class LocalAddresses {
  readonly #procRoot: string;
  readonly #interfaces: typeof networkInterfaces;
  #known: readonly InterfaceAddress[] | undefined;
  #tables: string | undefined;
  /** Interfaces of default routes that had no address when the kernel was asked for that. */
  readonly #bare = new Set<string>();

  constructor({ procRoot = '/proc', interfaces = networkInterfaces } = {}) {
    this.#procRoot = procRoot;
    this.#interfaces = interfaces;
  }

  /** All addresses of interfaces, loopback included, as of the last look. */
  get known(): readonly InterfaceAddress[] {
    this.#known ??= addressesOf(this.#interfaces());
    return this.#known;
  }

  /** Looks which addresses there are now. Link-local ones may be older: each pod brings one. */
  async look(): Promise<readonly InterfaceAddress[]> {
    const tables = await this.#readTables();
    if (tables === undefined || tables !== this.#tables) this.#known = undefined;
    if (tables !== this.#tables) this.#bare.clear();
    this.#tables = tables;
    return this.known;
  }

  /** The first usable address of `family` on the interface that carries the default route, as of the last look. */
  async ofDefaultRoute(family: 4 | 6): Promise<string | undefined> {
    const table = await this.#read(family === 4 ? 'route' : 'ipv6_route');
    const name = family === 4 ? defaultInterfaceV4(table ?? '') : defaultInterfaceV6(table ?? '');
    if (name === undefined) return undefined;
    const find = () =>
      this.known.find((a) => a.interfaceName === name && a.family === family && isUsableNodeIp(a.address))?.address;
    const found = find();
    if (found !== undefined || this.#bare.has(name)) return found;
    this.#bare.add(name);
    this.#known = undefined; // an address that moved to another interface leaves the tables as they were
    return find();
  }

  /** What tells that addresses have changed; undefined where the kernel has no such tables. */
  async #readTables(): Promise<string | undefined> {
    const [v4, v6] = await Promise.all([this.#read('fib_trie'), this.#read('if_inet6')]);
    return v4 === undefined ? undefined : JSON.stringify([localAddressesV4(v4), globalAddressesV6(v6 ?? '')]);
  }

  /** Undefined when there is no such file: IPv6 may be switched off. */
  async #read(table: string): Promise<string | undefined> {
    return await readFile(path.join(this.#procRoot, 'net', table), 'latin1').catch(() => undefined);
  }
}

function addressesOf(interfaces: ReturnType<typeof networkInterfaces>): InterfaceAddress[] {
  return Object.entries(interfaces).flatMap(([interfaceName, addresses = []]) =>
    addresses.map(({ address, family }) => ({ interfaceName, address, family: family === 'IPv4' ? 4 : 6 })),
  );
}

/** Every address of this host, sorted, from the text of /proc/net/fib_trie. */
export function localAddressesV4(trie: string): string[] {
  const found = new Set<string>();
  for (const [, address] of trie.matchAll(/\|-- (\S+)\n +\/32 host LOCAL/g)) found.add(address!);
  return [...found].sort();
}

const SCOPE_LINK = '20';

/** Addresses with their interfaces, sorted, from the text of /proc/net/if_inet6; link-local ones are left out. */
export function globalAddressesV6(table: string): string[] {
  const rows = table.split('\n').map((line) => line.trim().split(/\s+/));
  return rows
    .flatMap(([address, , , scope, , name]) => (name === undefined || scope === SCOPE_LINK ? [] : `${address} ${name}`))
    .sort();
}

/** Interface of the default route with the lowest metric, from the text of /proc/net/route. */
export function defaultInterfaceV4(routeTable: string): string | undefined {
  let best: { name: string; metric: number } | undefined;
  for (const line of routeTable.split('\n').slice(1)) {
    const [name, destination, , flags, , , metric, mask] = line.split(/\s+/);
    const isUp = (Number.parseInt(flags ?? '0', 16) & 1) === 1;
    if (name === undefined || destination !== '00000000' || mask !== '00000000' || !isUp) continue;
    if (best === undefined || Number(metric) < best.metric) best = { name, metric: Number(metric) };
  }
  return best?.name;
}

/** Interface of the default route with the lowest metric, from the text of /proc/net/ipv6_route. */
export function defaultInterfaceV6(routeTable: string): string | undefined {
  let best: { name: string; metric: number } | undefined;
  for (const line of routeTable.split('\n')) {
    const f = line.trim().split(/\s+/);
    if (f.length < 10 || f[0] !== '0'.repeat(32) || f[1] !== '00' || f[9] === 'lo') continue;
    const metric = Number.parseInt(f[5]!, 16);
    if (best === undefined || metric < best.metric) best = { name: f[9]!, metric };
  }
  return best?.name;
}

/** Not loopback, multicast, link-local or all zeros: what a node may be reached at. */
export function isUsableNodeIp(ip: string): boolean {
  const family = isIP(ip);
  if (family === 4) {
    const [a, b] = ip.split('.').map(Number);
    return a !== 127 && !(a! >= 224 && a! <= 239) && !(a === 169 && b === 254) && ip !== '0.0.0.0';
  }
  if (family !== 6) return false;
  const lower = ip.toLowerCase();
  return lower !== '::1' && lower !== '::' && !/^fe[89ab]/.test(lower) && !lower.startsWith('ff');
}
