// A clock that moves only when a test says so. Timers due within an advance fire in order of their due time, and the
// microtasks (and one macrotask turn) that each one starts run before the next fires.
import type { Clock } from './clock.ts';

interface PendingTimer {
  readonly dueMs: number;
  readonly seq: number;
  readonly fire: () => void;
}

/** Far longer than anything takes on a busy machine. */
const REAL_LIMIT_MS = 60_000;

export class FakeClock implements Clock {
  #monotonicMs = 0;
  #wallOffsetMs: number;
  #seq = 0;
  #timers: PendingTimer[] = [];

  constructor(startWallMs = Date.UTC(2026, 0, 1)) {
    this.#wallOffsetMs = startWallMs;
  }

  now(): number {
    return this.#wallOffsetMs + this.#monotonicMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  /** Steps the wall clock without touching monotonic time, as an administrator or NTP would. */
  stepWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = () => {
        timer[Symbol.dispose]();
        signal?.removeEventListener('abort', finish);
        resolve();
      };
      const timer = this.setTimer(ms, finish);
      signal?.addEventListener('abort', finish, { once: true });
    });
  }

  setTimer(ms: number, callback: () => void): Disposable {
    const timer: PendingTimer = { dueMs: this.#monotonicMs + Math.max(0, ms), seq: this.#seq++, fire: callback };
    this.#timers.push(timer);
    return {
      [Symbol.dispose]: () => {
        this.#timers = this.#timers.filter((t) => t !== timer);
      },
    };
  }

  /** Timers and sleeps still pending: a stopped component must leave 0. */
  get sleeping(): number {
    return this.#timers.length;
  }

  /** Moves time on by `ms`, firing what becomes due in order, and lets all started work settle. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#monotonicMs + ms;
    await settle();
    for (;;) {
      const next = this.#timers.filter((t) => t.dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs || a.seq - b.seq)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((t) => t !== next);
      this.#monotonicMs = Math.max(this.#monotonicMs, next.dueMs);
      next.fire();
      await settle();
    }
    this.#monotonicMs = endMs;
    await settle();
  }

  /** Moves time on by `stepMs` again and again until `holds`, while files and sockets take the time that they take. */
  async until(holds: () => boolean, stepMs = 0): Promise<void> {
    for (const endMs = performance.now() + REAL_LIMIT_MS; !holds(); ) {
      if (performance.now() > endMs) throw new Error(`it has not come to ${holds} within ${REAL_LIMIT_MS} ms`);
      await this.advance(stepMs);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

/** Lets promise chains run dry: a few macrotask turns, each of which drains the microtask queue. */
async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}
