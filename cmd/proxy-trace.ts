// `nodelet proxy trace`: which rules a connection meets, and where it can arrive. What it does is in proxy/trace and is
// loaded when it is asked for.
import { type Command, Option } from 'commander';
import { type OutputFormat, outputOption } from './options.ts';

export interface TraceFlags {
  readonly to?: string;
  readonly from?: string;
  readonly protocol?: 'tcp' | 'udp' | 'sctp';
  readonly kubeconfig?: string;
  readonly netns?: string;
  readonly output: OutputFormat;
}

const NOTES = `
Follows the first packet of a connection through the rules that are in the kernel now, of iptables and nftables, whoever
wrote them, and prints every rule or map entry that it meets. Where chance decides, every branch is shown with its share.
Nothing is sent and nothing is changed.

  nodelet proxy trace web                       every address of Service default/web, from this node
  nodelet proxy trace shop/front:http --from pod    one port, from a pod on this node
  nodelet proxy trace --to 10.96.0.10:53 --protocol udp --from 10.244.1.7
  nodelet proxy trace web -o json | jq '.traces[].ways[].endpoint'

A Service's addresses are asked of the API server (--kubeconfig, or the variable KUBECONFIG). Without one they are read
from the comments of the rules, which do for any Service that the proxy has written rules for.

It looks at the network namespace it runs in. For a node of a lab, give the namespace that "nodelet lab status" shows:

  nodelet proxy trace web --netns NETNS
  nsenter -t PID -n nodelet proxy trace web     the same for any process, such as an agent in a container`;

/** Below `nodelet proxy`. */
export function addTraceCommand(proxy: Command): void {
  proxy
    .enablePositionalOptions()
    .command('trace')
    .description('Show which rules a connection to a Service meets on this node, and which endpoints it can reach.')
    .configureHelp({ showGlobalOptions: false }) // those of the proxy itself mean nothing here
    .argument('[service]', 'NAME, NAMESPACE/NAME or either with :PORT (number or name)')
    .option('--to <ip:port>', 'an address instead of a Service; [ADDRESS]:PORT for IPv6')
    .option(
      '--from <client>',
      'who connects: node, pod, outside, or an IP address (default: node, and a table of all three)',
    )
    .addOption(
      new Option('--protocol <protocol>', 'default: that of the Service, or tcp').choices(['tcp', 'udp', 'sctp']),
    )
    .option('--kubeconfig <file>', 'where to ask for the Service', process.env.KUBECONFIG)
    .option('--netns <name>', 'look into this named network namespace')
    .addOption(outputOption())
    .addHelpText('after', NOTES)
    .action(async (service: string | undefined, flags: TraceFlags) => {
      const { runTrace } = await import('./proxy-trace-run.ts');
      console.log(await runTrace(service, flags));
    });
}
