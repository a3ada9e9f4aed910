import { expect, test } from 'vitest';
import { aborted, linkedSignal, untilAborted } from './abort.ts';
import { Backoff, KeyedBackoff } from './backoff.ts';
import { Cleanup } from './cleanup.ts';
import { systemClock } from './clock.ts';
import { isAgentError } from './errors.ts';
import { FakeClock } from './fake-clock.ts';
import { runTasks } from './tasks.ts';

// ---- clock ----

test('the system clock sleeps for no time at all when its signal is aborted, before or during', async () => {
  const stop = new AbortController();
  const asleep = systemClock.sleep(3_600_000, stop.signal);
  stop.abort();
  await asleep;
  await systemClock.sleep(3_600_000, stop.signal);
});

test('a delay longer than timers can hold does not fire at once', async () => {
  let fired = false;
  using _timer = systemClock.setTimer(2 ** 40, () => {
    fired = true;
  });
  await new Promise<void>((resolve) => setImmediate(resolve));
  await systemClock.sleep(0);
  expect(fired).toBe(false);
});

test('the fake clock fires in order of due time, steps the wall apart, and counts what is pending', async () => {
  const clock = new FakeClock(1_000);
  const fired: string[] = [];
  clock.setTimer(20, () => fired.push(`b@${clock.monotonicMs()}`));
  clock.setTimer(10, () => {
    fired.push(`a@${clock.monotonicMs()}`);
    clock.setTimer(5, () => fired.push(`nested@${clock.monotonicMs()}`));
  });
  const cancelled = clock.setTimer(1, () => fired.push('cancelled'));
  cancelled[Symbol.dispose]();
  clock.stepWall(-500);
  expect(clock.sleeping).toBe(2);
  await clock.advance(100);
  expect(fired).toEqual(['a@10', 'nested@15', 'b@20']);
  expect([clock.monotonicMs(), clock.now(), clock.sleeping]).toEqual([100, 600, 0]);
});

// ---- abort ----

test("work is not waited for when the signal aborts, and its failure is nobody's then", async () => {
  const stop = new AbortController();
  const work = Promise.withResolvers<string>();
  const waiting = untilAborted(work.promise, stop.signal);
  stop.abort();
  await expect(waiting).rejects.toBe(stop.signal.reason);
  await expect(untilAborted(Promise.reject(new Error('late')), stop.signal)).rejects.toBe(stop.signal.reason);
  work.reject(new Error('later'));
  expect(await untilAborted(Promise.resolve('done'), new AbortController().signal)).toBe('done');
});

test('a linked signal aborts with its parent and its reason, or alone, and lets go when disposed', () => {
  const parent = new AbortController();
  const linked = linkedSignal(parent.signal);
  const left = linkedSignal(parent.signal);
  left[Symbol.dispose]();
  const own = linkedSignal(parent.signal);
  own.abort('mine');
  expect(parent.signal.aborted).toBe(false);
  parent.abort('end');
  expect([linked.signal.reason, left.signal.aborted, own.signal.reason]).toEqual(['end', false, 'mine']);
  expect(linkedSignal(parent.signal).signal.reason).toBe('end');
});

test('a linked signal times out with a TimeoutError', async () => {
  using linked = linkedSignal(undefined, 1);
  await aborted(linked.signal);
  expect((linked.signal.reason as Error).name).toBe('TimeoutError');
});

// ---- tasks ----

const runUntilAborted = (log: string[], name: string) => async (signal: AbortSignal) => {
  await aborted(signal);
  log.push(`${name} ended`);
};

test('tasks end together when the signal aborts', async () => {
  const stop = new AbortController();
  const log: string[] = [];
  const all = runTasks(stop.signal, { a: runUntilAborted(log, 'a'), b: runUntilAborted(log, 'b') });
  stop.abort();
  await all;
  expect(log).toEqual(['a ended', 'b ended']);
});

test('a task that throws takes the others with it, and the error names it', async () => {
  const log: string[] = [];
  const cause = new Error('no disk');
  const failing = runTasks(new AbortController().signal, {
    a: runUntilAborted(log, 'a'),
    b: () => Promise.reject(cause),
  });
  const err = await failing.catch((e: unknown) => e);
  expect(isAgentError(err, 'TASK_FAILED') && [err.message, err.cause]).toEqual(['task b failed: no disk', cause]);
  expect(log).toEqual(['a ended']); // awaited before the error came
});

