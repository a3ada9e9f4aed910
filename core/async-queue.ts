// Values pushed from callbacks, taken by one `for await`. Bounded: a consumer that does not keep up is told so rather
// than letting memory grow.
import { AgentError } from './errors.ts';

export class AsyncQueue<T> implements AsyncIterable<T> {
  readonly #limit: number;
  #values: T[] = [];
  #closed = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Does nothing once closed. Beyond the limit the queue fails with QUEUE_FULL. */
  push(value: T): void {
    if (this.#closed) return;
    if (this.#values.length >= this.#limit) {
      this.close(
        new AgentError(`more than ${this.#limit} values wait to be taken`, { code: 'QUEUE_FULL', retryable: true }),
      );
      return;
    }
    this.#values.push(value);
    this.#wake?.();
  }

  /** The consumer's loop ends after what is queued, with `error` if one is given. */
  close(error?: unknown): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#error = error;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    for (;;) {
      const batch = this.#values;
      this.#values = [];
      yield* batch;
      if (this.#values.length > 0) continue;
      if (this.#closed) break;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    if (this.#error !== undefined) throw this.#error;
  }
}
