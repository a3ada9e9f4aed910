// The test driver beside the agent of a lab node: in the node's mount namespace, to be killed and started again.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { systemExec } from '../../host/exec.ts';
import type { CsiDriverOptions } from './csi-driver.ts';

const MAIN = path.resolve(import.meta.dirname, 'csi-driver-main.ts');
const WAIT_MS = 60_000;

interface Line {
  readonly pid?: number;
  readonly call?: string;
  readonly status?: string;
  readonly hangs?: string;
}

export class CsiDriverProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #namespaces: readonly string[];
  readonly #lines: Line[] = [];
  readonly #ended: Promise<unknown>;
  #stderr = '';
  #wake: (() => void) | undefined;

  private constructor(child: ChildProcess, namespaces: readonly string[]) {
    this.#child = child;
    this.#namespaces = namespaces;
    this.#ended = once(child, 'exit');
    createInterface({ input: child.stdout! }).on('line', (line) => {
      this.#lines.push(JSON.parse(line) as Line);
      this.#wake?.();
    });
    child.stderr!.on('data', (part: Buffer) => {
      this.#stderr = (this.#stderr + part.toString('utf8')).slice(-4000);
    });
  }

  /** `processId`: of a process in whose namespaces the driver is to run. Resolves when the agent has taken the driver. */
  static async start(processId: number, opts: CsiDriverOptions): Promise<CsiDriverProcess> {
    const namespaces = [`--target=${processId}`, '--mount', '--pid', '--'];
    const args = [...namespaces, process.execPath, MAIN, JSON.stringify(opts)];
    const driver = new CsiDriverProcess(spawn('nsenter', args, { stdio: ['pipe', 'pipe', 'pipe'] }), namespaces);
    try {
      await driver.#until((l) => l.status === 'registered', 'its registration');
      return driver;
    } catch (err) {
      await driver.kill();
      throw err;
    }
  }

  /** Its next call of `method` is never answered. */
  async hangNext(method: string): Promise<void> {
    this.#child.stdin!.write(`${method}\n`);
    await this.#until((l) => l.hangs === method, `${method} to hang`);
  }

  /** Resolves when `method` has been called `times` times in all. */
  async untilCalled(method: string, times = 1): Promise<void> {
    let left = times;
    const counts = new WeakSet<Line>();
    await this.#until((line) => {
      if (line.call === method && !counts.has(line)) {
        counts.add(line);
        left--;
      }
      return left <= 0;
    }, `a call of ${method}`);
  }

  /** Calls that change something, in order. */
  get steps(): string[] {
    return this.#lines.flatMap((l) => (l.call === undefined || l.call.startsWith('NodeGet') ? [] : [l.call]));
  }

  /** SIGKILL. Idempotent. */
  async kill(): Promise<void> {
    const pid = this.#lines.find((l) => l.pid !== undefined)?.pid;
    const isOver = this.#child.exitCode !== null || this.#child.signalCode !== null;
    // nsenter ends with the process that it has forked, which alone is in the namespace where its number is known.
    if (pid === undefined) this.#child.stdin!.end();
    else if (!isOver) await systemExec('nsenter', [...this.#namespaces, 'kill', '-9', String(pid)]);
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #until(good: (line: Line) => boolean, what: string): Promise<void> {
    const endMs = Date.now() + WAIT_MS;
    while (!this.#lines.some(good)) {
      const isOver = this.#child.exitCode !== null || this.#child.signalCode !== null;
      if (isOver || Date.now() > endMs) {
        throw new Error(`waited for ${what} of the driver; it said ${JSON.stringify(this.#lines)} ${this.#stderr}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 200); // also sees that the process has ended
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
