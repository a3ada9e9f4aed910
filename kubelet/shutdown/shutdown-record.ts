// When the node last went down gracefully: kept on disk, so that the metrics tell of it after the node is up again. The
// form is upstream's (pkg/kubelet/nodeshutdown/storage.go).
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../core/errors.ts';
import { Gauge, type Registry } from '../../core/metrics.ts';
import { writeFileAtomic } from '../../host/files.ts';

/** Go's zero time. */
const NEVER = '0001-01-01T00:00:00Z';

export class ShutdownRecord {
  readonly #file: string;
  readonly #start: Gauge;
  readonly #end: Gauge;
  #startMs = 0;

  constructor(rootDir: string, registry: Registry) {
    this.#file = path.join(rootDir, 'graceful_node_shutdown_state');
    const gauge = (name: string, help: string) => new Gauge({ name, help, registers: [registry] });
    this.#start = gauge(
      'kubelet_graceful_shutdown_start_time_seconds',
      'When the last graceful shutdown began, Unix time',
    );
    this.#end = gauge('kubelet_graceful_shutdown_end_time_seconds', 'When the last graceful shutdown ended, Unix time');
  }

  /** What an earlier run of the node left; nothing is told of what cannot be read. */
  async load(): Promise<void> {
    try {
      const { startTime, endTime } = JSON.parse(await readFile(this.#file, 'utf8')) as Record<string, string>;
      this.#start.set(secondsOf(startTime));
      this.#end.set(secondsOf(endTime));
    } catch (err) {
      if (errnoOf(err) !== undefined && errnoOf(err) !== 'ENOENT') throw err;
    }
  }

  async began(nowMs: number): Promise<void> {
    this.#startMs = nowMs;
    this.#start.set(nowMs / 1000);
    this.#end.set(0);
    await this.#write(NEVER);
  }

  async ended(nowMs: number): Promise<void> {
    this.#end.set(nowMs / 1000);
    await this.#write(new Date(nowMs).toISOString());
  }

  async #write(endTime: string): Promise<void> {
    const startTime = new Date(this.#startMs).toISOString();
    await writeFileAtomic(this.#file, JSON.stringify({ startTime, endTime }), 0o600);
  }
}

function secondsOf(time: string | undefined): number {
  const ms = Date.parse(time ?? '');
  return Number.isNaN(ms) || ms < 0 ? 0 : ms / 1000;
}
