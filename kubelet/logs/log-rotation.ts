// Keeps the logs of running containers below a size: looks at all of them in one round per interval, which costs one
// stat per container and no runtime call. After pkg/kubelet/logs/container_log_manager.go.
import { stat } from 'node:fs/promises';
import type { Clock } from '../../core/clock.ts';
import { errnoOf } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { isCriError } from '../../cri/errors.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { rotateLog } from './rotate-log.ts';

export interface LogRotationOptions {
  /** containerLogMaxSize: a log of this size or more is rotated. Negative: never. */
  readonly maxSizeBytes: number;
  /** containerLogMaxFiles, the live one included; at least 2. */
  readonly maxFiles: number;
  /** containerLogMaxWorkers: logs rotated at the same time. */
  readonly workers: number;
  /** containerLogMonitorInterval, ms. */
  readonly intervalMs: number;
}

/** A day: nothing is done then either. */
const OFF_MS = 86_400_000;

export interface RunningLog {
  readonly containerId: string;
  /** '' when the runtime writes no file. */
  readonly logPath: string;
}

export interface LogRotationDeps {
  /** Of every container that runs. */
  readonly runningLogs: () => readonly RunningLog[];
  readonly runtime: Pick<RuntimeService, 'reopenContainerLog'>;
  readonly clock: Clock;
  readonly log: Logger;
}

export class LogRotation {
  readonly #opts: LogRotationOptions;
  readonly #deps: LogRotationDeps;
  readonly #log: Logger;

  constructor(opts: LogRotationOptions, deps: LogRotationDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'log-rotation' });
  }

  /** Until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const isOn = this.#opts.maxSizeBytes >= 0;
    while (!signal.aborted) {
      await this.#deps.clock.sleep(isOn ? this.#opts.intervalMs : OFF_MS, signal);
      if (isOn && !signal.aborted) await this.rotateAll(signal);
    }
  }

  /** One round over all running containers. What fails is logged and tried again in the next round. */
  async rotateAll(signal: AbortSignal): Promise<void> {
    const waiting = this.#deps.runningLogs().filter((l) => l.logPath !== '');
    const worker = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined && !signal.aborted; next = waiting.shift()) {
        await this.#look(next, signal);
      }
    };
    await Promise.all(Array.from({ length: this.#opts.workers }, worker));
  }

  async #look({ containerId, logPath }: RunningLog, signal: AbortSignal): Promise<void> {
    const reopen = () => this.#deps.runtime.reopenContainerLog(containerId, { signal });
    try {
      let size = await sizeOf(logPath);
      if (size === undefined) {
        // Killed between renaming and reopening, or the file was removed by hand: the runtime writes to no name.
        await reopen();
        size = (await sizeOf(logPath)) ?? 0;
      }
      if (size < this.#opts.maxSizeBytes) return;
      const { maxFiles } = this.#opts;
      await rotateLog(logPath, { maxFiles, nowMs: this.#deps.clock.now() }, reopen, signal);
      this.#log.debug({ containerId, size }, 'container log rotated');
    } catch (err) {
      if (signal.aborted || isCriError(err, 'NOT_FOUND')) return; // removed between the look and the call
      this.#log.warn({ err, containerId }, 'container log not rotated, will retry');
    }
  }
}

async function sizeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size;
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return undefined;
    throw err;
  }
}
