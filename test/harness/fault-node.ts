// The one node of a lab with its parts within reach: the agent, to be killed and started at any moment; the runtime,
// asked behind the agent's back; and what pods leave on a node, wherever they leave it.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { loadKubeconfig } from '../../client/kubeconfig.ts';
import { RestClient } from '../../client/rest.ts';
import { systemClock } from '../../core/clock.ts';
import { errnoOf } from '../../core/errors.ts';
import { silentLog } from '../../core/log.ts';
import { connectRuntime } from '../../cri/remote-runtime.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { cgroupMounts } from '../../host/cgroup-tree.ts';
import { isRunning, type ProcessIdentity, signalProcess, waitForExit } from '../../host/process.ts';
import { labNames } from '../../lab/names.ts';
import { startAgent } from '../../lab/node.ts';
import { type NodePaths, nodePaths } from '../../lab/node-config.ts';
import { findNode, readLabState } from '../../lab/state.ts';
import { type ClusterOptions, TestCluster } from './cluster.ts';

export const NODE = 'node-1';
const EXIT_MS = 10_000;
const READY_MS = 120_000;
const ASK_AGAIN_MS = 100;

export class FaultNode implements AsyncDisposable {
  readonly cluster: TestCluster;
  readonly paths: NodePaths;
  readonly client: RestClient;
  readonly runtime: RuntimeService;
  readonly #closeRuntime: () => void;
  readonly #init: ProcessIdentity;
  /** Program and arguments of the agent. */
  readonly #command: readonly string[];
  #agent: ProcessIdentity;

  private constructor(
    cluster: TestCluster,
    paths: NodePaths,
    client: RestClient,
    node: { init: ProcessIdentity; agent: ProcessIdentity; command: readonly string[] },
  ) {
    this.cluster = cluster;
    this.paths = paths;
    this.client = client;
    this.#init = node.init;
    this.#agent = node.agent;
    this.#command = node.command;
    const endpoint = `unix://${paths.containerdSocket}`;
    const connection = connectRuntime({ endpoint, requestTimeoutMs: 60_000 }, () => {}, systemClock);
    this.runtime = connection.runtime;
    this.#closeRuntime = connection.close;
  }

  /** `opts` of a lab that has this node at least. */
  static async start(opts: ClusterOptions = { nodes: 1 }): Promise<FaultNode> {
    const cluster = await TestCluster.start(opts);
    try {
      const { agent, init } = findNode(await readLabState(cluster.dir), NODE);
      if (agent === undefined || init === undefined) throw new Error('the lab has no agent');
      const cmdline = await readFile(`/proc/${agent.pid}/cmdline`, 'utf8');
      const config = await loadKubeconfig(cluster.kubeconfig);
      const client = new RestClient(
        config,
        { userAgent: 'nodelet-faults', timeoutMs: 30_000 },
        { clock: systemClock, log: silentLog },
      );
      const command = cmdline.split('\0').slice(0, -1);
      return new FaultNode(cluster, nodePaths(cluster.dir, NODE), client, { init, agent, command });
    } catch (err) {
      await cluster[Symbol.asyncDispose]();
      throw err;
    }
  }

  /** Program and arguments with which the agent was started. */
  get command(): readonly string[] {
    return this.#command;
  }

  get agentPid(): number {
    return this.#agent.pid;
  }

  /** The first process of the node, in whose namespaces the others are. */
  get initPid(): number {
    return this.#init.pid;
  }

