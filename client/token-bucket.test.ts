import { expect, test } from 'vitest';
import { FakeClock } from '../core/fake-clock.ts';
import { TokenBucket } from './token-bucket.ts';

test('a burst goes at once, the rest in order at the rate', async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket({ qps: 10, burst: 2 }, { clock });
  const done: string[] = [];
  for (let i = 0; i < 5; i++) void bucket.take().then(() => done.push(`${i}@${clock.monotonicMs()}`));
  await clock.advance(250);
  await clock.advance(1_000);
  expect(done).toEqual(['0@0', '1@0', '2@100', '3@200', '4@300']);
  expect(clock.sleeping).toBe(0);
});

test('a caller that gives up hands its place back', async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket({ qps: 1, burst: 1 }, { clock });
  const stop = new AbortController();
  await bucket.take();
  const waiting = bucket.take(stop.signal);
  stop.abort();
  await waiting;
  await clock.advance(1_000);
  expect(bucket.tryTake()).toBe(true);
  expect(bucket.tryTake()).toBe(false);
});

test('idle time fills the bucket up to the burst, not beyond', async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket({ qps: 1, burst: 3 }, { clock });
  await clock.advance(1_000_000);
  expect([1, 2, 3, 4].map(() => bucket.tryTake())).toEqual([true, true, true, false]);
});
