// Answers of the API server about callers, for a while: one question at a time per key, a bounded number of answers, no
// timers. After apiserver pkg/authentication/token/cache and plugin/pkg/authorizer/webhook.
import type { Clock } from '../../core/clock.ts';

export interface Answer<V> {
  readonly value: V;
  /** How long it holds; 0: it is not kept. */
  readonly ttlMs: number;
}

/** The oldest answer goes first; upstream keeps as many. */
const MAX_ANSWERS = 8192;

export class ReviewCache<V> {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #maxAnswers: number;
  readonly #kept = new Map<string, { readonly value: V; readonly untilMs: number }>();
  readonly #asking = new Map<string, Promise<V>>();

  constructor(clock: Pick<Clock, 'monotonicMs'>, maxAnswers: number = MAX_ANSWERS) {
    this.#clock = clock;
    this.#maxAnswers = maxAnswers;
  }

  /** What is kept under `key`, else what `ask` answers. @throws what `ask` throws, to all that wait; it is not kept. */
  async get(key: string, ask: () => Promise<Answer<V>>): Promise<V> {
    const kept = this.#kept.get(key);
    if (kept !== undefined && this.#clock.monotonicMs() < kept.untilMs) return kept.value;
    const asking = this.#asking.get(key) ?? this.#ask(key, ask);
    return await asking;
  }

  #ask(key: string, ask: () => Promise<Answer<V>>): Promise<V> {
    const asking = ask()
      .then(({ value, ttlMs }) => {
        this.#keep(key, value, ttlMs);
        return value;
      })
      .finally(() => this.#asking.delete(key));
    this.#asking.set(key, asking);
    return asking;
  }

  #keep(key: string, value: V, ttlMs: number): void {
    this.#kept.delete(key); // a new answer is the youngest again
    if (ttlMs <= 0) return;
    if (this.#kept.size >= this.#maxAnswers) this.#kept.delete(this.#kept.keys().next().value!);
    this.#kept.set(key, { value, untilMs: this.#clock.monotonicMs() + ttlMs });
  }
}
