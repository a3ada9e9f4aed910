// The files through which other programs learn of the pod network: the CNI configuration, whose presence makes the
// runtime report its network ready, and flannel's subnet.env.
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { formatIp, nthAddress, parseCidr } from '../api/cidr.ts';
import { errnoOf } from '../core/errors.ts';
import { writeFileAtomic } from '../host/files.ts';

export const CONFLIST_NAME = '10-nodelet.conflist';

export interface PodNetworkFacts {
  /** The whole pod network, e.g. `10.244.0.0/16`. */
  readonly network: string;
  readonly subnet: string;
  readonly mtu: number;
  readonly bridge: string;
  /** Where host-local keeps its addresses; the plugin's default when absent. */
  readonly ipamDataDir?: string;
}

/** Pure. */
export function renderConflist(facts: PodNetworkFacts): string {
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
      ranges: [[{ subnet: facts.subnet }]],
      routes: [{ dst: facts.network }],
      ...(facts.ipamDataDir === undefined ? {} : { dataDir: facts.ipamDataDir }),
    },
  };
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  return `${JSON.stringify({ cniVersion: '1.0.0', name: 'cbr0', plugins: [bridge, portmap] }, null, 2)}\n`;
}

/** Pure: the file that flannel's CNI plugin and others read. */
export function renderSubnetEnv(facts: PodNetworkFacts): string {
  const subnet = parseCidr(facts.subnet);
  const first = formatIp(nthAddress(subnet, 1));
  return [
    `FLANNEL_NETWORK=${facts.network}`,
    `FLANNEL_SUBNET=${first}/${subnet.prefixLength}`,
    `FLANNEL_MTU=${facts.mtu}`,
    'FLANNEL_IPMASQ=true',
    '',
  ].join('\n');
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

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return undefined;
    throw err;
  }
}
