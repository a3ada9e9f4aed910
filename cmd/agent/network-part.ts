// The pod network: from the configuration and the host's interfaces to a PodNetwork that runs.
import { networkInterfaces } from 'node:os';
import { PodNetwork } from '../../cni/network.ts';
import { AgentError } from '../../core/errors.ts';
import { type Exec, execOk } from '../../host/exec.ts';
import { networkFollower } from '../../host/ip-monitor.ts';
import { defaultRouteAddress } from '../../host/network-interfaces.ts';
import type { AgentContext } from './shared.ts';

/** Undefined when the backend is `none`: somebody else makes the pod network. */
export async function createNetworkPart(ctx: AgentContext): Promise<PodNetwork | undefined> {
  const { network, nodelet, nodeName, node } = ctx.config;
  if (network.backend === 'none') return undefined;
  if (network.clusterCidr === '') {
    throw new AgentError('the pod network needs the range of all pods', {
      code: 'CONFIG_INVALID',
      hint: 'give it with --cluster-cidr, or take the part away with --network-backend=none',
    });
  }
  return new PodNetwork(
    {
      nodeName,
      network: network.clusterCidr,
      backend: network.backend,
      vni: network.vni,
      port: network.port,
      external: await findInterface(ctx.exec, node.nodeIps[0]),
      cniConfDir: nodelet.cniConfDir,
      subnetFile: nodelet.subnetFile,
      bridge: 'cni0',
    },
    {
      client: ctx.client,
      nodes: ctx.allNodes().store,
      exec: ctx.exec,
      sysctl: ctx.sysctl,
      follow: networkFollower(),
      clock: ctx.clock,
      log: ctx.log,
    },
  );
}

/** The interface that has the node's address; without one given, that of the default route. */
async function findInterface(
  exec: Exec,
  nodeIp: string | undefined,
): Promise<{ device: string; ip: string; mtu: number }> {
  const ip = nodeIp ?? (await defaultRouteAddress(4));
  const device = Object.entries(networkInterfaces()).find(([, list]) => list?.some((a) => a.address === ip))?.[0];
  if (ip === undefined || device === undefined) {
    throw new AgentError(`no network interface of this host has the address ${ip ?? 'of a default route'}`, {
      code: 'NODE_ADDRESS',
      hint: 'give an address of this host with --node-ip',
    });
  }
  // Not from /sys: where only the network namespace is our own, /sys still shows the host's devices.
  const [link] = JSON.parse(await execOk(exec, 'ip', ['-j', 'link', 'show', 'dev', device])) as { mtu: number }[];
  return { device, ip, mtu: link?.mtu ?? 1500 };
}
