// The test device plugin beside the agent of a lab node, to be killed and started again.
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import type { DevicePluginSettings } from './device-plugin.ts';
import type { Order } from './device-plugin-main.ts';
import { SpokenLines } from './spoken-lines.ts';

const MAIN = path.resolve(import.meta.dirname, 'device-plugin-main.ts');

interface Line {
  readonly registered?: boolean;
  readonly call?: string;
  readonly done?: boolean;
  readonly error?: string;
}

export class DevicePluginProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: SpokenLines<Line>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = new SpokenLines(child);
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
    await this.#lines.until((lines) => lines.filter((l) => l.registered).length >= times, 'registration');
  }

  /** Resolves when `method` has been called so many times in all. */
  async untilCalled(method: string, times = 1): Promise<void> {
    await this.#lines.until(() => this.calls(method) >= times, `a call of ${method}`);
  }

  calls(method: string): number {
    return this.#lines.all.filter((l) => l.call === method).length;
  }

  async order(order: Order): Promise<void> {
    const before = this.#lines.all.filter((l) => l.done).length;
    this.#child.stdin!.write(`${JSON.stringify(order)}\n`);
    await this.#lines.until((lines) => lines.filter((l) => l.done).length > before, JSON.stringify(order));
  }

  /** SIGKILL. Idempotent. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#lines.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
