import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { withFileLock } from './harness/file-lock.ts';

test('two holders of a lock never work at the same time, and a failed one gives it back', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'lock-'));
  try {
    let inside = 0;
    let most = 0;
    const work = (fails: boolean) =>
      withFileLock(path.join(dir, 'lock'), async () => {
        most = Math.max(most, ++inside);
        await new Promise((resolve) => setImmediate(resolve));
        inside--;
        if (fails) throw new Error('work failed');
      });
    const results = await Promise.allSettled([work(true), work(false), work(false)]);
    expect(most).toBe(1);
    expect(results.map((r) => r.status).sort()).toEqual(['fulfilled', 'fulfilled', 'rejected']);
  } finally {
    await rm(dir, { recursive: true });
  }
});
