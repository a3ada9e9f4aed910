// The one executable: sub-command → module, exit code, signals, nothing else. Every sub-command is imported when it is
// asked for, so that the agent does not pay for the lab.
import { Command, CommanderError } from 'commander';
import { printFailure } from './failure.ts';
import { versionText } from './version.ts';

/** What every module of a sub-command exports as `addCommand`. */
export type AddCommand = (program: Command) => void;

const modules: Readonly<Record<string, () => Promise<{ readonly addCommand: AddCommand }>>> = {
  agent: () => import('./agent.ts'),
  kubelet: () => import('./agent.ts'),
  proxy: () => import('./agent.ts'),
  network: () => import('./agent.ts'),
  apiserver: () => import('./apiserver.ts'),
  lab: () => import('./lab.ts'),
  doctor: () => import('./doctor.ts'),
  version: () => import('./version.ts'),
};

const FIRST_STEPS = `
  nodelet lab up                    a cluster on this machine, to try things out
  nodelet doctor                    what this host lacks to be a node, and the command that mends it
  nodelet agent --kubeconfig=…      this host as a node of a cluster
  nodelet COMMAND --help            what a command takes

A command that cannot go on prints what is at fault and what to do, and ends with 1; docs/errors.md lists all errors.`;

async function main(argv: readonly string[]): Promise<number> {
  const program = new Command('nodelet')
    .description('The node of a Kubernetes cluster in one daemon: kubelet, service proxy and pod network.')
    .version(versionText(), '--version')
    .exitOverride()
    .enablePositionalOptions()
    .configureHelp({ showGlobalOptions: true })
    // Before the commands are added, which take it over.
    .configureOutput({ outputError: (text, write) => write(inOneLine(text)) })
    .addHelpText('after', FIRST_STEPS);
  const named = modules[argv[0] ?? ''];
  // For help on everything, all modules say what they have; else only the one that is asked for is loaded.
  const wanted = named === undefined ? [...new Set(Object.values(modules))] : [named];
  const loaded = new Set((await Promise.all(wanted.map((load) => load()))).map((m) => m.addCommand));
  for (const addCommand of loaded) addCommand(program);
  pointToHelp(program, 'nodelet');
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (err) {
    if (err instanceof CommanderError) return err.exitCode; // help and usage errors have been printed
    printFailure(err);
    return 1;
  }
}

function inOneLine(usageError: string): string {
  return usageError.replace(/^error: /, 'nodelet: ').replace(/\n\(Did you mean (.+\?)\)/, '; did you mean $1');
}

/** Who uses a command wrongly is told where its use is told. */
function pointToHelp(command: Command, name: string): void {
  command.showHelpAfterError(`  see ${name} --help`);
  for (const inner of command.commands) pointToHelp(inner, `${name} ${inner.name()}`);
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
