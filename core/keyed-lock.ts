// One piece of work at a time per key, in the order in which it was asked for. Nothing is kept for a key at rest.

export class KeyedLock<K> {
  readonly #tails = new Map<K, Promise<unknown>>();

  /** Runs `work` when all that was asked for `key` before has ended, well or badly. */
  async run<T>(key: K, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const turn = before.then(work, work);
    this.#tails.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#tails.get(key) === turn) this.#tails.delete(key);
    }
  }
}
