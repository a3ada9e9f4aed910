// An unbounded queue read by one `for await`, for fakes of streams.

export class WatchQueue<E> implements AsyncIterable<E> {
  readonly #items: E[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  #error: Error | undefined;

  push(item: E): void {
    if (this.#ended) return;
    this.#items.push(item);
    this.#wake?.();
  }

  /** What was pushed before is still read; then the stream ends, or throws `error`. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<E> {
    for (;;) {
      while (this.#items.length > 0) yield this.#items.shift()!;
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
