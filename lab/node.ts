// A lab node: what a small machine would be, made of namespaces. Its own network, mounts, processes and host name;
// process 1 holds them together, and when it is killed the kernel ends every process and mount inside, so that
// nothing can be left behind. Inside run a containerd and an agent.
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { AgentError } from '../core/errors.ts';
import { removeCgroupTree } from '../host/cgroup-tree.ts';
import { type Exec, execOk } from '../host/exec.ts';
import {
  childrenOf,
  identifyProcess,
  isRunning,
  type ProcessIdentity,
  signalProcess,
  spawnDetached,
  stopProcess,
  waitForExit,
} from '../host/process.ts';
import { type ContainerdPaths, renderContainerdConfig } from './containerd-config.ts';
import type { NodePaths } from './node-config.ts';
import { CNI_STATE_DIR } from './shared-places.ts';

/** Runs as process 1 until `exec`: arguments are the CNI state directory and the host name. */
const INIT_SCRIPT = `set -e
mount --make-rshared /
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/netns /run/lock
mount --bind "$1" /var/lib/cni
hostname "$2"
echo ready >&3
exec 3>&-
exec catatonit -P
`;

export interface NodeDeps {
  readonly exec: Exec;
  readonly clock: Clock;
}

export interface BootOptions {
  readonly node: string;
  readonly netns: string;
  readonly paths: NodePaths;
}

export interface BootedNode {
  readonly holder: ProcessIdentity;
  readonly init: ProcessIdentity;
}

/** Makes the node's namespaces. The network namespace must exist. */
export async function bootNode(opts: BootOptions, signal: AbortSignal): Promise<BootedNode> {
  const { paths } = opts;
  for (const dir of [
    paths.cniState,
    paths.cniConfDir,
    paths.kubeletRoot,
    paths.podLogs,
    paths.containerLogs,
    paths.pki,
  ]) {
    await mkdir(dir, { recursive: true, mode: 0o755 });
  }
  await mkdir(CNI_STATE_DIR, { recursive: true });
  const process = await spawnDetached(
    'nsenter',
    [
      `--net=/run/netns/${opts.netns}`,
      'unshare',
      ...['--mount', '--propagation', 'slave', '--pid', '--fork', '--kill-child', '--mount-proc', '--uts', '--ipc'],
      ...['sh', '-c', INIT_SCRIPT, 'init', paths.cniState, opts.node],
    ],
    { logFile: path.join(paths.dir, 'init.log') },
  );
  await process.ready(signal);
  const [initPid] = await childrenOf(process.identity.pid);
  const init = initPid === undefined ? undefined : await identifyProcess(initPid);
  if (init === undefined) throw new AgentError(`node ${opts.node} ended while it booted`, { code: 'LAB_NODE_ENDED' });
  return { holder: process.identity, init };
}

/** Starts a program inside the node and returns its identity as the host sees it. */
async function startInside(
  init: ProcessIdentity,
  program: string,
  args: readonly string[],
  opts: { readonly logFile: string; readonly cwd?: string; readonly env?: NodeJS.ProcessEnv },
): Promise<{ identity: ProcessIdentity; ready(signal: AbortSignal): Promise<void> }> {
  const entered = await spawnDetached(
    'nsenter',
    [`--target=${init.pid}`, '--mount', '--pid', '--net', '--uts', '--ipc', '--', program, ...args],
    { ...opts, name: program },
  );
  const identity = await onlyChild(entered.identity);
  if (identity === undefined) {
    throw new AgentError(`${program} ended at once`, { code: 'PROCESS_ENDED', hint: `see ${opts.logFile}` });
  }
  return { identity, ready: entered.ready };
}

