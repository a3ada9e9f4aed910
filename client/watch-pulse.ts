// Notices a watch that is dead without looking so. Keep-alive probes tell of a peer that is gone, but a proxy in between
// answers them for a server that is gone, or hangs, as it does pings over HTTP/2. Its bookmarks
// tell that it lives: who has begun to send them sends one about every minute.
import type { KubeObject, WatchEvent } from '../api/meta.ts';
import type { Clock } from '../core/clock.ts';

/** Two bookmarks were missed, ms. */
const SILENT_MS = 150_000;

export class WatchPulse implements Disposable {
  readonly #clock: Clock;
  readonly #onSilent: () => void;
  #heardMs = 0;
  #timer: Disposable | undefined;

  constructor(clock: Clock, onSilent: () => void) {
    this.#clock = clock;
    this.#onSilent = onSilent;
  }

  /** An event has come. Only the first bookmark starts a timer: a server without them may be silent for as long as it likes. */
  heard({ type }: WatchEvent<KubeObject>): void {
    this.#heardMs = this.#clock.monotonicMs();
    if (type === 'BOOKMARK' && this.#timer === undefined) this.#arm(SILENT_MS);
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }

  /** One timer for many events: it looks when it fires whether something came meanwhile. */
  #arm(ms: number): void {
    this.#timer = this.#clock.setTimer(ms, () => {
      const leftMs = this.#heardMs + SILENT_MS - this.#clock.monotonicMs();
      if (leftMs > 0) this.#arm(leftMs);
      else this.#onSilent();
    });
  }
}
