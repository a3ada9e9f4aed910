// When the node last went down gracefully: kept on disk, so that the metrics tell of it after the node is up again. The
// form is upstream's (pkg/kubelet/nodeshutdown/storage.go).
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../core/errors.ts';
import { writeFileAtomic } from '../../host/files.ts';
import type { ShutdownGauges } from './shutdown-gauges.ts';

/** Go's zero time. */
const NEVER = '0001-01-01T00:00:00Z';

export class ShutdownRecord {
  readonly #file: string;
  readonly #gauges: ShutdownGauges;
  #startMs = 0;

  constructor(rootDir: string, gauges: ShutdownGauges) {
    this.#file = path.join(rootDir, 'graceful_node_shutdown_state');
    this.#gauges = gauges;
  }

  /** What an earlier run of the node left; nothing is told of what cannot be read. */
  async load(): Promise<void> {
    try {
      const { startTime, endTime } = JSON.parse(await readFile(this.#file, 'utf8')) as Record<string, string>;
      this.#gauges.start.set(secondsOf(startTime));
      this.#gauges.end.set(secondsOf(endTime));
    } catch (err) {
      if (errnoOf(err) !== undefined && errnoOf(err) !== 'ENOENT') throw err;
    }
  }

  async began(nowMs: number): Promise<void> {
    this.#startMs = nowMs;
    this.#gauges.start.set(nowMs / 1000);
    this.#gauges.end.set(0);
    await this.#write(NEVER);
  }

  async ended(nowMs: number): Promise<void> {
    this.#gauges.end.set(nowMs / 1000);
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
