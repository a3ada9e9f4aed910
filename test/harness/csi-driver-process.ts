// The test driver beside the agent of a lab node: in the node's mount namespace, to be killed and started again.
import path from 'node:path';
import type { CsiDriverOptions } from './csi-driver.ts';
import { PluginProcess } from './plugin-process.ts';

const MAIN = path.resolve(import.meta.dirname, 'csi-driver-main.ts');

export class CsiDriverProcess implements AsyncDisposable {
  readonly #process: PluginProcess;

  private constructor(process: PluginProcess) {
    this.#process = process;
  }

  /** `processId`: of a process in whose namespaces the driver is to run. Resolves when the agent has taken the driver. */
  static async start(processId: number, opts: CsiDriverOptions): Promise<CsiDriverProcess> {
    return new CsiDriverProcess(await PluginProcess.start(MAIN, processId, opts));
  }

  /** Its next call of `method` is never answered. */
  async hangNext(method: string): Promise<void> {
    await this.#process.order(method);
  }

  /** Resolves when `method` has been called `times` times in all. */
  async untilCalled(method: string, times = 1): Promise<void> {
    await this.#process.untilCalled(method, times);
  }

  /** Calls that change something, in order. */
  get steps(): string[] {
    return this.#process.calls.filter((method) => !method.startsWith('NodeGet'));
  }

  /** SIGKILL. Idempotent. */
  async kill(): Promise<void> {
    await this.#process.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
