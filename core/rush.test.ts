import { expect, test } from 'vitest';
import { FakeClock } from './fake-clock.ts';
import { Rush } from './rush.ts';

const never = new AbortController().signal;

function startWork(rush: Rush): { end: () => Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = rush.during(() => promise);
  return {
    end: () => {
      resolve();
      return done;
    },
  };
}

test('a rush is on while more than the limit is going on', async () => {
  const rush = new Rush(1, new FakeClock());
  const first = startWork(rush);
  expect(rush.isOn).toBe(false);
  const second = startWork(rush);
  expect(rush.isOn).toBe(true);
  await first.end();
  expect(rush.isOn).toBe(false);
  await second.end();
});

test('failed work counts no longer, and its error goes on', async () => {
  const rush = new Rush(0, new FakeClock());
  await expect(rush.during(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(rush.isOn).toBe(false);
});

test('who waits goes on when the rush ends', async () => {
  const rush = new Rush(0, new FakeClock());
  const work = startWork(rush);
  let over = false;
  const waiting = rush.over(60_000, never).then(() => {
    over = true;
  });
  await Promise.resolve();
  expect(over).toBe(false);
  await work.end();
  await waiting;
});

test('who waits goes on after its time although the rush does', async () => {
  const clock = new FakeClock();
  const rush = new Rush(0, clock);
  const work = startWork(rush);
  const waiting = rush.over(1000, never);
  await clock.advance(1000);
  await waiting;
  expect(rush.isOn).toBe(true);
  await work.end();
});

test('without a rush nobody waits', async () => {
  await new Rush(0, new FakeClock()).over(60_000, never);
});

test('who waits goes on when it is told to stop', async () => {
  const rush = new Rush(0, new FakeClock());
  const work = startWork(rush);
  const stop = new AbortController();
  const waiting = rush.over(60_000, stop.signal);
  stop.abort();
  await waiting;
  await work.end();
});
