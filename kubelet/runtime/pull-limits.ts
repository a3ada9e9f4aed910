// How many image pulls run at once, and how many may begin per second (pkg/kubelet/images/puller.go, helpers.go).
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';

/** At most `limit` at once, first come first served. */
export class Slots {
  readonly #limit: number;
  #taken = 0;
  readonly #line: (() => void)[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Waits for a slot; dispose to give it back. @throws the signal's reason when it aborts while waiting. */
  async take(signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    if (this.#taken < this.#limit) {
      this.#taken++;
      return this.#slot();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#line.push(resolve);
    using waiting = linkedSignal(signal);
    const gone = Promise.withResolvers<never>();
    waiting.signal.addEventListener('abort', () => gone.reject(waiting.signal.reason), { once: true });
    try {
      await Promise.race([promise, gone.promise]);
    } catch (err) {
      const at = this.#line.indexOf(resolve);
      if (at >= 0) this.#line.splice(at, 1);
      else this.#release(); // the slot had just been handed over
      throw err;
    }
    return this.#slot();
  }

  #slot(): Disposable {
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (held) this.#release();
        held = false;
      },
    };
  }

  /** Hands the slot to the next in line without freeing it in between, so that nobody can push in. */
  #release(): void {
    const next = this.#line.shift();
    if (next === undefined) this.#taken--;
    else next();
  }
}

/** `ratePerSecond` tokens per second, at most `burst` saved up. Rate 0 is no limit. */
export class TokenBucket {
  readonly #ratePerSecond: number;
  readonly #burst: number;
  readonly #clock: Clock;
  #tokens: number;
  #updatedMs: number;

  constructor(opts: { readonly ratePerSecond: number; readonly burst: number }, deps: { readonly clock: Clock }) {
    this.#ratePerSecond = opts.ratePerSecond;
    this.#burst = opts.burst;
    this.#clock = deps.clock;
    this.#tokens = opts.burst;
    this.#updatedMs = deps.clock.monotonicMs();
  }

  tryTake(): boolean {
    if (this.#ratePerSecond === 0) return true;
    const nowMs = this.#clock.monotonicMs();
    const gained = ((nowMs - this.#updatedMs) / 1000) * this.#ratePerSecond;
    this.#tokens = Math.min(this.#burst, this.#tokens + gained);
    this.#updatedMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
