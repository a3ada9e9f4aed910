import { expect, test } from 'vitest';
import type { Call } from './endpoints.ts';
import { lazyHandler } from './lazy-handler.ts';

test('a module that could not be loaded is tried again with the next request', async () => {
  let [loads, calls] = [0, 0];
  const handler = lazyHandler(async () => {
    loads += 1;
    if (loads === 1) throw new Error('too many open files');
    return async () => void calls++;
  });
  await expect(handler({} as Call)).rejects.toThrow('too many open files');
  await handler({} as Call);
  await handler({} as Call);
  expect([loads, calls]).toEqual([2, 2]);
});
