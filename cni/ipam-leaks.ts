// Addresses that host-local still holds for sandboxes that are gone: after a reboot, or when the runtime's state was
// wiped, nobody runs DEL for them and the node's range fills up.
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { cidrContains, isIp, parseCidr, parseIp } from '../api/cidr.ts';
import { errnoOf } from '../core/errors.ts';
import type { Exec } from '../host/exec.ts';
import { execOk } from '../host/exec.ts';
import { listDir, NETWORK_NAME, readIfThere } from './conf-writer.ts';

export interface IpamDirs {
  /** host-local's dataDir: `/var/lib/cni/networks` */
  readonly ipam: string;
  /** Where runtimes note which attachment has which namespace (libcni's cache): `/var/lib/cni/results` */
  readonly results: string;
}

export const DEFAULT_IPAM_DIRS: IpamDirs = { ipam: '/var/lib/cni/networks', results: '/var/lib/cni/results' };

/** Younger than this, a sandbox may be in the middle of its ADD, of which the cache does not know yet, minutes. */
const MIN_AGE_MINUTES = 5;

/**
 * Addresses in `subnets` whose sandbox's network namespace is gone. An address without a note of its namespace is left
 * alone unless `sinceReboot`: after a reboot no sandbox can be without one for long.
 */
export async function findLeaks(
  dirs: IpamDirs,
  subnets: readonly string[],
  sinceReboot: boolean,
): Promise<readonly string[]> {
  const ranges = subnets.map(parseCidr);
  const dir = path.join(dirs.ipam, NETWORK_NAME);
  const leaks: string[] = [];
  for (const name of await listDir(dir)) {
    // Nodes of a lab share the directory: only what is in this node's own range is its business.
    if (!isIp(name) || !ranges.some((range) => cidrContains(range, parseIp(name)))) continue;
    const [containerId, ifname] = ((await readIfThere(path.join(dir, name))) ?? '').split(/\r?\n/);
    if (!containerId || !ifname || !/^[\w.-]+$/.test(containerId) || !/^[\w.-]+$/.test(ifname)) continue;
    const netns = await netnsOf(path.join(dirs.results, `${NETWORK_NAME}-${containerId}-${ifname}`));
    if (netns === undefined ? sinceReboot : !(await exists(netns))) leaks.push(name);
  }
  return leaks.sort();
}

/** Undefined when the cache has no such attachment. */
async function netnsOf(file: string): Promise<string | undefined> {
  try {
    const { netns } = JSON.parse(await readFile(file, 'utf8')) as { readonly netns?: unknown };
    return typeof netns === 'string' && netns.startsWith('/') ? netns : undefined;
  } catch {
    return undefined; // not there, or half written
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (err) {
    return errnoOf(err) !== 'ENOENT'; // what cannot be looked at is taken for alive
  }
}

/**
 * Frees `addresses`, under the lock that host-local takes. One that was freed and given out anew meanwhile is young, and
 * stays.
 */
export async function freeLeaks(
  exec: Exec,
  dirs: IpamDirs,
  addresses: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  if (addresses.length === 0) return;
  const dir = path.join(dirs.ipam, NETWORK_NAME);
  const names = addresses.flatMap((name, i) => [...(i === 0 ? [] : ['-o']), '-name', name]);
  const find = [
    'find',
    dir,
    '-maxdepth',
    '1',
    '-type',
    'f',
    '-mmin',
    `+${MIN_AGE_MINUTES}`,
    '(',
    ...names,
    ')',
    '-delete',
  ];
  await execOk(exec, 'flock', ['-w', '5', path.join(dir, 'lock'), ...find], { signal });
}
