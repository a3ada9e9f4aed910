import { expect, test } from 'vitest';
import { OneAtATime } from './one-at-a-time.ts';

test('a job begins when the one before it has ended, and its input can be made meanwhile', async () => {
  const runs = new OneAtATime();
  const first = Promise.withResolvers<void>();
  const seen: string[] = [];
  await runs.start(async () => {
    seen.push('first begins');
    await first.promise;
    seen.push('first ends');
  });
  seen.push('input of the second');
  const second = runs.start(async () => void seen.push('second'));
  first.resolve();
  await second;
  await runs.end();
  expect(seen).toEqual(['first begins', 'input of the second', 'first ends', 'second']);
});

test('a job that fails keeps the next one from beginning', async () => {
  const runs = new OneAtATime();
  await runs.start(() => Promise.reject(new Error('refused')));
  let hasBegun = false;
  const next = runs.start(async () => {
    hasBegun = true;
  });
  await expect(next).rejects.toThrow('refused');
  await expect(runs.end()).rejects.toThrow('refused');
  expect(hasBegun).toBe(false);
});
