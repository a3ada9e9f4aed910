import { afterEach, beforeEach, expect, test } from 'vitest';
import { AsyncQueue } from '../../core/async-queue.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { CriError } from '../../cri/errors.ts';
import type { Image } from '../../cri/gen/messages.ts';
import { ImageList } from './image-list.ts';

let clock: FakeClock;
let lists: number;
let changes: AsyncQueue<void>;
let subscriptions: number;
let present: string[];
let failure: Error | undefined;
let list: ImageList;
let stop: AbortController;
let ended: Promise<void>;

beforeEach(() => {
  clock = new FakeClock();
  lists = 0;
  subscriptions = 0;
  present = ['a'];
  failure = undefined;
  changes = new AsyncQueue(10);
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  changes.close();
  await ended;
  expect(clock.sleeping).toBe(0);
});

async function start(subscribe: () => AsyncIterable<void> = () => changes): Promise<void> {
  const images = {
    listImages: async () => {
      lists++;
      if (failure !== undefined) throw failure;
      return present.map((id) => ({ id }) as Image);
    },
    imageChanges: () => {
      subscriptions++;
      return subscribe();
    },
  };
  list = new ImageList(images, { clock, log: silentLog });
  ended = list.run(stop.signal);
  await clock.advance(1_000);
}
const ids = () => list.current.map((i) => i.id);

test('a change is seen soon, a burst of changes is one list', async () => {
  await start();
  expect([ids(), lists]).toEqual([['a'], 1]);
  present = ['a', 'b'];
  for (let i = 0; i < 5; i++) changes.push(undefined);
  await clock.advance(1_000);
  expect(ids()).toEqual(['a', 'b']);
  expect(lists).toBeLessThanOrEqual(3);
});

test('a node whose images do not change is left alone', async () => {
  await start();
  await clock.advance(30_000); // the one look after the subscription
  expect(lists).toBe(2);
  await clock.advance(299_000);
  expect(lists).toBe(2);
  await clock.advance(3_000);
  expect(lists).toBe(3);
});

test('a runtime that tells of no changes is asked every 30 s', async () => {
  await start(async function* () {
    yield* [];
    throw new CriError('Subscribe', 'UNIMPLEMENTED', 'unknown service');
  });
  const before = lists;
  await clock.advance(10 * 31_000);
  expect(lists - before).toBe(10);
  expect(subscriptions).toBe(2); // another runtime may have taken its place
});

test('a stream that ends is followed anew, and what changed meanwhile is seen', async () => {
  await start();
  present = ['b'];
  changes.close(new CriError('Subscribe', 'UNAVAILABLE', 'connection lost'));
  await clock.advance(1_000);
  expect(ids()).toEqual(['b']);
  changes = new AsyncQueue(10);
  await clock.advance(30_000);
  expect(subscriptions).toBe(2);
});

test('a list that fails leaves the former one, and is tried again', async () => {
  await start();
  failure = new Error('unavailable');
  await clock.advance(30_000);
  expect(ids()).toEqual(['a']);
  failure = undefined;
  present = ['c'];
  await clock.advance(31_000);
  expect(ids()).toEqual(['c']);
});