/** nsenter forks once it has entered the pid namespace; there is nothing to wait on but the child's appearance. */
async function onlyChild(parent: ProcessIdentity): Promise<ProcessIdentity | undefined> {
  while (await isRunning(parent)) {
    const [pid] = await childrenOf(parent.pid);
    if (pid !== undefined) return await identifyProcess(pid);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return undefined;
}

export async function startContainerd(
  init: ProcessIdentity,
  paths: NodePaths,
  config: Pick<ContainerdPaths, 'cniBinDir' | 'sandboxImage'>,
  deps: NodeDeps,
  signal: AbortSignal,
): Promise<ProcessIdentity> {
  await rm(paths.containerdSocket, { force: true });
  await writeFile(
    paths.containerdConfig,
    renderContainerdConfig({
      root: paths.containerdRoot,
      state: '/run/containerd', // inside the node: a tmpfs of its own
      socket: paths.containerdSocket,
      cniConfDir: paths.cniConfDir,
      ...config,
    }),
  );
  const { identity } = await startInside(init, 'containerd', ['--config', paths.containerdConfig], {
    logFile: paths.containerdLog,
  });
  await waitForSocket(paths.containerdSocket, identity, paths.containerdLog, deps.clock, signal);
  return identity;
}

const CONNECT_RETRY_MS = 20;
const CONTAINERD_START_MS = 30_000;

/** containerd does not say when it serves except to systemd, so its socket is tried until it answers. */
async function waitForSocket(
  socket: string,
  owner: ProcessIdentity,
  logFile: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const endMs = clock.monotonicMs() + CONTAINERD_START_MS;
  while (!(await canConnect(socket))) {
    signal.throwIfAborted();
    if (!(await isRunning(owner)) || clock.monotonicMs() > endMs) {
      throw new AgentError('containerd does not serve its socket', {
        code: 'CONTAINERD_FAILED',
        hint: `see ${logFile}`,
      });
    }
    await clock.sleep(CONNECT_RETRY_MS, signal);
  }
}

async function canConnect(socket: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const connection = connect(socket);
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}

/** Loads a docker-archive or OCI tar into the node's containerd, where the CRI plugin looks for images. */
export async function importImage(exec: Exec, socket: string, tar: string, signal: AbortSignal): Promise<void> {
  const args = ['--address', socket, '--namespace', 'k8s.io', 'images', 'import', tar];
  await execOk(exec, 'ctr', args, { signal, timeoutMs: 120_000 });
}

/** What CPUWeight= in deploy/nodelet.service comes to for a session, which the kernel's scheduler has as a group. */
const AGENT_NICE = '-10';

/** Starts the agent and resolves when it says that its Node is Ready. */
export async function startAgent(
  init: ProcessIdentity,
  program: string,
  args: readonly string[],
  paths: NodePaths,
  signal: AbortSignal,
): Promise<{ identity: ProcessIdentity; ready(signal: AbortSignal): Promise<void> }> {
  signal.throwIfAborted();
  // A lab is on this host: the proxies of its shell do not lead there.
  const env = { ...process.env, NO_PROXY: '*' };
  const started = await startInside(init, program, args, { logFile: paths.agentLog, env });
  // sched(7), autogroup. A kernel without it, or a user who may not, lets the agent wait in line with all others.
  await writeFile(`/proc/${started.identity.pid}/autogroup`, AGENT_NICE).catch(() => {});
  return started;
}

const AGENT_GRACE_MS = 10_000;

/** Stops the agent cleanly and switches the node off. Idempotent. */
export async function stopNode(
  node: { readonly agent?: ProcessIdentity; readonly init?: ProcessIdentity; readonly holder?: ProcessIdentity },
  cgroupRoot: string,
  clock: Clock,
): Promise<void> {
  if (node.agent !== undefined) await stopProcess(node.agent, AGENT_GRACE_MS, clock);
  if (node.init !== undefined) await signalProcess(node.init, 'SIGKILL');
  // The kernel ends the children of process 1 before its holder can reap it: a gone holder means an empty node.
  if (node.holder !== undefined && !(await waitForExit(node.holder, 10_000, clock))) {
    await stopProcess(node.holder, 0, clock);
  }
  await removeCgroupTree(cgroupRoot);
}

/** Ends what no state tells of, because a command was killed when it had just started it. Idempotent. */
export async function endProcessesIn(netns: string, deps: NodeDeps): Promise<void> {
  const { stdout } = await deps.exec('ip', ['netns', 'pids', netns]); // none when it is not there
  const found = await Promise.all(
    stdout
      .split('\n')
      .filter(Boolean)
      .map((pid) => identifyProcess(Number(pid))),
  );
  for (const identity of found) if (identity !== undefined) await stopProcess(identity, 0, deps.clock);
}
