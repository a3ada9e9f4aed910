// Long work on the main thread, cut so that the event loop goes round meanwhile: probes, watches and HTTP requests of
// the same process must not wait for it.
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Work without a pause, ms. Far below the 50 ms of delay that a daemon may show. */
const SLICE_MS = 8;

export class Turns {
  #sinceMs = performance.now();

  /** Asked between two items: `if (turns.isDue) await turns.next();` costs no promise when it is not. */
  get isDue(): boolean {
    return performance.now() - this.#sinceMs >= SLICE_MS;
  }

  /** Lets everything else that waits have its turn. */
  async next(): Promise<void> {
    await nextTurn();
    this.#sinceMs = performance.now();
  }
}
