// `nodelet network status`: this node's part of the pod network, and whether the others answer. What it does is in
// cni/status and is loaded when it is asked for.
import type { Command } from 'commander';
import { type OutputFormat, outputOption, wholeNumber } from './options.ts';

export interface NetworkStatusFlags {
  readonly kubeconfig?: string;
  readonly netns?: string;
  readonly subnetFile: string;
  readonly timeoutMs: number;
  readonly output: OutputFormat;
}

const NOTES = `
Reads the VXLAN device, routes, ARP and FDB entries from the kernel, holds them against what the nodes publish, and
connects to every other node at once: through the tunnel with VXLAN, directly with host-gw. Nothing is changed. A node
answers when it accepts or refuses a connection to port 10250. Works on nodes with real flanneld as well.

  nodelet network status --kubeconfig /etc/kubernetes/kubelet.conf
  nodelet network status -o json | jq '.peers[] | select(.probe.answers | not)'
  nodelet network status --netns NETNS          a node of a lab, as "nodelet lab status" shows it

Without an API server (--kubeconfig, or the variable KUBECONFIG) the peers are those that the kernel has routes for, and
they have no names. Exits with 1 when a peer does not answer or an entry is missing.`;

/** Below `nodelet network`. */
export function addNetworkStatusCommand(network: Command): void {
  network
    .enablePositionalOptions()
    .command('status')
    .description('Show the subnet and backend of this node, its peers, and whether each of them answers.')
    .configureHelp({ showGlobalOptions: false })
    .option('--kubeconfig <file>', 'where to ask for the Nodes', process.env.KUBECONFIG)
    .option('--netns <name>', 'run in this named network namespace')
    .option('--subnet-file <file>', 'where the node keeps its subnet', '/run/flannel/subnet.env')
    .option('--timeout-ms <ms>', 'how long a peer has to answer', wholeNumber(10, 60_000), 2_000)
    .addOption(outputOption())
    .addHelpText('after', NOTES)
    .action(async (flags: NetworkStatusFlags) => {
      const { runNetworkStatus } = await import('./network-status-run.ts');
      process.exitCode = await runNetworkStatus(flags);
    });
}
