// The loop every controller shares: keys with work, one job per key, and for a key whose job failed another try after
// a doubling wait. After client-go util/workqueue.

import { isConflict, isNamespaceTerminating, isNotFound } from '../../client/errors.ts';
import { Backoff } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { DueQueue } from '../../core/due-queue.ts';
import { KeyedWorker } from '../../core/keyed-worker.ts';
import type { Logger } from '../../core/log.ts';

const RETRY_INITIAL_MS = 5;
const RETRY_MAX_MS = 30_000;

export interface ReconcilerOptions {
  readonly name: string;
  /** Keys at the same time. Default 4. */
  readonly concurrency?: number;
}

export class Reconciler {
  readonly #reconcile: (key: string, signal: AbortSignal) => Promise<void>;
  readonly #log: Logger;
  readonly #due: DueQueue<string>;
  readonly #worker: KeyedWorker<string>;
  readonly #retries = new Map<string, Backoff>();

  /** `reconcile` makes the world fit the newest state of `key`; what it throws is retried. */
  constructor(
    reconcile: (key: string, signal: AbortSignal) => Promise<void>,
    opts: ReconcilerOptions,
    deps: { clock: Clock; log: Logger },
  ) {
    this.#reconcile = reconcile;
    this.#log = deps.log.child({ controller: opts.name });
    this.#due = new DueQueue(deps.clock, (key) => this.#worker.request(key));
    this.#worker = new KeyedWorker(
      (key, signal) => this.#runOne(key, signal),
      { name: opts.name, concurrency: opts.concurrency ?? 4 },
      { log: deps.log },
    );
  }

  /** Marks `key` as having work. Cheap; safe from any callback. */
  request(key: string): void {
    this.#worker.request(key);
  }

  /** Marks `key` as having work in `delayMs`, unless it is due earlier anyway. */
  requestAfter(key: string, delayMs: number): void {
    this.#due.setEarlier(key, delayMs);
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#worker.run(signal);
    this.#due[Symbol.dispose]();
  }

  async #runOne(key: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#reconcile(key, signal);
      this.#retries.delete(key);
    } catch (err) {
      if (signal.aborted) return;
      let backoff = this.#retries.get(key);
      if (backoff === undefined) {
        backoff = new Backoff({ initialMs: RETRY_INITIAL_MS, maxMs: RETRY_MAX_MS });
        this.#retries.set(key, backoff);
      }
      const retryInMs = backoff.next();
      // Somebody else was faster, or the object or its namespace goes away: ordinary, the next look settles it.
      const isOrdinary = isConflict(err) || isNotFound(err) || isNamespaceTerminating(err);
      const level = isOrdinary ? 'debug' : 'warn';
      this.#log[level]({ err, key, retryInMs }, 'reconcile failed, will retry');
      this.#due.setEarlier(key, retryInMs);
    }
  }
}
