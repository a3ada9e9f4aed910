import { expect, test } from 'vitest';
import { Slots } from './slots.ts';

const never = new AbortController().signal;

test('no more than the given number hold a slot, and the others come in their order', async () => {
  const slots = new Slots(2);
  const order: string[] = [];
  const take = async (name: string) => {
    const slot = await slots.take(never);
    order.push(name);
    return slot;
  };
  const [a, b] = [await take('a'), await take('b')];
  const [c, d] = [take('c'), take('d')];
  await Promise.resolve();
  expect(order).toEqual(['a', 'b']);
  b[Symbol.dispose]();
  b[Symbol.dispose](); // twice counts once
  await c;
  expect(order).toEqual(['a', 'b', 'c']);
  a[Symbol.dispose]();
  await d;
  expect(order).toEqual(['a', 'b', 'c', 'd']);
});

test('one that gives up waiting takes no slot, one that was given a slot keeps it', async () => {
  const slots = new Slots(1);
  const first = await slots.take(never);
  const [early, late] = [new AbortController(), new AbortController()];
  const gaveUp = slots.take(early.signal);
  const served = slots.take(late.signal);
  early.abort(new Error('enough'));
  await expect(gaveUp).rejects.toThrow('enough');
  first[Symbol.dispose]();
  late.abort();
  const slot = await served;
  slot[Symbol.dispose]();
  await expect(slots.take(AbortSignal.abort(new Error('too late')))).rejects.toThrow('too late');
  (await slots.take(never))[Symbol.dispose]();
});
