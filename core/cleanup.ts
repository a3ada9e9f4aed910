// Undo steps for work that must be complete or not there at all.

/** AsyncDisposableStack with a `keep()`: unless kept, disposing runs every deferred step, last in first out. */
export class Cleanup implements AsyncDisposable {
  #stack = new AsyncDisposableStack();

  /** Registers an undo step. Give it its own deadline, not the signal of the work: that may be aborted already. */
  defer(undo: () => void | Promise<void>): void {
    this.#stack.defer(undo);
  }

  /** Success: nothing will be undone. */
  keep(): void {
    this.#stack.move();
    this.#stack = new AsyncDisposableStack();
  }

  /** @throws SuppressedError chain when several steps fail; every step has run nevertheless. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
