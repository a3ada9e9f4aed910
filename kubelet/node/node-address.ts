// Which addresses the node reports (spec of `--node-ip`). After the NodeAddress setter of pkg/kubelet/nodestatus.
import { isIP } from 'node:net';
import type { Node, NodeAddress } from '../../api/kinds.ts';
import { AgentError } from '../../core/errors.ts';
import { isUsableNodeIp } from '../../host/network-interfaces.ts';

export interface AddressSources {
  /** Addresses of local interfaces. */
  readonly local: readonly string[];
  /** Name resolution of the node name; empty when it fails. */
  lookup(name: string): Promise<readonly string[]>;
  defaultRoute(family: 4 | 6): Promise<string | undefined>;
}

const UNSPECIFIED = ['0.0.0.0', '::'];

/**
 * `externalCloud`: without a wanted address the name alone is reported, until the cloud controller manager knows more.
 * @throws {AgentError} NODE_ADDRESS when a wanted address is not ours or none can be found.
 */
export async function computeAddresses(
  hostname: string,
  nodeIps: readonly string[],
  sources: AddressSources,
  externalCloud = false,
): Promise<NodeAddress[]> {
  if (externalCloud && nodeIps.length === 0) return [{ type: 'Hostname', address: hostname }];
  for (const ip of nodeIps) if (!UNSPECIFIED.includes(ip)) checkNodeIp(ip, sources.local);
  const found = nodeIps.length === 2 ? [...nodeIps] : [await findOne(hostname, nodeIps[0], sources)];
  return [...found.map((address) => ({ type: 'InternalIP', address })), { type: 'Hostname', address: hostname }];
}

async function findOne(hostname: string, wanted: string | undefined, sources: AddressSources): Promise<string> {
  if (wanted !== undefined && !UNSPECIFIED.includes(wanted)) return wanted;
  if (isIP(hostname) !== 0) return hostname;
  const preferred = wanted === '::' ? 6 : 4;
  const usable = (await sources.lookup(hostname)).filter((ip) => isUsableNodeIp(ip) && sources.local.includes(ip));
  const byName = usable.find((ip) => isIP(ip) === preferred) ?? usable[0];
  if (byName !== undefined) return byName;
  const byRoute = (await sources.defaultRoute(preferred)) ?? (await sources.defaultRoute(preferred === 4 ? 6 : 4));
  if (byRoute !== undefined) return byRoute;
  throw new AgentError(`can't get ip address of node ${hostname}. error: no default routes found`, {
    code: 'NODE_ADDRESS',
    hint: 'give the address with --node-ip',
  });
}

function checkNodeIp(ip: string, local: readonly string[]): void {
  if (!isUsableNodeIp(ip)) {
    throw new AgentError(`node IP: "${ip}" is not an address that a node can be reached at`, { code: 'NODE_ADDRESS' });
  }
  if (!local.includes(ip)) {
    throw new AgentError(`node IP: "${ip}" not found in the host's network interfaces`, { code: 'NODE_ADDRESS' });
  }
}

/** Addresses at which the nodes reach each other, the preferred family first; none before the Node is known. */
export function internalIps(node: Node | undefined): string[] {
  const addresses = node?.status?.addresses ?? [];
  return addresses.filter((a) => a.type === 'InternalIP').map((a) => a.address);
}
