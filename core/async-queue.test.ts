import { expect, test } from 'vitest';
import { AsyncQueue } from './async-queue.ts';

async function takeAll<T>(queue: AsyncQueue<T>): Promise<T[]> {
  const taken: T[] = [];
  for await (const value of queue) taken.push(value);
  return taken;
}

test('values come out in order, pushed before and during the loop, until it is closed', async () => {
  const queue = new AsyncQueue<number>(10);
  queue.push(1);
  const all = takeAll(queue);
  queue.push(2);
  await new Promise((resolve) => setImmediate(resolve));
  queue.push(3);
  queue.close();
  queue.push(4);
  expect(await all).toEqual([1, 2, 3]);
});

test('what was pushed before an error is still delivered', async () => {
  const queue = new AsyncQueue<number>(10);
  const taken: number[] = [];
  queue.push(1);
  queue.close(new Error('broken'));
  await expect(
    (async () => {
      for await (const value of queue) taken.push(value);
    })(),
  ).rejects.toThrow('broken');
  expect(taken).toEqual([1]);
});

test('a consumer that does not keep up is told', async () => {
  const queue = new AsyncQueue<number>(2);
  for (const n of [1, 2, 3]) queue.push(n);
  await expect(takeAll(queue)).rejects.toMatchObject({ code: 'QUEUE_FULL' });
});
