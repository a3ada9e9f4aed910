// The node's HTTPS server as a process beside the test.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import type { ClientRequest } from 'node:http';
import { request } from 'node:https';
import path from 'node:path';

const MAIN = path.resolve(import.meta.dirname, 'node-server-main.ts');
/** As bin/nodelet starts an agent. */
const NODE_FLAGS = ['--max-semi-space-size=2', '--heap-growing-percent=25', '--v8-pool-size=1'];
const MALLOC = { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '131072', MALLOC_TRIM_THRESHOLD_: '131072' };

interface Place {
  readonly port: number;
  readonly cert: string;
  readonly key: string;
}

export class NodeServerProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #place: Place;

  private constructor(child: ChildProcess, place: Place) {
    this.#child = child;
    this.#place = place;
  }

  /** `streamUrl`: what the runtime gives for every session. */
  static async start(logPath: string, streamUrl: string): Promise<NodeServerProcess> {
    const child = fork(MAIN, [logPath, streamUrl], {
      execArgv: [...NODE_FLAGS, '--disable-warning=ExperimentalWarning'],
      env: { ...process.env, ...MALLOC },
    });
    const [place] = (await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(([code]) => Promise.reject(new Error(`the server ended with ${code}`))),
    ])) as [Place];
    return new NodeServerProcess(child, place);
  }

  get credentials() {
    const { cert, key } = this.#place;
    return { cert, key, rejectUnauthorized: false };
  }

  get origin(): string {
    return `//127.0.0.1:${this.#place.port}`;
  }

  /** As an administrator, on a connection of its own. */
  open(url: string, method = 'GET', headers: Record<string, string | string[]> = {}): ClientRequest {
    const { port } = this.#place;
    return request({ host: '127.0.0.1', port, path: url, method, headers, agent: false, ...this.credentials }).end();
  }

  endContainer(): void {
    this.#child.send('end the container');
  }

  /** From now on `peakBytes` tells of what comes. */
  async forgetPeak(): Promise<void> {
    await writeFile(`/proc/${this.#child.pid}/clear_refs`, '5');
  }

  /** The most resident memory since `forgetPeak`, bytes. */
  async peakBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.#child.pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
  }

  /** Open sockets and files, by what they are. */
  async descriptors(): Promise<number> {
    return (await readdir(`/proc/${this.#child.pid}/fd`)).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}
