import type { Writable } from 'node:stream';

/** Resolves when `sink` takes more, or never will: whoever waits looks whether it is destroyed. Leaves no listener. */
export function drained(sink: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      sink.off('drain', done).off('close', done);
      resolve();
    };
    sink.on('drain', done).on('close', done);
    if (sink.destroyed) done();
  });
}
