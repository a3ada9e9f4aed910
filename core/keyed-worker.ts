// One job per key, newest input wins, at most N keys at once. A key that is asked for again while its job runs runs
// once more afterwards; a key that waits in line is not queued twice.
import type { Logger } from './log.ts';

export interface KeyedWorkerOptions {
  readonly name: string;
  /** Jobs at the same time, over all keys. */
  readonly concurrency: number;
}

type KeyState = 'queued' | 'running' | 'dirty';

export class KeyedWorker<K> {
  readonly #job: (key: K, signal: AbortSignal) => Promise<void>;
  readonly #opts: KeyedWorkerOptions;
  readonly #log: Logger;
  readonly #states = new Map<K, KeyState>();
  #line: K[] = [];
  #running = 0;
  #signal: AbortSignal | undefined;
  #idle: (() => void) | undefined;

  /** `job` reads the newest input itself. A job that throws is logged; what to retry and when is the caller's matter. */
  constructor(job: (key: K, signal: AbortSignal) => Promise<void>, opts: KeyedWorkerOptions, deps: { log: Logger }) {
    this.#job = job;
    this.#opts = opts;
    this.#log = deps.log.child({ worker: opts.name });
  }

  /** Marks `key` as having work. Cheap; keys requested before `run` wait for it. */
  request(key: K): void {
    const state = this.#states.get(key);
    if (state === 'queued' || state === 'dirty') return;
    if (state === 'running') {
      this.#states.set(key, 'dirty');
      return;
    }
    this.#states.set(key, 'queued');
    this.#line.push(key);
    this.#pump();
  }

  /** Keys queued or running. */
  get pending(): number {
    return this.#states.size;
  }

  /** Works until `signal` aborts, then waits for the jobs that run. */
  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    this.#pump();
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
      if (signal.aborted) this.#resolveIfIdle();
      else signal.addEventListener('abort', () => this.#resolveIfIdle(), { once: true });
    });
  }

  #pump(): void {
    const signal = this.#signal;
    if (signal === undefined || signal.aborted) return;
    while (this.#running < this.#opts.concurrency && this.#line.length > 0) {
      const key = this.#line.shift()!;
      this.#running++;
      this.#states.set(key, 'running');
      void this.#runOne(key, signal); // catches everything itself
    }
  }

  async #runOne(key: K, signal: AbortSignal): Promise<void> {
    try {
      await this.#job(key, signal);
    } catch (err) {
      if (!signal.aborted) this.#log.error({ err, key: String(key) }, 'job failed');
    }
    this.#running--;
    const again = this.#states.get(key) === 'dirty';
    this.#states.delete(key);
    if (again) this.request(key);
    this.#pump();
    this.#resolveIfIdle();
  }

  #resolveIfIdle(): void {
    if (this.#signal?.aborted && this.#running === 0) this.#idle?.();
  }
}
