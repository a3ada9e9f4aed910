import { expect, test } from 'vitest';
import { once } from './once.ts';

test('what is made is made once, for those who come meanwhile as well', async () => {
  let calls = 0;
  const get = once(async () => ++calls);
  expect(await Promise.all([get(), get()])).toEqual([1, 1]);
  expect(await get()).toBe(1);
});

test('a failure is told to all who wait for it, and to nobody later', async () => {
  let calls = 0;
  const get = once(async () => {
    calls += 1;
    if (calls === 1) throw new Error('not yet');
    return calls;
  });
  const both = await Promise.allSettled([get(), get()]);
  expect(both.map((r) => r.status)).toEqual(['rejected', 'rejected']);
  expect(await get()).toBe(2);
});