  async agentRuns(): Promise<boolean> {
    return await isRunning(this.#agent);
  }

  /** SIGKILL, at once. @throws when the agent had ended by itself: it must not. */
  async killAgent(): Promise<void> {
    if (!(await signalProcess(this.#agent, 'SIGKILL'))) {
      throw new Error(`the agent had ended by itself:\n${await this.agentLog()}`);
    }
    if (!(await waitForExit(this.#agent, EXIT_MS, systemClock))) throw new Error('the agent does not end');
  }

  /** Does not wait for it to be ready; the returned function does. `change` makes its arguments others, this once. */
  async startAgent(change = (args: readonly string[]) => args): Promise<() => Promise<void>> {
    const [program, ...first] = this.#command;
    const args = change(first);
    const { identity, ready } = await startAgent(this.#init, program!, args, this.paths, AbortSignal.timeout(READY_MS));
    this.#agent = identity;
    return () => ready(AbortSignal.timeout(READY_MS));
  }

  /** SIGKILL. `lab apiserver start` brings it back. */
  async killApiServer(): Promise<void> {
    const { apiserver } = await readLabState(this.cluster.dir);
    if (apiserver === undefined) throw new Error('the lab has no API server');
    await signalProcess(apiserver, 'SIGKILL');
    if (!(await waitForExit(apiserver, EXIT_MS, systemClock))) throw new Error('the API server does not end');
  }

  /** For the next start of the agent. */
  async changeAgentConfig(change: (text: string) => string): Promise<void> {
    await writeFile(this.paths.agentConfig, change(await readFile(this.paths.agentConfig, 'utf8')));
  }

  async agentLog(): Promise<string> {
    return (await readFile(this.paths.agentLog, 'utf8').catch(() => '')).slice(-6000);
  }

  /** What pods have on the node now, one line per thing; empty when no pod was ever here. */
  async leftovers(): Promise<string[]> {
    const parts = await Promise.all([
      this.#runtimeObjects(),
      this.#mounts(),
      this.#cgroups(),
      this.#network(),
      listed('pod directory', path.join(this.paths.kubeletRoot, 'pods')),
      listed('volumes in memory', `/proc/${this.#init.pid}/root${path.join(this.paths.kubeletRoot, 'volatile')}`),
      listed('log directory', this.paths.podLogs),
      listed('log link', this.paths.containerLogs),
      listed('network namespace', `/proc/${this.#init.pid}/root/run/netns`),
    ]);
    return parts.flat().sort();
  }

  /** Waits until no pod has left anything: the last steps of a pod's end are nobody's to announce. */
  async untilClean(timeoutMs: number): Promise<void> {
    const left = await until(
      () => this.leftovers(),
      (lines) => lines.length === 0,
      timeoutMs,
    );
    if (left.length > 0) throw new Error(`left on the node:\n${left.join('\n')}\nagent:\n${await this.agentLog()}`);
  }

  async #runtimeObjects(): Promise<string[]> {
    const [sandboxes, containers, tasks] = await Promise.all([
      this.runtime.listPodSandboxes(),
      this.runtime.listContainers(),
      this.cluster.ctr(NODE, 'tasks', 'list', '--quiet'),
    ]);
    return [
      ...sandboxes.map((s) => `sandbox ${s.id} of ${s.metadata?.name} ${s.state}`),
      ...containers.map((c) => `container ${c.id} ${c.metadata?.name} ${c.state}`),
      ...tasks
        .split('\n')
        .filter((id) => id !== '')
        .map((id) => `task ${id}`),
    ];
  }

  async #mounts(): Promise<string[]> {
    const text = await readFile(`/proc/${this.#init.pid}/mountinfo`, 'utf8');
    return text
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .filter((at) => at.startsWith(`${this.paths.kubeletRoot}/`) || /^\/run\/(containerd\/|netns\/cni-)/.test(at))
      .filter((at) => at !== path.join(this.paths.kubeletRoot, 'volatile')) // one for the node, not for a pod
      .map((at) => `mount ${at}`);
  }

  async #cgroups(): Promise<string[]> {
    const root = `${labNames(this.cluster.dir).cgroupRoot}/${NODE}`;
    const found: string[] = [];
    for (const mount of await cgroupMounts()) {
      for (const dir of await directoriesBelow(path.join(mount, root))) {
        if (/\/pod[0-9a-f]{8}[^/]*$/.test(dir)) found.push(`cgroup ${dir}`);
      }
    }
    return found;
  }

  /** Addresses of the pod network that are taken, links to pods, rules of host ports. */
  async #network(): Promise<string[]> {
    const networks = path.join(this.paths.cniState, 'networks');
    const leases: string[] = [];
    for (const network of await namesIn(networks)) {
      const names = await namesIn(path.join(networks, network));
      leases.push(...names.filter((n) => /^[0-9a-f.:]+$/.test(n)).map((n) => `address ${network} ${n}`));
    }
    const [links, rules] = await Promise.all([
      this.cluster.inNode(NODE, 'ip', '-brief', 'link', 'show', 'type', 'veth'),
      this.cluster.inNode(NODE, 'iptables-save', '-t', 'nat'),
    ]);
    return [
      ...leases,
      ...(await namesIn(path.join(this.paths.cniState, 'results'))).map((n) => `network result ${n}`),
      ...[...links.matchAll(/^(veth\S+)/gm)].map((m) => `link ${m[1]}`),
      ...[...rules.matchAll(/^-A (CNI-DN-.*)$/gm)].map((m) => `rule ${m[1]}`),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.closeIdleConnections();
    this.#closeRuntime();
    await this.cluster[Symbol.asyncDispose]();
  }
}

/** Asks `read` again and again until `good` says so of its answer or time is up; resolves with the last answer. */
export async function until<T>(read: () => Promise<T>, good: (answer: T) => boolean, timeoutMs: number): Promise<T> {
  const endMs = Date.now() + timeoutMs;
  for (;;) {
    const answer = await read();
    if (good(answer) || Date.now() > endMs) return answer;
    await systemClock.sleep(ASK_AGAIN_MS);
  }
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return [];
    throw err;
  }
}

async function listed(kind: string, dir: string): Promise<string[]> {
  return (await namesIn(dir)).map((name) => `${kind} ${name}`);
}

async function directoriesBelow(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []); // it may be removed meanwhile
  const found: string[] = [];
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const below = path.join(dir, entry.name);
    found.push(below, ...(await directoriesBelow(below)));
  }
  return found;
}
