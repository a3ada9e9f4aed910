import { expect, test } from 'vitest';
import { ReasonCache } from './reason-cache.ts';

const failure = (container: string) => ({ container, reason: 'CrashLoopBackOff', message: 'back-off 10s' });

test('a failed start sets the reason, a successful one clears it', () => {
  const cache = new ReasonCache();
  cache.update('u', { started: [], failures: [failure('a'), failure('b')] });
  cache.update('u', { started: ['a'], failures: [] });
  expect(cache.get('u', 'a')).toBeUndefined();
  expect(cache.get('u', 'b')).toEqual({ reason: 'CrashLoopBackOff', message: 'back-off 10s' });
});

test('a thousand are kept; the oldest go first', () => {
  const cache = new ReasonCache();
  for (let i = 0; i < 1000; i++) cache.update(`u${i}`, { started: [], failures: [failure('a')] });
  cache.update('u0', { started: [], failures: [failure('a')] }); // young again
  cache.update('new', { started: [], failures: [failure('a')] });
  expect(cache.get('u0', 'a')).toBeDefined();
  expect(cache.get('u1', 'a')).toBeUndefined();
});

test('a pod that is gone takes its reasons along, and not those of a namesake', () => {
  const cache = new ReasonCache();
  for (const uid of ['u', 'u2']) cache.update(uid, { started: [], failures: [failure('a')] });
  cache.forgetPod('u');
  expect(cache.get('u', 'a')).toBeUndefined();
  expect(cache.get('u2', 'a')).toBeDefined();
});
