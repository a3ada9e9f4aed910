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
  lastUpdateMs: number;
}

/** Back-off per key: the table of client-go's flowcontrol.Backoff, with times given by the caller's clock. */
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
    const nowMs = this.#clock.now();
    if (entry === undefined || this.#hasExpired(entry, eventMs)) {
      this.#entries.set(key, { backoffMs: this.#opts.initialMs, lastUpdateMs: nowMs });
      return;
    }
    entry.backoffMs = Math.min(entry.backoffMs * 2, this.#opts.maxMs);
    entry.lastUpdateMs = nowMs;
  }

  /** True when `eventMs` (wall ms, e.g. finishedAt) plus the back-off of `key` lies in the future. */
  isInBackoffSince(key: K, eventMs: number): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined || this.#hasExpired(entry, eventMs)) return false;
    return this.#clock.now() - eventMs < entry.backoffMs;
  }

  /** True when the last `next` for `key` lies less than its back-off ago (image pulls count from the update). */
  isInBackoffSinceUpdate(key: K): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined || this.#hasExpired(entry, this.#clock.now())) return false;
    return this.#clock.now() - entry.lastUpdateMs < entry.backoffMs;
  }

  /** Wall ms at which a back-off counted from the last update ends; undefined without an entry. */
  untilMs(key: K): number | undefined {
    const entry = this.#entries.get(key);
    return entry === undefined ? undefined : entry.lastUpdateMs + entry.backoffMs;
  }

  delete(key: K): void {
    this.#entries.delete(key);
  }

  /** Drops entries idle for longer than twice the cap, so that the table cannot grow for ever. */
  collect(): void {
    const nowMs = this.#clock.now();
    for (const [key, entry] of this.#entries) {
      if (this.#hasExpired(entry, nowMs)) this.#entries.delete(key);
    }
  }

  #hasExpired(entry: KeyedEntry, eventMs: number): boolean {
    return eventMs - entry.lastUpdateMs > this.#opts.maxMs * 2;
  }
}
