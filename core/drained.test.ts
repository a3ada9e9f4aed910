import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { drained } from './drained.ts';

test.each([
  ['read', (sink: PassThrough) => void sink.resume()],
  ['destroyed', (sink: PassThrough) => void sink.destroy()],
])('who waits for a full stream goes on when it is %s, and leaves no listener', async (_what, end) => {
  const sink = new PassThrough({ highWaterMark: 1 });
  const before = [sink.listenerCount('drain'), sink.listenerCount('close')];
  expect(sink.write('xx')).toBe(false);
  const waiting = drained(sink);
  end(sink);
  await waiting;
  expect([sink.listenerCount('drain'), sink.listenerCount('close')]).toEqual(before);
});

test('a stream that is destroyed already holds up nobody', async () => {
  const sink = new PassThrough();
  sink.destroy();
  await drained(sink);
});
