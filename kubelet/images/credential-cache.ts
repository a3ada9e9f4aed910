// What credential provider plugins answered, for as long as they said. After pkg/credentialprovider/plugin/plugin.go.
import type { Clock } from '../../core/clock.ts';

const PURGE_MS = 900_000;
/** Images of a node are few; a plugin that gives each pull another key must not fill the memory. */
const MAX_ENTRIES = 1000;

export class CredentialCache<T> {
  readonly #clock: Clock;
  readonly #entries = new Map<string, { readonly value: T; readonly expiresMs: number }>();
  #purgedMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#purgedMs = clock.monotonicMs();
  }

  get(key: string): T | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && this.#clock.monotonicMs() < entry.expiresMs ? entry.value : undefined;
  }

  /** Does nothing for a duration of 0. */
  set(key: string, value: T, durationMs: number): void {
    if (durationMs <= 0) return;
    this.#purge();
    this.#entries.delete(key);
    this.#entries.set(key, { value, expiresMs: this.#clock.monotonicMs() + durationMs });
    if (this.#entries.size > MAX_ENTRIES) this.#entries.delete(this.#entries.keys().next().value!);
  }

  #purge(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#purgedMs < PURGE_MS) return;
    this.#purgedMs = nowMs;
    for (const [key, { expiresMs }] of this.#entries) if (expiresMs <= nowMs) this.#entries.delete(key);
  }
}
