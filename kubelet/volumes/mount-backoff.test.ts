import { beforeEach, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { MountBackoff } from './mount-backoff.ts';
import { VolumeStepError } from './volume-error.ts';

const REFUSED = new VolumeStepError('SetUp', 'pv', 'refused');

let clock: FakeClock;
let backoff: MountBackoff;

beforeEach(() => {
  clock = new FakeClock();
  backoff = new MountBackoff(clock);
});

test('tries get rarer from 0.5 s to 2 min 2 s, of each volume by itself', async () => {
  const delays: number[] = [];
  for (let i = 0; i < 10; i++) {
    expect(backoff.failed('u', 'v', REFUSED)).toBe(true);
    delays.push(backoff.retryInMs('u'));
    expect(backoff.heldBack('u', 'v')).toMatchObject({ err: REFUSED });
    await clock.advance(backoff.retryInMs('u') - 1);
    expect(backoff.heldBack('u', 'v')).toMatchObject({ err: REFUSED });
    await clock.advance(1);
    expect(backoff.heldBack('u', 'v')).toBeUndefined();
  }
  expect(delays).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 122_000, 122_000]);
  backoff.failed('u', 'v', REFUSED);
  backoff.failed('u', 'other', REFUSED);
  expect(backoff.retryInMs('u')).toBe(500);
  backoff.succeeded('u', 'other');
  expect(backoff.retryInMs('u')).toBe(122_000);
  backoff.succeeded('u', 'v');
  expect([...backoff.podUids]).toEqual([]);
});

test('a failure is told again only when it is tried again or its text is another', async () => {
  expect(backoff.failed('u', 'v', new Error('a'))).toBe(true);
  expect(backoff.failed('u', 'v', new Error('a'))).toBe(false);
  expect(backoff.failed('u', 'v', new Error('b'))).toBe(true);
  await clock.advance(1000);
  expect(backoff.failed('u', 'v', new Error('b'))).toBe(true);
});

test('when what was missing may be there all is tried at once', () => {
  backoff.failed('u', 'v', REFUSED);
  backoff.release('u');
  expect(backoff.heldBack('u', 'v')).toBeUndefined();
  expect(backoff.retryInMs('u')).toBe(0);
  expect(backoff.failed('u', 'v', REFUSED)).toBe(true);
  expect(backoff.retryInMs('u')).toBe(1000);
});

test.each(['process', 'attach', 'WaitForAttach'] as const)(
  'what others must do first (%s) is looked at each time',
  (step) => {
    backoff.failed('u', 'v', new VolumeStepError(step, 'pv', 'not yet'));
    expect(backoff.heldBack('u', 'v')).toBeUndefined();
  },
);
