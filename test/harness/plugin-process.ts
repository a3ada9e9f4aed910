// A test plugin beside the agent of a lab node: a process in the node's mount namespace, to be killed and started again. It
// says on standard output what it is asked, one JSON object per line, and takes orders on standard input, one per line.
import { type ChildProcess, spawn } from 'node:child_process';
import { systemExec } from '../../host/exec.ts';
import { SpokenLines } from './spoken-lines.ts';

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
  readonly #lines: SpokenLines<Line>;

  private constructor(child: ChildProcess, namespaces: readonly string[]) {
    this.#child = child;
    this.#namespaces = namespaces;
    this.#lines = new SpokenLines(child);
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
      await plugin.#lines.until((lines) => lines.some((l) => l.status === 'registered'), 'registration');
      return plugin;
    } catch (err) {
      await plugin.kill();
      throw err;
    }
  }

  /** Resolves when the order has been taken. */
  async order(text: string): Promise<void> {
    this.#child.stdin!.write(`${text}\n`);
    await this.#lines.until((lines) => lines.some((l) => l.order === text), `the order ${text}`);
  }

  /** Resolves when `call` has been heard `times` times in all. */
  async untilCalled(call: string, times = 1): Promise<void> {
    await this.#lines.until(() => this.calls.filter((c) => c === call).length >= times, `a call of ${call}`);
  }

  /** All calls, in order. */
  get calls(): string[] {
    return this.#lines.all.flatMap((l) => l.call ?? []);
  }

  /** SIGKILL. Idempotent. */
  async kill(): Promise<void> {
    const pid = this.#lines.all.find((l) => l.pid !== undefined)?.pid;
    // nsenter ends with the process that it has forked, which alone is in the namespace where its number is known.
    if (pid === undefined) this.#child.stdin!.end();
    else if (!this.#lines.isOver) await systemExec('nsenter', [...this.#namespaces, 'kill', '-9', String(pid)]);
    await this.#lines.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
