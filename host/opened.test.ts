import { open } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { statOrClose } from './opened.ts';

test('what was opened is told, and stays open', async () => {
  await using handle = await open('/dev/null');
  expect((await statOrClose(handle)).isCharacterDevice()).toBe(true);
  expect(handle.fd).toBeGreaterThan(0);
});

test('what cannot be asked is closed: a handle that is collected open ends the process', async () => {
  const handle = await open('/dev/null');
  Object.assign(handle, { stat: () => Promise.reject(new Error('ESTALE: stale file handle, fstat')) });
  await expect(statOrClose(handle)).rejects.toThrow('ESTALE');
  expect(handle.fd).toBe(-1);
});
