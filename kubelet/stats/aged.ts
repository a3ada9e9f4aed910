import type { Clock } from '../../core/clock.ts';

/**
 * Asks `ask` again when its last answer is older than `maxAgeMs`: whoever comes meanwhile gets the same one. A failure
 * is told to those who wait for it, and the next one asks again.
 */
export function aged<T>(ask: () => Promise<T>, { clock }: { readonly clock: Clock }) {
  let last: { readonly monotonicMs: number; readonly answer: Promise<T> } | undefined;
  return (maxAgeMs: number): Promise<T> => {
    const monotonicMs = clock.monotonicMs();
    if (last === undefined || monotonicMs - last.monotonicMs >= maxAgeMs) {
      const asked = { monotonicMs, answer: ask() };
      last = asked;
      asked.answer.catch(() => {
        if (last === asked) last = undefined;
      });
    }
    return last.answer;
  };
}
