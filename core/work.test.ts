import { expect, test } from 'vitest';
import { DueQueue } from './due-queue.ts';
import { FakeClock } from './fake-clock.ts';
import { KeyedWorker } from './keyed-worker.ts';
import { silentLog } from './log.ts';
import { SyncRunner } from './sync-runner.ts';

// ---- due queue ----

/** Small deterministic random numbers (mulberry32), so that a failing run can be repeated. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test.each([1, 2, 3, 4, 5])('keys come due as in a plain list of due times (seed %i)', async (seed) => {
  const random = randomOf(seed);
  const clock = new FakeClock();
  const fired: string[] = [];
  const queue = new DueQueue<number>(clock, (key) => fired.push(`${key}@${clock.monotonicMs()}`));
  const model = new Map<number, { dueMs: number; seq: number }>();
  const expected: string[] = [];
  let seq = 0;
  for (let step = 0; step < 400; step++) {
    const key = Math.floor(random() * 20);
    const delayMs = Math.floor(random() * 50);
    const dueMs = clock.monotonicMs() + delayMs;
    const action = random();
    if (action < 0.5) {
      queue.set(key, delayMs);
      model.set(key, { dueMs, seq: seq++ });
    } else if (action < 0.65) {
      queue.setEarlier(key, delayMs);
      const old = model.get(key);
      if (old === undefined || dueMs < old.dueMs) model.set(key, { dueMs, seq: seq++ });
    } else if (action < 0.75) {
      queue.delete(key);
      model.delete(key);
    } else {
      const endMs = clock.monotonicMs() + delayMs;
      const due = [...model]
        .filter(([, e]) => e.dueMs <= endMs)
        .sort((a, b) => a[1].dueMs - b[1].dueMs || a[1].seq - b[1].seq);
      for (const [k, e] of due) {
        expected.push(`${k}@${e.dueMs}`);
        model.delete(k);
      }
      await clock.advance(delayMs);
      expect(fired).toEqual(expected);
    }
    expect(queue.size).toBe(model.size);
    expect(queue.dueMs(key)).toBe(model.get(key)?.dueMs);
    expect(clock.sleeping).toBe(model.size === 0 ? 0 : 1); // one timer for all
  }
  queue[Symbol.dispose]();
  expect(clock.sleeping).toBe(0);
});

test('a key set again and again is due once, and the heap does not grow with it', async () => {
  const clock = new FakeClock();
  let fired = 0;
  using queue = new DueQueue<string>(clock, () => fired++);
  for (let i = 0; i < 10_000; i++) queue.set('a', 10 + (i % 7));
  await clock.advance(1_000);
  expect(fired).toBe(1);
});

test('keys set or deleted while others come due are served as set', async () => {
  const clock = new FakeClock();
  const fired: string[] = [];
  const queue: DueQueue<string> = new DueQueue(clock, (key) => {
    fired.push(key);
    if (key !== 'a') return;
    queue.delete('b');
    queue.set('c', 5);
    if (fired.length === 1) queue.set('a', 5);
  });
  queue.set('a', 1);
  queue.set('b', 1);
  await clock.advance(20);
  expect(fired).toEqual(['a', 'c', 'a', 'c']);
  expect(clock.sleeping).toBe(0);
});

// ---- keyed worker ----

interface Running {
  readonly key: string;
  readonly finish: () => void;
  readonly fail: (err: Error) => void;
}

function startWorker(concurrency: number) {
  const running: Running[] = [];
  const log: string[] = [];
  const stop = new AbortController();
  const worker = new KeyedWorker<string>(
    async (key) => {
      log.push(key);
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      running.push({ key, finish: resolve, fail: reject });
      await promise;
    },
    { name: 'test', concurrency },
    { log: silentLog },
  );
  return { worker, running, log, stop, ended: worker.run(stop.signal) };
}
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('one job per key, the rest of its requests fold into one more', async () => {
  const { worker, running, log, stop, ended } = startWorker(4);
  for (let i = 0; i < 5; i++) worker.request('a');
  expect(log).toEqual(['a']);
  running.shift()!.finish();
  await turn();
  expect(log).toEqual(['a', 'a']);
  running.shift()!.finish();
  await turn();
  expect([log.length, worker.pending]).toEqual([2, 0]);
  stop.abort();
  await ended;
});

test('no more jobs at once than allowed, in the order of requests; a failed job blocks nothing', async () => {
  const { worker, running, log, stop, ended } = startWorker(2);
  for (const key of ['a', 'b', 'c', 'd']) worker.request(key);
  expect(log).toEqual(['a', 'b']);
  running.shift()!.fail(new Error('a'));
  await turn();
  expect(log).toEqual(['a', 'b', 'c']);
  running.shift()!.finish();
  await turn();
  expect(log).toEqual(['a', 'b', 'c', 'd']);
  for (const job of running) job.finish();
  stop.abort();
  await ended;
});

test('stopping waits for the jobs that run and starts no others', async () => {
  const { worker, running, log, stop, ended } = startWorker(1);
  worker.request('a');
  worker.request('b');
  let hasEnded = false;
  void ended.then(() => {
    hasEnded = true;
  });
  stop.abort();
  await turn();
  expect(hasEnded).toBe(false);
  running[0]!.finish();
  await ended;
  expect(log).toEqual(['a']);
});

// ---- sync runner ----

function startRunner(sync: (clock: FakeClock) => Promise<void>, burst = 1) {
  const clock = new FakeClock();
  const stop = new AbortController();
  const opts = { name: 'test', minIntervalMs: 1_000, burst, retryIntervalMs: 5_000, maxIntervalMs: 30_000 };
  const runner = new SyncRunner(() => sync(clock), opts, { clock, log: silentLog });
  return { clock, stop, runner, ended: runner.run(stop.signal) };
}

test('requests made during the cool-down or the sync fold into one run; without any it runs now and then', async () => {
  let runs = 0;
  const { clock, stop, runner, ended } = startRunner(async () => void runs++);
  await clock.advance(0);
  for (let i = 0; i < 3; i++) runner.request();
  await clock.advance(999);
  expect(runs).toBe(1);
  await clock.advance(1);
  expect(runs).toBe(2);
  await clock.advance(30_999);
  expect(runs).toBe(2);
  await clock.advance(1);
  expect(runs).toBe(3);
  await clock.advance(1_500);
  runner.request();
  await clock.advance(0);
  expect(runs).toBe(4); // the cool-down was over
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});

test.each([
  [300, 1_000],
  [1_500, 4_500],
  [9_000, 5_000],
])('after a run of %d ms the next one waits for %d ms', async (tookMs, pauseMs) => {
  const started: number[] = [];
  const clock = new FakeClock();
  const stop = new AbortController();
  const rest = { factor: 3, maxMs: 5_000 };
  const opts = { name: 'test', minIntervalMs: 1_000, rest, retryIntervalMs: 5_000, maxIntervalMs: 30_000 };
  const sync = async () => {
    started.push(clock.monotonicMs());
    runner.request();
    await clock.sleep(tookMs, stop.signal);
  };
  const runner: SyncRunner = new SyncRunner(sync, opts, { clock, log: silentLog });
  const ended = runner.run(stop.signal);
  await clock.advance(tookMs + pauseMs);
  expect(started).toEqual([started[0], started[0]! + tookMs + pauseMs]);
  stop.abort();
  await ended;
});

test('a failed sync is tried again sooner than the longest interval', async () => {
  let runs = 0;
  const { clock, stop, ended } = startRunner(async () => {
    if (++runs === 1) throw new Error('no');
  });
  await clock.advance(5_999);
  expect(runs).toBe(1);
  await clock.advance(1);
  expect(runs).toBe(2);
  await clock.advance(6_000);
  expect(runs).toBe(2);
  stop.abort();
  await ended;
});

test('with a burst of two, one run follows another at once, and the next ones come at their pace', async () => {
  const at: number[] = [];
  const { clock, stop, runner, ended } = startRunner(async (time) => {
    at.push(time.monotonicMs());
    if (at.length > 1 && at.length < 6) runner.request(); // a change during each run
  }, 2);
  await clock.advance(2_000);
  runner.request();
  await clock.advance(0);
  for (let i = 0; i < 10; i++) await clock.advance(1_000);
  expect(at.map((ms) => ms - at[0]!)).toEqual([0, 2_000, 2_000, 3_000, 4_000, 5_000]);
  for (let i = 0; i < 2; i++) {
    runner.request();
    await clock.advance(0);
  }
  expect(at).toHaveLength(8); // two again, after a pause
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});

test('a failed run is not followed at once, whatever the burst', async () => {
  let runs = 0;
  const { clock, stop, runner, ended } = startRunner(async () => {
    if (++runs === 1) return;
    runner.request();
    throw new Error('no');
  }, 2);
  await clock.advance(2_000);
  runner.request();
  await clock.advance(999);
  expect(runs).toBe(2);
  await clock.advance(1);
  expect(runs).toBe(3);
  stop.abort();
  await ended;
});

test('a request that can wait is served with the next urgent one, or by itself when it has waited', async () => {
  let runs = 0;
  const { clock, stop, runner, ended } = startRunner(async () => void runs++);
  await clock.advance(2_000);
  runner.request(50);
  await clock.advance(49);
  expect(runs).toBe(1);
  runner.request();
  await clock.advance(0);
  expect(runs).toBe(2);
  await clock.advance(2_000);
  expect(runs).toBe(2);
  runner.request(50);
  runner.request(80); // less urgent: changes nothing
  await clock.advance(50);
  expect(runs).toBe(3);
  await clock.advance(2_000);
  expect(runs).toBe(3);
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});
