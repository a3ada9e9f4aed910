// Flags on the command line: registered with commander, read by pflag's rules (`_` is `-`, switches take `=false`), and
// brought to the same values that files are read into.
import type { Command, Option } from 'commander';
import { FLAGS, type Flag, type Which } from './flag-table.ts';
import { type Report, suggestion } from './values.ts';

/** What commander's `opts()` gives: every occurrence of each flag, by camel-cased name. */
export type FlagTexts = Readonly<Record<string, readonly string[] | undefined>>;

/** One flag that was given, and what it came to. */
export interface GivenFlag {
  readonly flag: Flag;
  readonly value: unknown;
}

const NOTES: Readonly<Record<Which, string>> = {
  agent: `
The agent runs the kubelet, the service proxy and the pod network in one process. A flag wins over --config-dir, which
wins over --config, which wins over the default. Every flag of the kubelet is known; those that do nothing here yet are
named in one warning. Without --config and --config-dir the kubelet's old defaults hold (anonymous requests allowed);
give a file on any node that others can reach.

  nodelet agent --config=/etc/nodelet/agent.yaml --kubeconfig=/etc/kubernetes/kubelet.conf --cluster-cidr=10.244.0.0/16`,
  kubelet: `
Takes the files and flags of the kubelet. A flag wins over --config-dir, which wins over --config.

  nodelet kubelet --config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf`,
  proxy: `
Takes the file and flags of kube-proxy. A flag that is given wins over the file.

  nodelet proxy --kubeconfig=/etc/kubernetes/proxy.conf --cluster-cidr=10.244.0.0/16`,
  network: `
Makes the pod network as flanneld does, from the podCIDR of the Nodes, and takes its flags, which may be given as
$FLANNELD_<NAME>, and its net-conf.json.

  nodelet network --kubeconfig=/etc/kubernetes/network.conf --cluster-cidr=10.244.0.0/16`,
};

/** Registers every flag of a sub-command; those that do nothing are known but not listed by --help. */
export function addAgentOptions(command: Command, which: Which): void {
  const flags = FLAGS[which];
  for (const flag of flags) {
    const option = command.createOption(
      `${flag.name === 'v' ? '-v, ' : ''}--${flag.name} ${flag.type.isSwitch ? '[bool]' : '<value>'}`,
      flag.help ?? '',
    );
    option.argParser((text: string, before: readonly string[] | undefined) => [...(before ?? []), text]);
    if (which === 'network') setFromEnvironment(option, flag.name);
    command.addOption(flag.help === undefined ? option.hideHelp() : option);
  }
  command.addHelpText('after', NOTES[which]);
  const names = flags.map((flag) => `--${flag.name}`);
  const parse = command.parseOptions.bind(command);
  command.parseOptions = (args) => parse(normalizeArguments(args, flags));
  command.showSuggestionAfterError(false); // commander's own knows only the flags that --help lists
  command.configureOutput({ outputError: (text, write) => write(describeUsageError(text, names)) });
  command.showHelpAfterError(`  see nodelet ${which} --help`);
}

/** As with flanneld, a flag that is not given is looked for as `$FLANNELD_<NAME>`: its units keep the password of etcd there. */
function setFromEnvironment(option: Option, name: string): void {
  const variable = `FLANNELD_${name.toUpperCase().replaceAll('-', '_')}`;
  if (process.env[variable]) option.env(variable); // an empty one counts as none
}

/** pflag's spelling in commander's: `--node_ip x` → `--node-ip x`, `--register-node` → `--register-node=true`. */
function normalizeArguments(args: readonly string[], flags: readonly Flag[]): string[] {
  const known = new Map(flags.map((flag) => [flag.name, flag]));
  const result: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--') return [...result, ...args.slice(i)];
    const match = /^--([^=]+)(=.*)?$/s.exec(arg.replace(/^-v=/, '--v='));
    const name = match?.[1]?.replaceAll('_', '-');
    const flag = known.get(name ?? '');
    if (flag === undefined) result.push(arg);
    else if (match![2] !== undefined) result.push(`--${name}${match![2]}`);
    else if (flag.type.isSwitch) result.push(`--${name}=true`);
    else result.push(`--${name}`, ...args.slice(++i, i + 1)); // the value, even when it starts with a dash
  }
  return result;
}

function describeUsageError(text: string, names: readonly string[]): string {
  const unknown = /unknown option '(--?[^'=]+)/.exec(text)?.[1];
  if (unknown === undefined) return text.replace(/^error: /, 'nodelet: ');
  return `nodelet: unknown flag ${unknown}${suggestion(unknown.replaceAll('_', '-'), names)}\n`;
}

/** Reads the flags that were given; faults are reported as `--name=value: expected …`. */
export function readFlags(which: Which, texts: FlagTexts, fault: (problem: string) => void): Map<string, GivenFlag> {
  const given = new Map<string, GivenFlag>();
  for (const flag of FLAGS[which]) {
    const all = texts[attributeName(flag.name)];
    if (all === undefined) continue;
    let failed = false;
    const report: Report = () => {
      failed = true;
    };
    const value = flag.type.read(flag.type.fromFlag(all), '', report);
    if (failed)
      fault(`--${flag.name}=${all.join(',')}: ${flag.type.flagFault?.(all) ?? `expected ${flag.type.expected}`}`);
    else given.set(flag.name, { flag, value });
  }
  return given;
}

/** The name under which commander keeps an option: `node-ip` → `nodeIp`. */
export function attributeName(flag: string): string {
  return flag.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}
