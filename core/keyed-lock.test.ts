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
