// What `nodelet lab status` says: the lab's parts as they are now, asked of the API server and of the processes.
import type { Node } from '../api/kinds.ts';
import { nodes as nodeResource } from '../api/resources.ts';
import type { ApiClient } from '../client/api-client.ts';
import { formatTable } from '../core/text-table.ts';
import { isRunning } from '../host/process.ts';
import { labAddresses } from './names.ts';
import { nodePaths } from './node-config.ts';
import { labFiles } from './pki.ts';
import type { LabState, NodeState } from './state.ts';

/** The form of `lab status -o json`: scripts rely on it. */
export interface LabStatus {
  readonly kubeconfig: string;
  readonly apiserver: { readonly url: string; readonly healthy: boolean };
  readonly nodes: readonly LabNodeStatus[];
}

export interface LabNodeStatus {
  readonly name: string;
  readonly ready: boolean;
  readonly netns: string;
  readonly ip: string;
  readonly podCIDR: string | null;
  /** Null while the agent does not run. */
  readonly agentPid: number | null;
  readonly containerdSocket: string;
}

const API_TIMEOUT_MS = 5_000;

function apiserverUrl(state: LabState): string {
  return `https://${labAddresses(state.index).host}:${state.port}`;
}

export async function readLabStatus(dir: string, state: LabState, client: ApiClient | undefined): Promise<LabStatus> {
  let objects: readonly Node[] | undefined;
  try {
    objects = (await client?.list(nodeResource, { timeoutMs: API_TIMEOUT_MS }))?.items;
  } catch {
    objects = undefined; // shown as `healthy: false`
  }
  const byName = new Map(objects?.map((n) => [n.metadata?.name, n]));
  return {
    kubeconfig: labFiles(dir).kubeconfig,
    apiserver: { url: apiserverUrl(state), healthy: objects !== undefined },
    nodes: await Promise.all(state.nodes.map((node) => nodeStatus(dir, node, byName.get(node.name)))),
  };
}

async function nodeStatus(dir: string, node: NodeState, object: Node | undefined): Promise<LabNodeStatus> {
  const agentRuns = node.agent !== undefined && (await isRunning(node.agent));
  return {
    name: node.name,
    ready: object?.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false,
    netns: node.netns,
    ip: node.ip,
    podCIDR: object?.spec?.podCIDR ?? null,
    agentPid: agentRuns ? node.agent!.pid : null,
    containerdSocket: nodePaths(dir, node.name).containerdSocket,
  };
}

export function formatLabStatus(status: LabStatus): string {
  const rows = [
    ['NODE', 'READY', 'IP', 'PODS', 'AGENT', 'NETNS'],
    ...status.nodes.map((n) => [
      n.name,
      n.ready ? 'yes' : 'no',
      n.ip,
      n.podCIDR ?? '-',
      n.agentPid === null ? 'stopped' : `pid ${n.agentPid}`,
      n.netns,
    ]),
  ];
  const health = status.apiserver.healthy ? 'healthy' : 'not answering';
  const server = `API server ${status.apiserver.url} (${health})`;
  return [server, formatTable(rows), `export KUBECONFIG=${status.kubeconfig}`].join('\n');
}
