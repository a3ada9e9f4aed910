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

/** All addresses of interfaces that are up, loopback included. */
export function localAddresses(): InterfaceAddress[] {
  const found: InterfaceAddress[] = [];
  for (const [interfaceName, addresses] of Object.entries(networkInterfaces())) {
    for (const a of addresses ?? []) {
      found.push({ interfaceName, address: a.address, family: a.family === 'IPv4' ? 4 : 6 });
    }
  }
  return found;
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

/** The first usable address of `family` on the interface that carries the default route. */
export async function defaultRouteAddress(family: 4 | 6, procRoot = '/proc'): Promise<string | undefined> {
  const file = path.join(procRoot, 'net', family === 4 ? 'route' : 'ipv6_route');
  const table = await readFile(file, 'utf8').catch(() => ''); // IPv6 switched off: no file
  const name = family === 4 ? defaultInterfaceV4(table) : defaultInterfaceV6(table);
  return localAddresses().find((a) => a.interfaceName === name && a.family === family && isUsableNodeIp(a.address))
    ?.address;
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
