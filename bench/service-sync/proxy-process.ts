// The measured process: `nodelet proxy` as it is installed (bin/nodelet with the bundle), and what it tells of itself.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuSecondsOf, type MemoryFacts, memoryOf } from '../process-facts.ts';

export type Mode = 'iptables' | 'nftables';

export const NODE_NAME = 'bench-node';
const METRICS = 'http://127.0.0.1:10249/metrics';
const POLL_MS = 10;
/** Lines of the log that are kept for messages. */
const LOG_CHARS = 4_000;

/** A copy of the program that stays the same while people go on editing its sources. Returns the path to start. */
export async function installCopy(dir: string): Promise<string> {
  const root = path.resolve(import.meta.dirname, '../..');
  for (const file of ['bin/nodelet', 'deploy/is-bundle-fresh.sh', 'dist/nodelet.mjs', 'package.json']) {
    await mkdir(path.join(dir, path.dirname(file)), { recursive: true });
    await copyFile(path.join(root, file), path.join(dir, file));
  }
  await symlink(path.join(root, 'node_modules'), path.join(dir, 'node_modules'));
  return path.join(dir, 'bin/nodelet');
}

export interface ProxyOptions {
  readonly program: string;
  readonly dir: string;
  readonly apiUrl: string;
  readonly mode: Mode;
  /** Further flags. */
  readonly flags: readonly string[];
  /** Its log goes to stderr. */
  readonly echo: boolean;
}

export class ProxyProcess implements AsyncDisposable {
  readonly startedWallMs = Date.now();
  readonly #child: ChildProcess;
  #log = '';

  private constructor(child: ChildProcess, echo: boolean) {
    this.#child = child;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on('data', (chunk: Buffer) => {
        this.#log = `${this.#log}${chunk}`.slice(-LOG_CHARS);
        if (echo) process.stderr.write(chunk);
      });
    }
  }

  static async start({ program, dir, apiUrl, mode, flags, echo }: ProxyOptions): Promise<ProxyProcess> {
    const kubeconfig = path.join(dir, 'kubeconfig');
    await writeFile(kubeconfig, kubeconfigText(apiUrl));
    const args = [
      'proxy',
      `--kubeconfig=${kubeconfig}`,
      `--hostname-override=${NODE_NAME}`,
      `--proxy-mode=${mode}`,
      '--cluster-cidr=10.128.0.0/9',
      ...flags,
    ];
    return new ProxyProcess(spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] }), echo);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Wall-clock ms at which the first sync had everything in the kernel. @throws when the process ends before. */
  async firstSync(signal: AbortSignal): Promise<number> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#child.exitCode !== null) throw new Error(`the proxy ended with ${this.#child.exitCode}: ${this.#log}`);
      const seconds = (await this.metrics()).get('kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}');
      if (seconds !== undefined && seconds > 0) return seconds * 1000;
      await sleep(POLL_MS);
    }
  }

  /** Each sample by its name with labels; none while the process does not listen. Resets the event-loop figures. */
  async metrics(): Promise<Map<string, number>> {
    return parseMetrics(await body(METRICS).catch(() => ''));
  }

  memory(): Promise<MemoryFacts> {
    return memoryOf(this.pid);
  }

  /** The most it ever used, MB of 10^6 bytes. */
  async peakRssMB(): Promise<number> {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8');
    return (Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) * 1024) / 1e6;
  }

  /** CPU time of the process and of all its children that have ended, s. */
  cpuSeconds(): Promise<number> {
    return cpuSecondsOf(this.pid, 'with children');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await exited;
    clearTimeout(timer);
  }
}

/** Pure: the samples of a Prometheus text. */
export function parseMetrics(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of text.split('\n')) {
    const at = line.lastIndexOf(' ');
    if (at > 0 && !line.startsWith('#')) samples.set(line.slice(0, at), Number(line.slice(at + 1)));
  }
  return samples;
}

async function body(url: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const request = get(url, { agent: false }, (res) => {
    let text = '';
    res.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    res.on('end', () => resolve(text)).on('error', reject);
  });
  request.on('error', reject);
  return promise;
}

function kubeconfigText(server: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'bench', cluster: { server } }],
    users: [{ name: 'bench', user: { token: 'bench' } }],
    contexts: [{ name: 'bench', context: { cluster: 'bench', user: 'bench' } }],
    'current-context': 'bench',
  });
}
