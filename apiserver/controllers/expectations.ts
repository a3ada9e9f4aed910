// What a controller has asked for and not yet seen in its cache. Until it has, it must not count again, or it would
// create twice (pkg/controller ControllerExpectations).
import type { Clock } from '../../core/clock.ts';

/** A lost watch event must not stop a controller for ever. */
const EXPIRY_MS = 5 * 60_000;

interface Pending {
  creations: number;
  readonly deletions: Set<string>;
  readonly sinceMs: number;
}

export class Expectations {
  readonly #clock: Clock;
  readonly #pending = new Map<string, Pending>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  expectCreations(key: string, count: number): void {
    this.#pending.set(key, { creations: count, deletions: new Set(), sinceMs: this.#clock.monotonicMs() });
  }

  expectDeletions(key: string, uids: readonly string[]): void {
    this.#pending.set(key, { creations: 0, deletions: new Set(uids), sinceMs: this.#clock.monotonicMs() });
  }

  observedCreation(key: string): void {
    const pending = this.#pending.get(key);
    if (pending !== undefined && pending.creations > 0) pending.creations--;
  }

  observedDeletion(key: string, uid: string): void {
    this.#pending.get(key)?.deletions.delete(uid);
  }

  /** How long to wait for what is still to be seen, ms; 0 when nothing is, or when it has been given up. */
  waitMs(key: string): number {
    const pending = this.#pending.get(key);
    if (pending === undefined || (pending.creations === 0 && pending.deletions.size === 0)) return 0;
    return Math.max(0, pending.sinceMs + EXPIRY_MS - this.#clock.monotonicMs());
  }

  forget(key: string): void {
    this.#pending.delete(key);
  }
}
