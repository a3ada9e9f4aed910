// Exponential back-off, for one loop and per key. After client-go util/flowcontrol/backoff.go: doubled up to a cap,
// forgotten after a quiet time of twice the cap.
import type { Clock } from './clock.ts';

export interface BackoffOptions {
  readonly initialMs: number;
  readonly maxMs: number;
  /** Each delay is multiplied by a random number in [1, 1 + jitter). Default 0. */
  readonly jitter?: number;
}

/** Delays of one retry loop. `reset()` after a success. */
export class Backoff {
  readonly #opts: BackoffOptions;
  readonly #random: () => number;
  #nextMs: number;

  constructor(opts: BackoffOptions, random: () => number = Math.random) {
    this.#opts = opts;
    this.#random = random;
    this.#nextMs = opts.initialMs;
  }

  /** The delay before the next attempt, ms. */
  next(): number {
    const baseMs = this.#nextMs;
    this.#nextMs = Math.min(baseMs * 2, this.#opts.maxMs);
    return baseMs * (1 + (this.#opts.jitter ?? 0) * this.#random());
  }

  reset(): void {
    this.#nextMs = this.#opts.initialMs;
  }
}

interface KeyedEntry {
  backoffMs: number;
  /** Of the last `next`: wall ms, to be compared with events, and monotonic ms. */
  lastUpdateMs: number;
  updatedAtMs: number;
}

/**
 * Back-off per key: the table of client-go's flowcontrol.Backoff, with times given by the caller's clock. Setting the wall
 * clock makes no back-off longer.
 */
export class KeyedBackoff<K> {
  readonly #opts: BackoffOptions;
  readonly #clock: Clock;
  readonly #entries = new Map<K, KeyedEntry>();

  constructor(opts: BackoffOptions, deps: { clock: Clock }) {
    this.#opts = opts;
    this.#clock = deps.clock;
  }

  /** Current back-off of `key`, ms; 0 when it has none. */
  get(key: K): number {
    return this.#entries.get(key)?.backoffMs ?? 0;
  }

  /** Advances: no entry, or one older than twice the cap at `eventMs` (wall ms) → initial; else doubled up to the cap. */
  next(key: K, eventMs: number): void {
    const entry = this.#entries.get(key);
    const backoffMs =
      entry === undefined || this.#hasExpired(entry, eventMs)
        ? this.#opts.initialMs
        : Math.min(entry.backoffMs * 2, this.#opts.maxMs);
    this.#entries.set(key, { backoffMs, lastUpdateMs: this.#clock.now(), updatedAtMs: this.#clock.monotonicMs() });
  }

  /** Ms that are left of the back-off of `key`, counted from `eventMs` (wall ms, e.g. finishedAt); 0 when it is over. */
  leftSince(key: K, eventMs: number): number {
    const entry = this.#entries.get(key);
    if (entry === undefined || this.#hasExpired(entry, eventMs)) return 0;
    const agoMs = this.#clock.now() - eventMs;
    // What has happened lies in the future: the clock was set back since. It came after the update at least.
    return Math.max(0, entry.backoffMs - (agoMs >= 0 ? agoMs : this.#sinceUpdateMs(entry)));
  }

  /** True when the last `next` for `key` lies less than its back-off ago (image pulls count from the update). */
  isInBackoffSinceUpdate(key: K): boolean {
    const entry = this.#entries.get(key);
    return entry !== undefined && this.#sinceUpdateMs(entry) < entry.backoffMs;
  }

  /** Wall ms at which a back-off counted from the last update ends; undefined without an entry. */
  untilMs(key: K): number | undefined {
    const entry = this.#entries.get(key);
    return entry === undefined ? undefined : this.#clock.now() + entry.backoffMs - this.#sinceUpdateMs(entry);
  }

  delete(key: K): void {
    this.#entries.delete(key);
  }

  /** Drops entries idle for longer than twice the cap, so that the table cannot grow for ever. */
  collect(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#sinceUpdateMs(entry) > this.#opts.maxMs * 2) this.#entries.delete(key);
    }
  }

  #sinceUpdateMs(entry: KeyedEntry): number {
    return this.#clock.monotonicMs() - entry.updatedAtMs;
  }

  #hasExpired(entry: KeyedEntry, eventMs: number): boolean {
    return eventMs - entry.lastUpdateMs > this.#opts.maxMs * 2;
  }
}
