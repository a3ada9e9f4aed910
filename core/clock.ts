// Time as a parameter, so that tests can step it. Everything that waits or measures takes a Clock.

export interface Clock {
  /** Wall clock, ms since the epoch. For API timestamps only: it can jump. */
  now(): number;
  /** Monotonic ms, for durations, back-off and due times. */
  monotonicMs(): number;
  /** Resolves after `ms`, or at once when `signal` aborts. Never rejects: loops look at the signal. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** One-shot timer for owners that hold it as a resource; disposing cancels. `callback` must not throw. */
  setTimer(ms: number, callback: () => void): Disposable;
}

/** setTimeout fires at once for longer delays than this (2^31−1 ms, about 24.8 days), so waits are capped at it. */
export const MAX_TIMER_MS = 2_147_483_647;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep(ms, signal) {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', finish);
        resolve();
      };
      const timer = setTimeout(finish, Math.min(Math.max(0, ms), MAX_TIMER_MS));
      signal?.addEventListener('abort', finish, { once: true });
    });
  },
  setTimer(ms, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(0, ms), MAX_TIMER_MS));
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};
