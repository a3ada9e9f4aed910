// A lab of the suite's own, made and unmade through the public command, as a user would. Closing it takes it down and
// checks that the host is as it was before.
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { systemClock } from '../../core/clock.ts';
import { type ExecResult, execOk, systemExec } from '../../host/exec.ts';
import { readLabState } from '../../lab/state.ts';
import type { LabNodeStatus, LabStatus } from '../../lab/status.ts';
import { containerdMissing } from './containerd.ts';
import { findLeaks, type HostSnapshot, LAB_MARK_ENV, snapshotHost } from './host-snapshot.ts';
import { findKubectl, Kubectl, type KubectlVersion } from './kubectl.ts';

export const NODELET = path.resolve(import.meta.dirname, '../../bin/nodelet');
const COMMAND_MS = 120_000;
const RULES_MS = 120_000;
const RULES_POLL_MS = 50;

export interface ClusterOptions {
  readonly nodes?: number;
  /** Further arguments of `lab up`. */
  readonly arguments?: readonly string[];
}

/** Why no lab can run here; undefined when one can. For `describe.skipIf`, and to be printed. */
export function labMissing(): string | undefined {
  return containerdMissing();
}

export class TestCluster implements AsyncDisposable {
  readonly dir: string;
  readonly kubeconfig: string;
  readonly #before: HostSnapshot;
  readonly #kubectls = new Map<KubectlVersion, Kubectl>();

  private constructor(dir: string, before: HostSnapshot) {
    this.dir = dir;
    this.kubeconfig = path.join(dir, 'kubeconfig');
    this.#before = before;
  }

  /** Resolves when every node is Ready. */
  static async start(opts: ClusterOptions = {}): Promise<TestCluster> {
    const before = await snapshotHost();
    const cluster = new TestCluster(await mkdtemp(path.join(tmpdir(), 'nodelet-e2e-')), before);
    try {
      const port = await freePort();
      await cluster.lab('up', '--detach', `--nodes=${opts.nodes ?? 2}`, `--port=${port}`, ...(opts.arguments ?? []));
      return cluster;
    } catch (err) {
      await cluster[Symbol.asyncDispose]();
      throw err;
    }
  }

  /** Runs `nodelet lab …` on this lab. @throws with its output when its exit code is not 0. */
  async lab(...args: string[]): Promise<string> {
    const r = await this.labResult(...args);
    if (r.code !== 0) throw new Error(`nodelet lab ${args.join(' ')}: exit ${r.code}\n${r.stdout}${r.stderr}`);
    return r.stdout;
  }

  async labResult(...args: string[]): Promise<ExecResult> {
    return await nodelet(['lab', ...args, `--dir=${this.dir}`], this.dir);
  }

  async status(): Promise<LabStatus> {
    return JSON.parse(await this.lab('status', '-o', 'json')) as LabStatus;
  }

  async node(name: string): Promise<LabNodeStatus> {
    const node = (await this.status()).nodes.find((n) => n.name === name);
    if (node === undefined) throw new Error(`the lab has no node ${name}`);
    return node;
  }

  /** @throws when this version cannot be had: suites ask `findKubectl` first. */
  async kubectl(version: KubectlVersion = '1.36'): Promise<Kubectl> {
    const known = this.#kubectls.get(version);
    if (known !== undefined) return known;
    const found = await findKubectl(version);
    if ('missing' in found) throw new Error(found.missing);
    const home = path.join(this.dir, `home-${version}`);
    await mkdir(home, { recursive: true });
    const kubectl = new Kubectl(found.program, this.kubeconfig, home);
    this.#kubectls.set(version, kubectl);
    return kubectl;
  }

  /** Runs ctr on a node's containerd, in the namespace of the CRI plugin. */
  async ctr(node: string, ...args: string[]): Promise<string> {
    const socket = path.join(this.dir, 'nodes', node, 'containerd.sock');
    const r = await systemExec('ctr', ['--address', socket, '--namespace', 'k8s.io', ...args]);
    if (r.code !== 0) throw new Error(`ctr ${args.join(' ')}: ${r.stderr}`);
    return r.stdout;
  }

  /** Runs a program inside a node: its processes, mounts and network. */
  async inNode(node: string, program: string, ...args: string[]): Promise<string> {
    const state = await readLabState(this.dir);
    const init = state.nodes.find((n) => n.name === node)?.init;
    if (init === undefined) throw new Error(`${node} does not run`);
    return await execOk(systemExec, 'nsenter', [
      `--target=${init.pid}`,
      '--mount',
      '--pid',
      '--net',
      '--',
      program,
      ...args,
    ]);
  }

  /** Waits until the rules of a node are as `wanted`, in the words of `tool`: nothing tells when the proxy has written them. */
  async untilRules(
    node: string,
    wanted: (rules: string) => boolean,
    tool: readonly [string, ...string[]] = ['iptables-save'],
  ): Promise<void> {
    const endMs = Date.now() + RULES_MS;
    for (;;) {
      const rules = await this.inNode(node, ...tool);
      if (wanted(rules)) return;
      if (Date.now() > endMs) throw new Error(`the rules of ${node} do not come:\n${rules}`);
      await systemClock.sleep(RULES_POLL_MS);
    }
  }

  /** @throws when the host is not as it was before. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const kubectl of this.#kubectls.values()) await kubectl.close();
    await this.lab('down');
    const leaks = await findLeaks(this.#before, this.dir);
    await rm(this.dir, { recursive: true, force: true });
    if (leaks.length > 0) throw new Error(`the lab left behind:\n${leaks.join('\n')}`);
  }
}

/** Runs bin/nodelet to its end, whatever the exit code; what it starts bears the mark of `labDir`. */
export async function nodelet(args: readonly string[], labDir: string, timeoutMs = COMMAND_MS): Promise<ExecResult> {
  return await systemExec(NODELET, args, { timeoutMs, env: { ...process.env, [LAB_MARK_ENV]: labDir } });
}

/** A port of this host that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
