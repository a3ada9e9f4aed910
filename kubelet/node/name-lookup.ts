// The addresses of the node's name, for statuses that must not wait for a name server: where none answers, a resolver
// takes ten seconds to say so, and a status is due as often.
import type { Clock } from '../../core/clock.ts';

/** How long the first status waits, ms. A resolver that answers does so in a few. */
const FIRST_WAIT_MS = 2_000;

export class NameLookup {
  readonly #resolve: (name: string) => Promise<readonly string[]>;
  readonly #clock: Clock;
  #latest: readonly string[] | undefined;
  #pending: Promise<void> | undefined;

  /** `resolve` rejects when there is no such name, or nobody to ask. */
  constructor(resolve: (name: string) => Promise<readonly string[]>, clock: Clock) {
    this.#resolve = resolve;
    this.#clock = clock;
  }

  /** As of the question before, while it is asked anew; empty when nothing is known. Never rejects. */
  async of(name: string): Promise<readonly string[]> {
    this.#pending ??= this.#ask(name);
    if (this.#latest !== undefined) return this.#latest;
    const waiting = new AbortController();
    await Promise.race([this.#pending, this.#clock.sleep(FIRST_WAIT_MS, waiting.signal)]);
    waiting.abort();
    return this.#latest ?? [];
  }

  async #ask(name: string): Promise<void> {
    try {
      this.#latest = await this.#resolve(name);
    } catch {
      this.#latest = [];
    }
    this.#pending = undefined;
  }
}
