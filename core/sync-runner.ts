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
  #requested = false;
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
  }

  /** Asks for a run. Cheap and safe from any callback; many calls make one run. */
  request(): void {
    this.#requested = true;
    this.#wake?.();
  }

  /** Syncs until `signal` aborts, then resolves. A failing sync is logged and retried, never thrown. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#requested = false; // before the sync: a request made during it must cause another
      const failed = await this.#syncOnce(signal);
      await this.#clock.sleep(this.#opts.minIntervalMs, signal);
      await this.#waitForRequest(failed ? this.#opts.retryIntervalMs : this.#opts.maxIntervalMs, signal);
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
    }
  }

  async #waitForRequest(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#requested || signal.aborted) return;
    using waiting = linkedSignal(signal);
    this.#wake = () => waiting.abort();
    await this.#clock.sleep(ms, waiting.signal);
    this.#wake = undefined;
  }
}
