import { expect, test } from 'vitest';
import { FakeClock } from '../../../core/fake-clock.ts';
import type { StagedVolume } from './csi-records.ts';
import { UnstageRetries } from './unstage-retries.ts';

test('each volume is tried again by itself, later and later, until it is forgotten', async () => {
  const clock = new FakeClock();
  const tried: string[] = [];
  using retries = new UnstageRetries(clock, ({ handle }) => {
    tried.push(handle);
    retries.later(handle, volume(handle));
  });
  const volume = (handle: string): StagedVolume => ({ driver: 'd', handle, blockSpecName: undefined });
  retries.later('a', volume('a'));
  await clock.advance(499);
  expect(tried).toEqual([]);
  await clock.advance(1);
  expect(tried).toEqual(['a']);
  retries.later('b', volume('b'));
  await clock.advance(1_000);
  expect(tried).toEqual(['a', 'b', 'a']);
  retries.forget('a');
  await clock.advance(1_000_000);
  const times = tried.length;
  expect(tried.slice(3)).not.toContain('a');
  await clock.advance(121_999 + 1);
  expect(tried).toHaveLength(times + 1); // never later than that
  retries.forget('b');
  retries.later('b', volume('b'));
  await clock.advance(500);
  expect(tried).toHaveLength(times + 2); // from the beginning
});
