// `nodelet lab`: a cluster on this machine.
import { existsSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from '../api/meta.ts';
import { nodes as nodeResource } from '../api/resources.ts';
import type { ApiClient } from '../client/api-client.ts';
import { isNotFound } from '../client/errors.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { RestClient } from '../client/rest.ts';
import { systemClock } from '../core/clock.ts';
import { AgentError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { withoutUndefined } from '../core/without-undefined.ts';
import { systemExec } from '../host/exec.ts';
import { execInherited } from '../host/exec-inherited.ts';
import { Lab } from '../lab/lab.ts';
import { canonicalDirectory } from '../lab/lab-directory.ts';
import { preflight } from '../lab/preflight.ts';
import { createProgress, type Progress, silentProgress } from '../lab/progress.ts';
import { readLabState } from '../lab/state.ts';
import { formatLabStatus, type LabStatus, readLabStatus } from '../lab/status.ts';
import { gateFlagFault, resolveGates } from './config/feature-gates.ts';
import { parseBool, splitCommas } from './config/values.ts';
import { directory, type OutputFormat, outputOption, wholeNumber } from './options.ts';
import { stopSignal, surviveLostOutput, untilStopped } from './signals.ts';

const PROGRAM = path.resolve(import.meta.dirname, '..', 'bin', 'nodelet');
const DEFAULT_DIR = '/var/lib/nodelet-lab';

interface DirOption {
  readonly dir: string;
}

interface UpFlags extends DirOption {
  readonly nodes: number;
  readonly port: number;
  readonly detach?: true;
  readonly proxyMode?: string;
  readonly networkBackend?: string;
  readonly featureGates?: string;
  readonly v?: number;
  readonly apiserverArg: readonly string[];
}

export function addCommand(program: Command): void {
  const lab = program
    .command('lab')
    .description('A Kubernetes cluster on this machine: an API server and N nodes, each in namespaces of its own.')
    .enablePositionalOptions()
    // What a node's files look like must not depend on the shell: with 077, no pod could run as another user than root.
    .hook('preAction', () => {
      process.umask(0o022);
    });
  const add = (name: string, description: string): Command =>
    lab.command(name).description(description).addOption(dirOption());

  add('up', 'Bring up a lab. Runs in the foreground and takes it down on Ctrl-C, unless --detach is given.')
    .option('--nodes <n>', 'how many nodes', wholeNumber(1, 200), 2)
    .option('--port <port>', 'port of the API server', wholeNumber(1, 65_535), 6443)
    .option('--detach', 'return when all nodes are Ready and leave the lab running')
    .addOption(new Option('--proxy-mode <mode>', 'how nodes route Services').choices(['iptables', 'nftables']))
    .addOption(
      new Option('--network-backend <backend>', 'how pods of different nodes reach each other').choices([
        'vxlan',
        'host-gw',
        'none',
      ]),
    )
    .option('--feature-gates <gates>', 'e.g. Name=true,Other=false (handed to the agents)', featureGates)
    .option('--v <level>', 'log verbosity of the agents, 0 to 10', wholeNumber(0, 10))
    .option('--apiserver-arg <flag>', 'a further flag for the API server; may be repeated', collect, [])
    .action(up);
  add('status', 'Show the API server and the nodes.').addOption(outputOption()).action(status);
  add('down', 'Take the lab down and remove everything it made.').action(down);
  add('load <image.tar>', 'Import an image archive (docker save, or OCI) into the nodes.')
    .option('--node <name>', 'only into this node')
    .action(load);
  lab
    .command('kubectl')
    .description("Run kubectl with the lab's kubeconfig: nodelet lab kubectl [--dir DIR] -- get pods -A")
    .addOption(dirOption())
    .allowUnknownOption()
    .passThroughOptions()
    .argument('[args...]')
    .action(kubectl);

  const apiserver = lab.command('apiserver').description('Stop and start the API server of a running lab.');
  const addApiserver = (name: string, description: string): Command =>
    apiserver.command(name).description(description).addOption(dirOption());
  addApiserver('stop', 'Stop the API server alone. Nodes and pods go on.').action(({ dir }: DirOption) =>
    labIn(dir).stopApiserver(stopSignal()),
  );
  addApiserver('start', 'Start it again, with what it had stored; resolves when it serves.').action(
    ({ dir }: DirOption) => labIn(dir).startApiserver(stopSignal()),
  );

  const node = lab.command('node').description('Add, stop, start and remove nodes of a running lab.');
  const addNode = (name: string, description: string): Command =>
    node.command(name).description(description).addOption(dirOption());
  addNode('add [name]', 'Add a node; resolves when it is Ready.').action(
    async (name: string | undefined, { dir }: DirOption) => {
      const lab = labIn(dir);
      await lab.addNode(name, stopSignal());
      await routePods(lab);
    },
  );
  addNode('stop <name>', 'Switch a node off, with all its pods. Its disk stays.').action(
    (name: string, { dir }: DirOption) => labIn(dir).stopNode(name, stopSignal()),
  );
  addNode('start <name>', 'Start what does not run of a node: the machine, its containerd, its agent.').action(
    async (name: string, { dir }: DirOption) => {
      const lab = labIn(dir);
      await lab.startNode(name, stopSignal());
      await routePods(lab);
    },
  );
  addNode('rm <name>', 'Stop a node, delete its Node object and remove its disk.').action(
    async (name: string, { dir }: DirOption) => {
      await readLabState(dir); // says that there is none, where there is none
      const client = await labClient(dir);
      await labIn(dir).removeNode(name, (n) => deleteNode(client, n), stopSignal());
    },
  );
}

/** Already canonical for who takes it: so is whatever is named after it. */
function dirOption(): Option {
  return new Option('--dir <dir>', 'directory of the lab')
    .argParser((text) => canonicalDirectory(directory(text)))
    .default(canonicalDirectory(DEFAULT_DIR));
}

async function up(flags: UpFlags): Promise<void> {
  const { dir, proxyMode, networkBackend, featureGates, v } = flags;
  await preflight({ dir, port: flags.port, isLabAddress: (ip) => ip.startsWith('172.29.'), proxyMode });
  surviveLostOutput();
  const progress = createProgress(process.stdout, systemClock);
  const lab = labIn(dir, progress);
  const stop = stopSignal();
  const startMs = systemClock.monotonicMs();
  await lab.up(
    {
      nodes: flags.nodes,
      port: flags.port,
      agentOptions: withoutUndefined({ proxyMode, networkBackend, featureGates, verbosity: v }),
      apiserverArguments: flags.apiserverArg,
      prepareCluster: () => grantNodeRights(dir),
    },
    stop,
  );
  try {
    const now = await routePods(lab);
    progress.note(`\nThe lab is up (${((systemClock.monotonicMs() - startMs) / 1000).toFixed(1)} s).`);
    progress.note(formatLabStatus(now));
    if (flags.detach) {
      progress.note(
        `\nTake it down with: ${path.relative('.', PROGRAM)} lab down${dir === canonicalDirectory(DEFAULT_DIR) ? '' : ` --dir ${dir}`}`,
      );
      return;
    }
    progress.note('\nCtrl-C takes it down.');
    await untilStopped(stop);
  } finally {
    if (!flags.detach) {
      await progress.step('lab down', () => labIn(dir, silentProgress).down(AbortSignal.timeout(120_000)));
    }
  }
}

async function down(opts: DirOption): Promise<void> {
  const { dir } = opts;
  const progress = createProgress(process.stderr, systemClock);
  if (statSync(dir, { throwIfNoEntry: false })?.isDirectory() !== true) {
    progress.note(`there is no lab in ${dir}`); // and no reason to make the directory now
    return;
  }
  await progress.step('lab down', () => labIn(dir, silentProgress).down(stopSignal()));
}

async function load(tar: string, opts: DirOption & { node?: string }): Promise<void> {
  const file = path.resolve(tar);
  if (!existsSync(file)) {
    throw new AgentError(`there is no file ${file}`, {
      code: 'IMAGE_ARCHIVE_MISSING',
      hint: 'write one with `docker save -o image.tar IMAGE`',
    });
  }
  await labIn(opts.dir).load(file, opts.node, stopSignal());
}

async function status(opts: DirOption & { output: OutputFormat }): Promise<void> {
  const now = await currentStatus(opts.dir);
  console.log(opts.output === 'json' ? JSON.stringify(now, null, 2) : formatLabStatus(now));
}

/** Lets the host, and so the API server's proxy, reach the pods of the nodes that there are now. */
async function routePods(lab: Lab): Promise<LabStatus> {
  const now = await currentStatus(lab.dir);
  for (const { name, podCIDR } of now.nodes) if (podCIDR !== null) await lab.routePods(name, podCIDR);
  return now;
}

async function currentStatus(dir: string): Promise<LabStatus> {
  const state = await readLabState(dir);
  const client = await labClient(dir).catch(() => undefined); // a lab that is half up has no kubeconfig yet
  return await readLabStatus(dir, state, client);
}

async function kubectl(args: readonly string[], opts: DirOption): Promise<void> {
  const { dir } = opts;
  await readLabState(dir);
  const env = { ...process.env, KUBECONFIG: path.join(dir, 'kubeconfig'), NO_PROXY: '*' };
  process.exitCode = await execInherited('kubectl', args, env);
}

function labIn(dir: string, progress: Progress = createProgress(process.stdout, systemClock)): Lab {
  return new Lab(dir, { exec: systemExec, clock: systemClock, progress, self: [PROGRAM] });
}

async function labClient(dir: string): Promise<RestClient> {
  // A lab is on this host: the proxies of its shell do not lead there.
  const config = await loadKubeconfig(path.join(dir, 'kubeconfig'), undefined, {});
  return new RestClient(config, { userAgent: 'nodelet-lab' }, { clock: systemClock, log: silentLog });
}

/** Applies deploy/rbac.yaml, as an administrator does once per cluster. */
async function grantNodeRights(dir: string): Promise<void> {
  const client = await labClient(dir);
  const file = path.join(import.meta.dirname, '..', 'deploy', 'rbac.yaml');
  for (const document of parseAllDocuments(await readFile(file, 'utf8'))) {
    const object = document.toJS() as KubeObject;
    const plural = `${object.kind?.toLowerCase() ?? ''}s`;
    const url = `/apis/${object.apiVersion ?? ''}/${plural}`;
    await client.raw('POST', url, { body: JSON.stringify(object), contentType: 'application/json' });
  }
}

async function deleteNode(client: ApiClient, name: string): Promise<void> {
  try {
    await client.delete(nodeResource, { name });
  } catch (err) {
    if (!isNotFound(err)) throw err;
  }
}

/** What agents would refuse is refused before any is started. */
function featureGates(text: string): string {
  const fault = gateFlagFault([text]);
  if (fault !== undefined) throw new InvalidArgumentError(`${fault}.`);
  const pairs = splitCommas([text]).map((pair) => pair.split('=').map((part) => part.trim()));
  const faults: string[] = [];
  const set = Object.fromEntries(pairs.map(([name = '', value = '']) => [name, parseBool(value)!]));
  resolveGates(set, (_, problem) => faults.push(problem));
  if (faults.length > 0) throw new InvalidArgumentError(`${faults.join('; ')}.`);
  return text;
}

const collect = (value: string, all: readonly string[]): string[] => [...all, value];
