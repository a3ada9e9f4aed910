// Volumes that a driver would not unstage. No pod waits for that: it is tried again, after 0.5 s, doubled up to
// 2 min 2 s, as pkg/util/goroutinemap/exponentialbackoff does for every operation on a volume.
import type { Clock } from '../../../core/clock.ts';
import { DueQueue } from '../../../core/due-queue.ts';
import type { StagedVolume } from './csi-records.ts';

const INITIAL_MS = 500;
const MAX_MS = 122_000;

interface Waiting {
  readonly volume: StagedVolume;
  readonly delayMs: number;
}

export class UnstageRetries implements Disposable {
  /** By the unique name of the volume. */
  readonly #waiting = new Map<string, Waiting>();
  readonly #due: DueQueue<string>;

  /** `unstage` must not throw; it says `later` again, or `forget`. */
  constructor(clock: Clock, unstage: (volume: StagedVolume) => void) {
    this.#due = new DueQueue<string>(clock, (name) => {
      const waiting = this.#waiting.get(name);
      if (waiting !== undefined) unstage(waiting.volume);
    });
  }

  /** One more failure. */
  later(name: string, volume: StagedVolume): void {
    const last = this.#waiting.get(name);
    const delayMs = last === undefined ? INITIAL_MS : Math.min(2 * last.delayMs, MAX_MS);
    this.#waiting.set(name, { volume, delayMs });
    this.#due.set(name, delayMs);
  }

  /** It is unstaged, used again, or somebody else's to unstage. */
  forget(name: string): void {
    this.#waiting.delete(name);
    this.#due.delete(name);
  }

  [Symbol.dispose](): void {
    this.#waiting.clear();
    this.#due[Symbol.dispose]();
  }
}
