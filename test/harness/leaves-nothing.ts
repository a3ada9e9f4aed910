// Files of tests that share a process: each has to leave it as it found it, and fails when it does not. For vitest's
// `setupFiles`.
import { afterAll, beforeAll } from 'vitest';
import { type ProcessState, processState, whatIsLeft } from './process-state.ts';

/** What was closed may need some turns to be gone. */
const GONE_MS = 10_000;
const LOOK_AGAIN_MS = 10;

let before: ProcessState;
beforeAll(() => {
  before = processState();
  before.delete('open Timeout'); // one that waits now is the runner's own, which is done with it by then
});

// Of all such hooks of a file this one comes last, for it was the first to be told.
afterAll(async () => {
  const endMs = performance.now() + GONE_MS;
  for (;;) {
    const left = whatIsLeft(before, processState());
    if (left.length === 0) return;
    if (performance.now() > endMs) throw new Error(`the next file in this process would find: ${left.join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
});
