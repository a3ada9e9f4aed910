import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { exited, fakeContainer, fakeStatus, spec } from './fake-pod-status.ts';
import { RestartBackoff, restartBackoffKey } from './restart-backoff.ts';

const pod: Pod = { metadata: { name: 'p', namespace: 'ns', uid: 'u' }, spec: { containers: [] } };

/** Crashes at once after each start and returns the waits, in seconds, before the first `n` restarts. */
async function waits(maxMs: number, n: number): Promise<number[]> {
  const clock = new FakeClock();
  const backoff = new RestartBackoff({ maxMs }, { clock });
  const seconds: number[] = [];
  for (let i = 0; i < n; i++) {
    const status = fakeStatus([exited('c', 1, { finishedAtMs: clock.now() })]);
    const delay = backoff.tryStart(pod, spec('c'), status);
    const waitMs = delay === undefined ? 0 : delay.retryAtMs - clock.now();
    await clock.advance(waitMs);
    if (delay !== undefined) expect(backoff.tryStart(pod, spec('c'), status)).toBeUndefined();
    seconds.push(waitMs / 1000);
  }
  return seconds;
}

test('the first restart is at once, then the wait doubles from 10 s to 5 min', async () => {
  expect(await waits(300_000, 9)).toEqual([0, 10, 20, 40, 80, 160, 300, 300, 300]);
});

test('a maximum below 10 s is also the first wait', async () => {
  expect(await waits(5_000, 4)).toEqual([0, 5, 5, 5]);
});

test('message and time of a delayed restart', () => {
  const clock = new FakeClock();
  const backoff = new RestartBackoff({ maxMs: 300_000 }, { clock });
  const status = fakeStatus([exited('c', 1, { finishedAtMs: clock.now() })]);
  expect(backoff.tryStart(pod, spec('c'), status)).toBeUndefined();
  expect(backoff.tryStart(pod, spec('c'), status)).toEqual({
    message: 'back-off 10s restarting failed container=c pod=p_ns(u)',
    retryAtMs: clock.now() + 10_000,
  });
});

test('what never ended is not delayed', () => {
  const backoff = new RestartBackoff({ maxMs: 300_000 }, { clock: new FakeClock() });
  for (let i = 0; i < 3; i++) {
    expect(
      backoff.tryStart(pod, spec('c'), fakeStatus([fakeContainer({ name: 'c', state: 'created' })])),
    ).toBeUndefined();
  }
});

test('ten quiet minutes start afresh', async () => {
  const clock = new FakeClock();
  const backoff = new RestartBackoff({ maxMs: 300_000 }, { clock });
  const crash = () => fakeStatus([exited('c', 1, { finishedAtMs: clock.now() })]);
  backoff.tryStart(pod, spec('c'), crash());
  const second = crash();
  await clock.advance(10_000);
  backoff.tryStart(pod, spec('c'), second);
  await clock.advance(600_001);
  expect(backoff.tryStart(pod, spec('c'), crash())).toBeUndefined(); // expired: back to the first delay
  expect(backoff.tryStart(pod, spec('c'), crash())?.retryAtMs).toBe(clock.now() + 10_000);
});

test('another image, other resources and another uid have delays of their own', () => {
  const key = restartBackoffKey(pod, spec('c'));
  expect(key).toMatch(/^[0-9a-f]{1,16}$/);
  expect(restartBackoffKey(pod, spec('c', { image: 'other' }))).not.toBe(key);
  expect(restartBackoffKey(pod, spec('c', { resources: { limits: { cpu: '1' } } }))).not.toBe(key);
  expect(restartBackoffKey({ ...pod, metadata: { ...pod.metadata, uid: 'v' } }, spec('c'))).not.toBe(key);
  expect(restartBackoffKey(pod, spec('c', { command: ['x'] }))).toBe(key);
});