test('a task that returns early is an error too', async () => {
  const failing = runTasks(new AbortController().signal, { a: async () => {}, b: runUntilAborted([], 'b') });
  await expect(failing).rejects.toMatchObject({ code: 'TASK_ENDED', message: 'task a ended early' });
});

test('the AbortError of a task that was stopped is no failure, another error while stopping is', async () => {
  const stop = new AbortController();
  const throwing = (make: (signal: AbortSignal) => unknown) => async (signal: AbortSignal) => {
    await aborted(signal);
    throw make(signal);
  };
  const clean = runTasks(stop.signal, { a: throwing((s) => s.reason) });
  const dirty = runTasks(stop.signal, { a: throwing(() => new Error('cannot close')) });
  stop.abort();
  await clean;
  await expect(dirty).rejects.toMatchObject({ code: 'TASK_FAILED' });
});

// ---- cleanup ----

test('undo steps run last in first out, all of them though some fail', async () => {
  const ran: number[] = [];
  const cleanup = new Cleanup();
  cleanup.defer(() => void ran.push(1));
  cleanup.defer(async () => {
    ran.push(2);
    throw new Error('two');
  });
  cleanup.defer(() => {
    ran.push(3);
    throw new Error('three');
  });
  await expect(cleanup[Symbol.asyncDispose]()).rejects.toBeInstanceOf(SuppressedError);
  expect(ran).toEqual([3, 2, 1]);
});

test('what is kept is not undone; later steps are', async () => {
  const ran: string[] = [];
  {
    await using cleanup = new Cleanup();
    cleanup.defer(() => void ran.push('before'));
    cleanup.keep();
    cleanup.defer(() => void ran.push('after'));
  }
  expect(ran).toEqual(['after']);
});

// ---- backoff ----

test('delays double up to the cap, start again after a reset, and jitter only adds', () => {
  const backoff = new Backoff({ initialMs: 100, maxMs: 350 });
  expect([backoff.next(), backoff.next(), backoff.next(), backoff.next()]).toEqual([100, 200, 350, 350]);
  backoff.reset();
  expect(backoff.next()).toBe(100);
  expect(new Backoff({ initialMs: 100, maxMs: 100, jitter: 0.5 }, () => 1).next()).toBe(150);
});

test('the back-off of a key doubles, ends, and is forgotten after twice the cap', async () => {
  const clock = new FakeClock();
  const backoff = new KeyedBackoff<string>({ initialMs: 10_000, maxMs: 300_000 }, { clock });
  expect([backoff.get('a'), backoff.leftSince('a', clock.now()), backoff.untilMs('a')]).toEqual([0, 0, undefined]);
  backoff.next('a', clock.now());
  backoff.next('a', clock.now());
  expect(backoff.get('a')).toBe(20_000);
  const finishedMs = clock.now();
  await clock.advance(19_999);
  expect([backoff.leftSince('a', finishedMs), backoff.isInBackoffSinceUpdate('a')]).toEqual([1, true]);
  await clock.advance(1);
  expect([backoff.leftSince('a', finishedMs), backoff.isInBackoffSinceUpdate('a')]).toEqual([0, false]);
  for (let i = 0; i < 10; i++) backoff.next('a', clock.now());
  expect(backoff.get('a')).toBe(300_000);
  await clock.advance(600_001);
  backoff.next('a', clock.now());
  expect(backoff.get('a')).toBe(10_000);
  await clock.advance(600_001);
  backoff.collect();
  expect(backoff.get('a')).toBe(0);
});

test('a clock that is set back or forward makes no back-off of a key longer', async () => {
  const clock = new FakeClock();
  const backoff = new KeyedBackoff<string>({ initialMs: 10_000, maxMs: 300_000 }, { clock });
  backoff.next('a', clock.now());
  await clock.advance(1_000);
  const finishedMs = clock.now();
  clock.stepWall(-3_600_000);
  expect(backoff.leftSince('a', finishedMs)).toBe(9_000);
  expect(backoff.untilMs('a')).toBe(clock.now() + 9_000);
  await clock.advance(9_000);
  expect([backoff.leftSince('a', finishedMs), backoff.isInBackoffSinceUpdate('a')]).toEqual([0, false]);
  backoff.next('a', clock.now());
  clock.stepWall(3_600_000);
  expect([backoff.isInBackoffSinceUpdate('a'), backoff.untilMs('a')]).toEqual([true, clock.now() + 20_000]);
});
