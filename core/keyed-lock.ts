// One piece of work at a time per key, in the order in which it was asked for. Nothing is kept for a key at rest.

export class KeyedLock<K> {
  readonly #tails = new Map<K, Promise<unknown>>();

  /**
   * Runs `work` when all that was asked for `key` before has ended, well or badly. Who still waits when `signal` aborts
   * waits no more, and its work is not begun; work that has begun is left to look at the signal itself.
   * @throws what `work` throws, or the signal's reason.
   */
  async run<T>(key: K, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    let hasBegun = false;
    const begin = (): Promise<T> => {
      signal?.throwIfAborted();
      hasBegun = true;
      return work();
    };
    const turn = before.then(begin, begin);
    this.#tails.set(key, turn);
    const rest = () => {
      if (this.#tails.get(key) === turn) this.#tails.delete(key);
    };
    turn.then(rest, rest); // not when the one who asked leaves: others may have queued behind it
    if (signal === undefined) return await turn;
    const left = Promise.withResolvers<never>();
    const leave = () => {
      if (!hasBegun) left.reject(signal.reason);
    };
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    try {
      return await Promise.race([turn, left.promise]);
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }
}
