import { expect, test } from 'vitest';
import { KeyedLock } from './keyed-lock.ts';

test('work of one key runs in order, also after a failure; other keys do not wait', async () => {
  const lock = new KeyedLock<string>();
  const steps: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = lock.run('a', async () => {
    await gate.promise;
    steps.push('a1');
    throw new Error('a1 failed');
  });
  const second = lock.run('a', async () => void steps.push('a2'));
  await lock.run('b', async () => void steps.push('b1'));
  gate.resolve();
  await expect(first).rejects.toThrow('a1 failed');
  await second;
  expect(steps).toEqual(['b1', 'a1', 'a2']);
});

test('who leaves the queue keeps his place from nobody, and his work is not begun', async () => {
  const lock = new KeyedLock<string>();
  const steps: string[] = [];
  const gate = Promise.withResolvers<void>();
  const step = (name: string) => async () => void steps.push(name);
  const first = lock.run('a', () => gate.promise);
  const leaving = new AbortController();
  const second = lock.run('a', step('left'), leaving.signal);
  const third = lock.run('a', step('third'), new AbortController().signal);
  leaving.abort(new Error('not wanted any more'));
  await expect(second).rejects.toThrow('not wanted any more');
  await expect(lock.run('a', step('too late'), leaving.signal)).rejects.toThrow('not wanted any more');
  expect(steps).toEqual([]);
  gate.resolve();
  await first;
  await third;
  await lock.run('a', step('last'));
  expect(steps).toEqual(['third', 'last']);
});

test('work that has begun goes on when its signal aborts', async () => {
  const lock = new KeyedLock<string>();
  const stop = new AbortController();
  const gate = Promise.withResolvers<string>();
  const begun = Promise.withResolvers<void>();
  const running = lock.run(
    'a',
    () => {
      begun.resolve();
      return gate.promise;
    },
    stop.signal,
  );
  await begun.promise;
  stop.abort();
  gate.resolve('done');
  expect(await running).toBe('done');
});
