// The files through which other programs learn of the pod network: the CNI configuration, whose presence makes the
// runtime report its network ready, and flannel's subnet.env.
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { formatCidr, formatIp, nthAddress, parseCidr } from '../api/cidr.ts';
import { errnoOf } from '../core/errors.ts';
import { writeFileAtomic } from '../host/files.ts';
import type { OwnSubnets } from './subnet-source.ts';

export const CONFLIST_NAME = '10-nodelet.conflist';
/** Part of every path where plugins keep state. */
export const NETWORK_NAME = 'cbr0';

export interface PodNetworkFacts {
  /** The whole pod network by family, e.g. `10.244.0.0/16`. */
  readonly networks: OwnSubnets;
  readonly subnets: OwnSubnets;
  readonly mtu: number;
  readonly bridge: string;
  /** What leaves the pod network is masqueraded. */
  readonly ipMasq: boolean;
  /** Where host-local keeps its addresses; the plugin's default when absent. */
  readonly ipamDataDir?: string;
}

/** Pure. */
export function renderConflist(facts: PodNetworkFacts): string {
  return `${JSON.stringify(conflistOf(facts), null, 2)}\n`;
}

function conflistOf(facts: PodNetworkFacts) {
  const bridge = {
    type: 'bridge',
    bridge: facts.bridge,
    isGateway: true,
    isDefaultGateway: true,
    hairpinMode: true,
    ipMasq: false, // the bridge plugin would also masquerade traffic between nodes
    mtu: facts.mtu,
    ipam: {
      type: 'host-local',
      // One set for each family: a pod gets an address of each, in this order.
      ranges: inOrder(facts.subnets).map((subnet) => [{ subnet }]),
      routes: inOrder(facts.networks).map((dst) => ({ dst })),
      ...(facts.ipamDataDir === undefined ? {} : { dataDir: facts.ipamDataDir }),
    },
  };
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  return { cniVersion: '1.0.0', name: NETWORK_NAME, plugins: [bridge, portmap] as const };
}

/** Pure: the MTU of pods in a configuration of `renderConflist`; undefined for what is none. */
export function mtuOf(conflist: string): number | undefined {
  try {
    const { plugins } = JSON.parse(conflist) as ReturnType<typeof conflistOf>;
    const { mtu } = plugins[0];
    return Number.isInteger(mtu) ? mtu : undefined;
  } catch {
    return undefined; // half written, or somebody else's
  }
}

/** IPv4 first. */
function inOrder({ v4, v6 }: OwnSubnets): string[] {
  return [v4, v6].filter((s) => s !== undefined);
}

/** Pure: the file that flannel's CNI plugin and others read. */
export function renderSubnetEnv({ networks, subnets, mtu, ipMasq }: PodNetworkFacts): string {
  return [
    ...(subnets.v4 === undefined ? [] : [`FLANNEL_NETWORK=${networks.v4}`, `FLANNEL_SUBNET=${firstHost(subnets.v4)}`]),
    ...(subnets.v6 === undefined
      ? []
      : [`FLANNEL_IPV6_NETWORK=${networks.v6}`, `FLANNEL_IPV6_SUBNET=${firstHost(subnets.v6)}`]),
    `FLANNEL_MTU=${mtu}`,
    `FLANNEL_IPMASQ=${ipMasq}`,
    '',
  ].join('\n');
}

function firstHost(text: string): string {
  const subnet = parseCidr(text);
  return `${formatIp(nthAddress(subnet, 1))}/${subnet.prefixLength}`;
}

/** The subnets in a subnet.env; what is no subnet is left out. */
export function parseSubnetEnv(text: string): OwnSubnets {
  const read = (name: string) => {
    const value = new RegExp(`^${name}=(\\S+)$`, 'm').exec(text)?.[1];
    try {
      return value === undefined ? undefined : formatCidr(parseCidr(value));
    } catch {
      return undefined; // somebody else wrote it
    }
  };
  const [v4, v6] = [read('FLANNEL_SUBNET'), read('FLANNEL_IPV6_SUBNET')];
  return { ...(v4 === undefined ? {} : { v4 }), ...(v6 === undefined ? {} : { v6 }) };
}

/** Files that the runtime would take before ours: of a directory it loads the first one only. */
export function earlierConfs(names: readonly string[]): string[] {
  return names.filter((name) => /\.(conf|conflist|json)$/.test(name) && name < CONFLIST_NAME).sort();
}

/** Names in a directory; none when it does not exist. */
export async function listDir(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return [];
    throw err;
  }
}

/** Writes `content` when the file holds something else. True when it was written. */
export async function writeIfChanged(file: string, content: string): Promise<boolean> {
  if ((await readIfThere(file)) === content) return false;
  await mkdir(path.dirname(file), { recursive: true, mode: 0o755 });
  await writeFileAtomic(file, content, 0o644);
  return true;
}

export async function removeFile(file: string): Promise<void> {
  await rm(file, { force: true });
}

/** Undefined when there is no such file. */
export async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return undefined;
    throw err;
  }
}
