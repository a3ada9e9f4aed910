import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { tellingProgress } from './volume-group.ts';

const POD: Pod = { metadata: { namespace: 'default', name: 'p', uid: 'u-1' } };

test('who waits for many files to change hands is told after 30 s, then each minute, and no more at the end', async () => {
  const clock = new FakeClock();
  const told: string[] = [];
  const events = {
    event: (_: object, type: string, reason: string, text: string) => void told.push(`${type} ${reason} ${text}`),
  };
  const end = Promise.withResolvers<void>();
  const dir = '/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~csi/pv/mount';
  const done = tellingProgress(POD, dir, { events, clock }, async (onFile) => {
    onFile();
    onFile();
    await end.promise;
  });
  await clock.advance(29_999);
  expect(told).toEqual([]);
  await clock.advance(1);
  const about =
    'Warning VolumePermissionChangeInProgress Setting volume ownership for u-1/volumes/kubernetes.io~csi/pv/mount';
  expect(told).toEqual([
    expect.stringContaining(
      `${about} is taking longer than expected, consider using OnRootMismatch - https://kubernetes.io/docs/`,
    ),
  ]);
  await clock.advance(120_000);
  expect(told.slice(1)).toEqual([`${about}, processed 2 files.`, `${about}, processed 2 files.`]);
  end.resolve();
  await done;
  expect(clock.sleeping).toBe(0);
});
