// Runs one sync function: soon after a change, never too often, again after a failure, and at least every
// `maxIntervalMs` so that drift made by others is repaired. After kube-proxy's BoundedFrequencyRunner
// (kubernetes/kubernetes pkg/proxy/runner).
import { linkedSignal } from './abort.ts';
import type { Clock } from './clock.ts';
import type { Logger } from './log.ts';

export interface SyncRunnerOptions {
  readonly name: string;
  /** Pause after a run before the next may start, ms. Bursts of changes fold into one run. */
  readonly minIntervalMs: number;
  /** So many runs may follow each other without that pause when there was a pause before them. Default 1. */
  readonly burst?: number;
  /** The pause is `factor` times as long as the run took, up to `maxMs`: work that grows with the cluster leaves room for others. */
  readonly rest?: { readonly factor: number; readonly maxMs: number };
  /** Further wait after a failed run, ms. */
  readonly retryIntervalMs: number;
  /** Longest further wait without a run, ms. */
  readonly maxIntervalMs: number;
}

export class SyncRunner {
  readonly #sync: (signal: AbortSignal) => Promise<void>;
  readonly #opts: SyncRunnerOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** Monotonic ms at which the most urgent request wants its run. */
  #dueMs = Number.POSITIVE_INFINITY;
  /** Runs that may still start without a pause. */
  #spareRuns: number;
  /** Of the last run, ms. */
  #tookMs = 0;
  #wake: (() => void) | undefined;

  constructor(
    sync: (signal: AbortSignal) => Promise<void>,
    opts: SyncRunnerOptions,
    deps: { clock: Clock; log: Logger },
  ) {
    this.#sync = sync;
    this.#opts = opts;
    this.#clock = deps.clock;
    this.#log = deps.log.child({ runner: opts.name });
    this.#spareRuns = (opts.burst ?? 1) - 1;
  }

  /**
   * Asks for a run. Cheap and safe from any callback; many calls make one run. With `holdMs`, the run may wait so long
   * for a more urgent request: more is expected to change at once.
   */
  request(holdMs = 0): void {
    const dueMs = this.#clock.monotonicMs() + holdMs;
    if (dueMs >= this.#dueMs) return;
    this.#dueMs = dueMs;
    this.#wake?.();
  }

  /** Syncs until `signal` aborts, then resolves. A failing sync is logged and retried, never thrown. */
  async run(signal: AbortSignal): Promise<void> {
    const { minIntervalMs, retryIntervalMs, maxIntervalMs } = this.#opts;
    while (!signal.aborted) {
      this.#dueMs = Number.POSITIVE_INFINITY; // before the sync: a request made during it must cause another
      const failed = await this.#syncOnce(signal);
      const endMs = this.#clock.monotonicMs();
      await this.#waitForRequest(endMs + minIntervalMs + (failed ? retryIntervalMs : maxIntervalMs), signal);
      await this.#pause(endMs, failed, signal);
    }
  }

  async #syncOnce(signal: AbortSignal): Promise<boolean> {
    const startMs = this.#clock.monotonicMs();
    try {
      await this.#sync(signal);
      this.#log.debug({ tookMs: this.#clock.monotonicMs() - startMs }, 'synced');
      return false;
    } catch (err) {
      if (!signal.aborted) this.#log.error({ err, retryInMs: this.#opts.retryIntervalMs }, 'sync failed');
      return true;
    } finally {
      this.#tookMs = this.#clock.monotonicMs() - startMs;
    }
  }

  /** Until a request is due, at the latest until `deadlineMs`. */
  async #waitForRequest(deadlineMs: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      const waitMs = Math.min(this.#dueMs, deadlineMs) - this.#clock.monotonicMs();
      if (waitMs <= 0 || signal.aborted) return;
      using waiting = linkedSignal(signal);
      this.#wake = () => waiting.abort();
      await this.#clock.sleep(waitMs, waiting.signal);
      this.#wake = undefined;
    }
  }

  /** What is left of the pause since the last run's end. A failed run is never followed at once. */
  async #pause(endMs: number, failed: boolean, signal: AbortSignal): Promise<void> {
    const { minIntervalMs, rest } = this.#opts;
    const restMs = rest === undefined ? 0 : Math.min(rest.factor * this.#tookMs, rest.maxMs);
    const leftMs = endMs + Math.max(minIntervalMs, restMs) - this.#clock.monotonicMs();
    if (leftMs <= 0) this.#spareRuns = (this.#opts.burst ?? 1) - 1;
    else if (this.#spareRuns > 0 && !failed) this.#spareRuns--;
    else await this.#clock.sleep(leftMs, signal);
  }
}
