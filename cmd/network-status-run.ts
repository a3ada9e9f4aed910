// Does what `nodelet network status` was asked for: reads kernel and API server, probes the peers, prints.
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Node } from '../api/kinds.ts';
import { nodes as nodeResource } from '../api/resources.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { RestClient } from '../client/rest.ts';
import { readKernelNetwork } from '../cni/status/kernel-network.ts';
import {
  expectedPeers,
  findOwnNode,
  formatNetworkStatus,
  networkStatus,
  readSubnetEnv,
  type SubnetEnv,
} from '../cni/status/network-status.ts';
import { probe } from '../cni/status/probe.ts';
import { systemClock } from '../core/clock.ts';
import { errnoOf, errorMessage } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { systemExec } from '../host/exec.ts';
import { execInherited } from '../host/exec-inherited.ts';
import { existingNetns } from './named-netns.ts';
import type { NetworkStatusFlags } from './network-status.ts';
import { stopSignal } from './signals.ts';

/** Of the list of Nodes, ms: the kernel's own state is shown without it. */
const API_TIMEOUT_MS = 10_000;

/** Prints the status and returns the exit code: 1 when something is not as it should be. */
export async function runNetworkStatus(flags: NetworkStatusFlags): Promise<number> {
  if (flags.netns !== undefined) return await runInside(existingNetns(flags.netns));
  const [kernel, subnets, told] = await Promise.all([
    readKernelNetwork(systemExec, 'cni0', stopSignal()),
    readOwnSubnets(flags.subnetFile),
    flags.kubeconfig === undefined ? { nodes: undefined, warnings: [] } : listNodes(flags.kubeconfig),
  ]);
  const node = told.nodes === undefined ? undefined : findOwnNode(told.nodes, kernel, hostname());
  const expected = expectedPeers(kernel, told.nodes, node, subnets);
  const peers = await Promise.all(
    expected.map(async ({ target, ...peer }) => ({
      ...peer,
      probe: target === null ? null : await probe(target, flags.timeoutMs, systemClock),
    })),
  );
  const status = networkStatus(kernel, { node, subnets }, peers, told.warnings);
  console.log(flags.output === 'json' ? JSON.stringify(status, null, 2) : formatNetworkStatus(status));
  return status.healthy ? 0 : 1;
}

async function readOwnSubnets(file: string): Promise<SubnetEnv> {
  try {
    return readSubnetEnv(await readFile(file, 'utf8'));
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return { networks: [], subnets: [] };
    throw err;
  }
}

interface Told {
  readonly nodes: readonly Node[] | undefined;
  readonly warnings: readonly string[];
}

async function listNodes(kubeconfig: string): Promise<Told> {
  const config = await loadKubeconfig(kubeconfig);
  const client = new RestClient(config, { userAgent: 'nodelet-status' }, { clock: systemClock, log: silentLog });
  try {
    const { items } = await client.list(nodeResource, { timeoutMs: API_TIMEOUT_MS });
    return { nodes: items, warnings: [] };
  } catch (err) {
    const warning = `the API server cannot be asked (${errorMessage(err)}); peers are those that the kernel knows`;
    return { nodes: undefined, warnings: [warning] };
  } finally {
    client.closeIdleConnections();
  }
}

/** The same command inside the namespace: sockets are where their process is. */
async function runInside(netns: string): Promise<number> {
  const [, script = '', ...args] = process.argv;
  const at = args.findIndex((a) => a === '--netns' || a.startsWith('--netns='));
  args.splice(at, args[at] === '--netns' ? 2 : 1);
  const command = ['netns', 'exec', netns, process.execPath, ...process.execArgv, script, ...args];
  return await execInherited('ip', command);
}
