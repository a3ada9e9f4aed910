// A limit on requests per second with a burst, in order of arrival. After client-go util/flowcontrol/throttle.go.
import type { Clock } from '../core/clock.ts';

export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  readonly #clock: Clock;
  #tokens: number;
  #updatedMs: number;

  constructor(opts: { readonly qps: number; readonly burst: number }, deps: { clock: Clock }) {
    this.#perMs = opts.qps / 1000;
    this.#burst = opts.burst;
    this.#tokens = opts.burst;
    this.#clock = deps.clock;
    this.#updatedMs = deps.clock.monotonicMs();
  }

  /** Takes a token if there is one. */
  tryTake(): boolean {
    this.#refill();
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Resolves when a token is ours, or when `signal` aborts: look at it. */
  async take(signal?: AbortSignal): Promise<void> {
    this.#refill();
    this.#tokens -= 1; // below zero: a place in the queue, paid back by the refill
    if (this.#tokens >= 0) return;
    await this.#clock.sleep(-this.#tokens / this.#perMs, signal);
    if (signal?.aborted) this.#tokens += 1;
  }

  #refill(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#updatedMs) * this.#perMs);
    this.#updatedMs = nowMs;
  }
}
