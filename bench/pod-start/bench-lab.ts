// A lab with one node for one benchmark, taken down at its end however it ends; and a clock on its steps.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { nodes } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { loadKubeconfig } from '../../client/kubeconfig.ts';
import { RestClient } from '../../client/rest.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { stopProcess } from '../../host/process.ts';
import { Lab } from '../../lab/lab.ts';
import { type LabAddresses, labAddresses, labNames } from '../../lab/names.ts';
import { type NodePaths, nodePaths } from '../../lab/node-config.ts';
import type { Progress } from '../../lab/progress.ts';
import { readLabState } from '../../lab/state.ts';
import { cpuSecondsOf } from '../process-facts.ts';

export const NODE = 'node-1';
const PROGRAM = path.resolve(import.meta.dirname, '..', '..', 'bin', 'nodelet');

export class BenchLab implements AsyncDisposable {
  readonly #lab: Lab;
  readonly #steps = new Map<string, number>();
  readonly dir: string;
  readonly paths: NodePaths;

  constructor(dir: string) {
    const progress: Progress = { step: (label, work) => this.#timed(label, work), note: () => {} };
    this.dir = path.resolve(dir);
    this.paths = nodePaths(this.dir, NODE);
    this.#lab = new Lab(this.dir, { exec: systemExec, clock: systemClock, progress, self: [PROGRAM] });
  }

  /** Through the program itself, as a user would. What a failed or aborted start left is taken down again. */
  static async start(dir: string, port: number, signal: AbortSignal): Promise<BenchLab> {
    const args = ['lab', 'up', '--detach', '--nodes', '1', '--dir', path.resolve(dir), '--port', String(port)];
    await execOk(systemExec, PROGRAM, args, { signal, timeoutMs: 120_000 });
    return new BenchLab(dir);
  }

  /** From the start of an agent on a fresh machine to its Node being Ready, ms. The second node is removed again. */
  async timeFirstStart(client: ApiClient, signal: AbortSignal): Promise<number> {
    const name = await this.#lab.addNode('fresh', signal);
    await this.#lab.removeNode(name, (node) => client.delete(nodes, { name: node }), signal);
    return this.#stepMs(`${name} Ready`);
  }

  async client(): Promise<RestClient> {
    const config = await loadKubeconfig(path.join(this.dir, 'kubeconfig'));
    return new RestClient(config, { userAgent: 'nodelet-bench' }, { clock: systemClock, log: silentLog });
  }

  async agentPid(): Promise<number> {
    return (await this.#agent()).pid;
  }

  /** CPU time used so far, s. */
  async cpuSeconds(): Promise<{ agent: number; apiserver: number }> {
    const { apiserver } = await readLabState(this.dir);
    if (apiserver === undefined) throw new Error('the API server does not run');
    return { agent: await cpuSecondsOf(await this.agentPid()), apiserver: await cpuSecondsOf(apiserver.pid) };
  }

  /** The agent stands still while `work` runs: it takes no CPU time and does not act on what it sees. */
  async withoutAgent<T>(work: () => Promise<T>): Promise<T> {
    const pid = await this.agentPid();
    process.kill(pid, 'SIGSTOP');
    try {
      return await work();
    } finally {
      process.kill(pid, 'SIGCONT');
      // nsenter, its parent, stops itself when its child is stopped, and would stay behind.
      process.kill(await parentOf(pid), 'SIGCONT');
    }
  }

  /** Ends the agent and starts it again. Returns the time from its start to the Node being Ready, ms. */
  async restartAgent(signal: AbortSignal): Promise<number> {
    await stopProcess(await this.#agent(), 10_000, systemClock);
    await this.#lab.startNode(NODE, signal);
    return this.#stepMs(`${NODE} Ready`);
  }

  async addresses(): Promise<LabAddresses> {
    return labAddresses((await readLabState(this.dir)).index);
  }

  /** cgroupRoot of the node's agent. */
  cgroupRoot(): string {
    return `${labNames(this.dir).cgroupRoot}/${NODE}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lab.down(AbortSignal.timeout(120_000)); // not the bench's own signal, which may have aborted
  }

  async #agent() {
    const [node] = (await readLabState(this.dir)).nodes;
    if (node?.agent === undefined) throw new Error('the agent does not run');
    return node.agent;
  }

  #stepMs(label: string): number {
    return this.#steps.get(label) ?? Number.NaN;
  }

  async #timed<T>(label: string, work: () => Promise<T>): Promise<T> {
    const startMs = systemClock.monotonicMs();
    const result = await work();
    this.#steps.set(label, systemClock.monotonicMs() - startMs);
    return result;
  }
}

async function parentOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}
