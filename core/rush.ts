// Knows when more urgent work is going on than the machine can do at once, so that what can wait stands back.
import { linkedSignal } from './abort.ts';
import type { Clock } from './clock.ts';

export class Rush {
  readonly #limit: number;
  readonly #clock: Clock;
  #running = 0;
  #over = resolved();

  /** More than `limit` pieces of urgent work at once are a rush. */
  constructor(limit: number, clock: Clock) {
    this.#limit = limit;
    this.#clock = clock;
  }

  get isOn(): boolean {
    return this.#running > this.#limit;
  }

  /** Does a piece of urgent work. @throws what `work` throws. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#running++;
    if (this.#running === this.#limit + 1) this.#over = Promise.withResolvers<void>();
    try {
      return await work();
    } finally {
      this.#running--;
      if (this.#running === this.#limit) this.#over.resolve();
    }
  }

  /** Resolves when there is no rush, after `maxMs`, or when `signal` aborts. */
  async over(maxMs: number, signal: AbortSignal): Promise<void> {
    if (!this.isOn || maxMs <= 0) return;
    using waiting = linkedSignal(signal);
    await Promise.race([this.#over.promise, this.#clock.sleep(maxMs, waiting.signal)]);
    waiting.abort();
  }
}

function resolved(): PromiseWithResolvers<void> {
  const all = Promise.withResolvers<void>();
  all.resolve();
  return all;
}
