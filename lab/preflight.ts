// Everything that would stop a lab, found before anything is changed and told in one go.
import { access, readFile, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errnoOf } from '../core/errors.ts';
import { nodePaths } from './node-config.ts';
import { CNI_STATE_DIR } from './shared-places.ts';

/** Program or file → Debian package that brings it. */
const NEEDS: readonly (readonly [string, string])[] = [
  ['containerd', 'containerd'],
  ['ctr', 'containerd'],
  ['runc', 'runc'],
  ['/usr/lib/cni/bridge', 'containernetworking-plugins'],
  ['/usr/lib/cni/host-local', 'containernetworking-plugins'],
  ['iptables-restore', 'iptables'],
  ['ip', 'iproute2'],
  ['bridge', 'iproute2'],
  ['nsenter', 'util-linux'],
  ['unshare', 'util-linux'],
  ['catatonit', 'catatonit'],
  ['/bin/busybox', 'busybox-static'],
];
/** What writes the rules of nodes in nftables mode; the other mode does without. */
const NFT_NEED = ['nft', 'nftables'] as const;

export interface PreflightInput {
  /** Absolute. */
  readonly dir: string;
  readonly port: number;
  /** Addresses on which other labs may listen at the same port. */
  readonly isLabAddress: (ip: string) => boolean;
  /** Of the nodes; undefined: their own default. */
  readonly proxyMode: string | undefined;
}

/** @throws {AgentError} LAB_PREFLIGHT naming every fault. */
export async function preflight(input: PreflightInput): Promise<void> {
  const faults = [
    ...(process.getuid?.() === 0 ? [] : ['root is needed to make namespaces and networks: run it with sudo']),
    ...(await missingTools(input.proxyMode)),
    ...(await portFaults(input)),
    ...directoryFaults(input.dir),
    ...(await placeFaults(input.dir)),
  ];
  if (faults.length === 0) return;
  throw new AgentError(`a lab cannot start here: ${faults.join('; ')}`, {
    code: 'LAB_PREFLIGHT',
    hint: 'nothing was changed',
  });
}

/** sun_path holds 108 bytes, the last of them 0 (unix(7)). containerd adds `.ttrpc` for a second socket. */
const MAX_SOCKET_BYTES = 107;
const LONGEST_USUAL_NODE = 'node-100';

/** What a node mounts its own over (node.ts). */
const NODES_OWN = ['/run', CNI_STATE_DIR];

/** What the name of a lab's directory must be like; empty when it can be used. */
export function directoryFaults(dir: string): string[] {
  const socket = `${nodePaths(dir, LONGEST_USUAL_NODE).containerdSocket}.ttrpc`;
  const excess = Buffer.byteLength(socket) - MAX_SOCKET_BYTES;
  return [
    // The node agent refuses other paths: they end up in URLs, mount tables and command lines.
    ...(/^[\x21-\x7e]+$/.test(dir)
      ? []
      : [`${JSON.stringify(dir)} has blanks or unusual characters in its name: choose another directory with --dir`]),
    ...(/^\/proc(\/|$)/.test(dir) ? [`${dir} cannot hold files: choose another directory with --dir`] : []),
    ...NODES_OWN.filter((place) => `${dir}/`.startsWith(`${place}/`)).map(
      (place) => `each node has a ${place} of its own and would not see ${dir}: choose another directory with --dir`,
    ),
    ...(excess > 0
      ? [`the path ${dir} is ${excess} bytes too long for the sockets in it: choose a shorter one with --dir`]
      : []),
  ];
}

/** The directory, or what is nearest to it of what exists, must be a directory. */
async function placeFaults(dir: string): Promise<string[]> {
  try {
    if ((await stat(dir)).isDirectory()) return roomFaults(dir, await statfs(dir));
    return [`${dir} is not a directory: choose another one with --dir`];
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return await placeFaults(path.dirname(dir));
    return [`the directory ${dir} cannot be used (${errnoOf(err) ?? String(err)}): choose another one with --dir`];
  }
}

/** Three nodes with some pods and their logs were measured at 26. Without room the parts cannot even log why they end. */
const ROOM_MIB = 64;

/** Whether a lab fits where `dir` is. Pure. */
export function roomFaults(
  dir: string,
  { bavail, bsize, files, ffree }: { bavail: number; bsize: number; files: number; ffree: number },
): string[] {
  const freeMib = Math.floor((bavail * bsize) / 2 ** 20);
  const remedy = 'free some, or choose another directory with --dir';
  if (freeMib < ROOM_MIB)
    return [`${freeMib} MiB are free on the file system of ${dir}, a lab needs ${ROOM_MIB}: ${remedy}`];
  return files > 0 && ffree === 0 ? [`no inodes are free on the file system of ${dir}: ${remedy}`] : []; // some count none
}

/** Tells which programs are not there, and what brings them. */
export async function missingTools(proxyMode: string | undefined, isThere = isPresent): Promise<string[]> {
  const missing = new Map<string, string[]>();
  const needs = proxyMode === 'nftables' ? [...NEEDS, NFT_NEED] : NEEDS;
  for (const [need, pkg] of needs) {
    if (!(await isThere(need))) missing.set(pkg, [...(missing.get(pkg) ?? []), need]);
  }
  return [...missing].map(([pkg, needs]) => `${needs.join(' and ')} not found (apt-get install ${pkg})`);
}

async function isPresent(need: string): Promise<boolean> {
  const candidates = need.startsWith('/')
    ? [need]
    : (process.env.PATH ?? '').split(':').map((dir) => path.join(dir, need));
  for (const file of candidates) {
    try {
      await access(file);
      return true;
    } catch (err) {
      if (errnoOf(err) === undefined) throw err;
    }
  }
  return false;
}

async function portFaults({ port, isLabAddress }: PreflightInput): Promise<string[]> {
  const listeners = [
    ...parseListeners(await readFile('/proc/net/tcp', 'utf8')),
    ...parseListeners(await readFile('/proc/net/tcp6', 'utf8').catch(() => '')),
  ];
  const taken = listeners.find((l) => l.port === port && !isLabAddress(l.ip));
  return taken === undefined ? [] : [`port ${port} is in use on ${taken.ip}: choose another one with --port`];
}

export interface Listener {
  /** Dotted IPv4, or the raw 32 hex digits of an IPv6 address. */
  readonly ip: string;
  readonly port: number;
}

/** Listening sockets of a /proc/net/tcp or tcp6 table (proc_net_tcp(5)): addresses are in host byte order. */
export function parseListeners(table: string): Listener[] {
  const listeners: Listener[] = [];
  for (const line of table.split('\n').slice(1)) {
    const [, local, , state] = line.trim().split(/\s+/);
    if (local === undefined || state !== '0A') continue;
    const [address, port] = local.split(':');
    if (address === undefined || port === undefined) continue;
    const ip =
      address.length === 8
        ? address
            .match(/../g)!
            .reverse()
            .map((h) => Number.parseInt(h, 16))
            .join('.')
        : address;
    listeners.push({ ip, port: Number.parseInt(port, 16) });
  }
  return listeners;
}
