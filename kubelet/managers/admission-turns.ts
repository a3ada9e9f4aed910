// Pods are admitted in the order in which they come here, also when one of them takes its time: whoever comes later waits
// for its turn. A pod whose device plugin is away comes when that is back. No queue, no work where nothing is allocated.
import type { Logger } from '../../core/log.ts';

export class AdmissionTurns {
  readonly #takeTurn: (podUid: string) => Promise<void>;
  readonly #log: Logger;
  readonly #waiting: string[] = [];
  #isBusy = false;

  constructor(takeTurn: (podUid: string) => Promise<void>, deps: { readonly log: Logger }) {
    this.#takeTurn = takeTurn;
    this.#log = deps.log;
  }

  /** A pod is having its turn: whoever is to be asked about now has to wait. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** A first turn begins when the caller has done what it does now: pods that come together are all known by then. */
  add(podUid: string): void {
    this.#waiting.push(podUid);
    if (!this.#isBusy) void this.#run(); // catches everything itself
  }

  async #run(): Promise<void> {
    this.#isBusy = true;
    await Promise.resolve();
    for (let uid = this.#waiting.shift(); uid !== undefined; uid = this.#waiting.shift()) {
      try {
        await this.#takeTurn(uid);
      } catch (err) {
        this.#log.error({ err, podUid: uid }, 'pod not admitted');
      }
    }
    this.#isBusy = false;
  }
}
