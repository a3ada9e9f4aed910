// A test plugin beside the agent of a lab node: a process in the node's mount namespace, to be killed and started again. It
// says on standard output what it is asked, one JSON object per line, and takes orders on standard input, one per line.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { systemExec } from '../../host/exec.ts';

const WAIT_MS = 60_000;

interface Line {
  readonly pid?: number;
  /** It was called. */
  readonly call?: string;
  /** What the node says of its registration. */
  readonly status?: string;
  /** An order was taken. */
  readonly order?: string;
}

export class PluginProcess implements AsyncDisposable {
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

  /**
   * `main`: the program. `processId`: of a process in whose namespaces it is to run. Resolves when the agent has taken the
   * plugin.
   */
  static async start(main: string, processId: number, opts: object): Promise<PluginProcess> {
    const namespaces = [`--target=${processId}`, '--mount', '--pid', '--'];
    const args = [...namespaces, process.execPath, main, JSON.stringify(opts)];
    const plugin = new PluginProcess(spawn('nsenter', args, { stdio: ['pipe', 'pipe', 'pipe'] }), namespaces);
    try {
      await plugin.#until((l) => l.status === 'registered', 'its registration');
      return plugin;
    } catch (err) {
      await plugin.kill();
      throw err;
    }
  }

  /** Resolves when the order has been taken. */
  async order(text: string): Promise<void> {
    this.#child.stdin!.write(`${text}\n`);
    await this.#until((l) => l.order === text, `the order ${text}`);
  }

  /** Resolves when `call` has been heard `times` times in all. */
  async untilCalled(call: string, times = 1): Promise<void> {
    let left = times;
    const counted = new WeakSet<Line>();
    await this.#until((line) => {
      if (line.call === call && !counted.has(line)) {
        counted.add(line);
        left--;
      }
      return left <= 0;
    }, `a call of ${call}`);
  }

  /** All calls, in order. */
  get calls(): string[] {
    return this.#lines.flatMap((l) => l.call ?? []);
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
        throw new Error(`waited for ${what} of the plugin; it said ${JSON.stringify(this.#lines)} ${this.#stderr}`);
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
