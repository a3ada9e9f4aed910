// The test device plugin beside the agent of a lab node, to be killed and started again.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { DevicePluginSettings } from './device-plugin.ts';
import type { Order } from './device-plugin-main.ts';

const MAIN = path.resolve(import.meta.dirname, 'device-plugin-main.ts');
const WAIT_MS = 60_000;

interface Line {
  readonly registered?: boolean;
  readonly call?: string;
  readonly done?: boolean;
  readonly error?: string;
}

export class DevicePluginProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: Line[] = [];
  readonly #ended: Promise<unknown>;
  #stderr = '';
  #wake: (() => void) | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#ended = once(child, 'exit');
    createInterface({ input: child.stdout! }).on('line', (line) => {
      this.#lines.push(JSON.parse(line) as Line);
      this.#wake?.();
    });
    child.stderr!.on('data', (part: Buffer) => {
      this.#stderr = (this.#stderr + part.toString('utf8')).slice(-4000);
    });
  }

  /** Resolves when the agent has taken the plugin. */
  static async start(settings: DevicePluginSettings): Promise<DevicePluginProcess> {
    const child = spawn(process.execPath, [MAIN, JSON.stringify(settings)], { stdio: ['pipe', 'pipe', 'pipe'] });
    const plugin = new DevicePluginProcess(child);
    try {
      await plugin.untilRegistered(1);
      return plugin;
    } catch (err) {
      await plugin.kill();
      throw err;
    }
  }

  /** Resolves when it has registered so many times in all. */
  async untilRegistered(times: number): Promise<void> {
    await this.#until(() => this.#lines.filter((l) => l.registered).length >= times, 'registration');
  }

  /** Resolves when `method` has been called so many times in all. */
  async untilCalled(method: string, times = 1): Promise<void> {
    await this.#until(() => this.calls(method) >= times, `a call of ${method}`);
  }

  calls(method: string): number {
    return this.#lines.filter((l) => l.call === method).length;
  }

  async order(order: Order): Promise<void> {
    const before = this.#lines.filter((l) => l.done).length;
    this.#child.stdin!.write(`${JSON.stringify(order)}\n`);
    await this.#until(() => this.#lines.filter((l) => l.done).length > before, JSON.stringify(order));
  }

  /** SIGKILL. Idempotent. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #until(good: () => boolean, what: string): Promise<void> {
    const endMs = Date.now() + WAIT_MS;
    while (!good()) {
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
