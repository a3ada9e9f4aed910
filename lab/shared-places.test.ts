import { expect, test } from 'vitest';
import { isMountPointAnywhere } from './shared-places.ts';

test('a mount point is found in the mount tables of processes, and only where something is mounted', async () => {
  expect(await isMountPointAnywhere('/proc')).toBe(true);
  expect(await isMountPointAnywhere('/proc/self')).toBe(false);
});
