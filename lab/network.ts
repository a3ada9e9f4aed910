// The wires of a lab: a bridge in a namespace of its own, one veth leg to the host and one to each node. The bridge
// is kept out of the host's namespace so that the host's FORWARD policy (Docker sets DROP) and its br_netfilter
// sysctls have no say in what nodes send each other.
import { networkInterfaces } from 'node:os';
import { AgentError } from '../core/errors.ts';
import { type Exec, execOk } from '../host/exec.ts';
import { freeLabIndex, type LabAddresses, type LabNames, MAX_LABS } from './names.ts';

const UPLINK = 'up0';
/** The node's own interface, as on a machine. */
const NODE_INTERFACE = 'eth0';

/** @throws {AgentError} LAB_NO_NETWORK when every range is taken. */
export function chooseLabIndex(): number {
  const used = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .map((i) => i.address);
  const index = freeLabIndex(used);
  if (index !== undefined) return index;
  throw new AgentError(`all ${MAX_LABS} lab networks are in use`, {
    code: 'LAB_NO_NETWORK',
    hint: 'take a lab down with `nodelet lab down --dir DIR`',
  });
}

export async function createLabNetwork(exec: Exec, names: LabNames, addresses: LabAddresses): Promise<void> {
  const { switchNetns, bridge, hostLink } = names;
  await ipBatch(exec, undefined, [
    `netns add ${switchNetns}`,
    `link add ${hostLink} type veth peer name ${UPLINK} netns ${switchNetns}`,
    `address add ${addresses.host}/${addresses.prefixLength} dev ${hostLink}`,
    `link set ${hostLink} up`,
  ]);
  await ipBatch(exec, switchNetns, [
    `link add ${bridge} type bridge`,
    `link set ${UPLINK} master ${bridge} up`,
    `link set ${bridge} up`,
  ]);
}

export interface NodeWire {
  readonly netns: string;
  readonly ordinal: number;
  readonly ip: string;
}

export async function connectNode(exec: Exec, names: LabNames, addresses: LabAddresses, node: NodeWire): Promise<void> {
  const port = portOf(node);
  await ipBatch(exec, undefined, [`netns add ${node.netns}`]);
  await ipBatch(exec, names.switchNetns, [
    `link add ${port} type veth peer name ${NODE_INTERFACE} netns ${node.netns}`,
    `link set ${port} master ${names.bridge} up`,
  ]);
  await ipBatch(exec, node.netns, [
    'link set lo up',
    `address add ${node.ip}/${addresses.prefixLength} dev ${NODE_INTERFACE}`,
    `link set ${NODE_INTERFACE} up`,
    `route add default via ${addresses.host}`,
  ]);
}

/** Idempotent: what is not there is not missed. */
export async function disconnectNode(exec: Exec, names: LabNames, node: NodeWire): Promise<void> {
  // The veth pair would go with the namespace, but only when the kernel gets round to it.
  await deleteIfThere(exec, ['-n', names.switchNetns, 'link', 'delete', portOf(node)]);
  await deleteIfThere(exec, ['netns', 'delete', node.netns]);
}

/** Idempotent. */
export async function removeLabNetwork(exec: Exec, names: LabNames): Promise<void> {
  await deleteIfThere(exec, ['link', 'delete', names.hostLink]);
  await deleteIfThere(exec, ['netns', 'delete', names.switchNetns]);
}

/** Routes of the host to the pods of one node, so that `curl` and the API server's proxy reach pods and Services. */
export async function routePods(exec: Exec, names: LabNames, podCidr: string, nodeIp: string): Promise<void> {
  await ipBatch(exec, undefined, [`route replace ${podCidr} via ${nodeIp} dev ${names.hostLink}`]);
}

/** Takes these routes away. Idempotent. */
export async function unroutePods(exec: Exec, names: LabNames, nodeIp: string): Promise<void> {
  await deleteIfThere(exec, ['route', 'flush', 'via', nodeIp, 'dev', names.hostLink]);
}

function portOf(node: NodeWire): string {
  return `node${node.ordinal}`;
}

async function ipBatch(exec: Exec, netns: string | undefined, lines: readonly string[]): Promise<void> {
  const args = netns === undefined ? ['-batch', '-'] : ['-n', netns, '-batch', '-'];
  await execOk(exec, 'ip', args, { input: `${lines.join('\n')}\n` });
}

async function deleteIfThere(exec: Exec, args: readonly string[]): Promise<void> {
  const r = await exec('ip', args);
  if (r.code === 0 || /Cannot find device|No such file|does not exist|Cannot open network namespace/i.test(r.stderr))
    return;
  throw new AgentError(`ip ${args.join(' ')} failed: ${r.stderr.trim()}`, { code: 'EXEC_STATUS' });
}
