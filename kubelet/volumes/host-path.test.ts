import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { prepareHostPath } from './host-path.ts';

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'host-path-test-'));
});
afterEach(() => rm(dir, { recursive: true }));

test('FileOrCreate makes the file, not its parents, and says so in the words of the kubelet', async () => {
  const file = path.join(dir, 'f');
  expect(await prepareHostPath({ path: file, type: 'FileOrCreate' })).toBe(file);
  expect((await stat(file)).mode & 0o777).toBe(0o644);
  const deep = path.join(dir, 'no', 'f');
  await expect(prepareHostPath({ path: deep, type: 'FileOrCreate' })).rejects.toThrow(
    `open ${deep}: no such file or directory`,
  );
});

test('DirectoryOrCreate makes the parents too, unless one is a file', async () => {
  const deep = path.join(dir, 'a', 'b');
  await prepareHostPath({ path: deep, type: 'DirectoryOrCreate' });
  expect((await stat(deep)).mode & 0o777).toBe(0o755);
  await writeFile(path.join(dir, 'f'), '');
  const below = path.join(dir, 'f', 'sub');
  await expect(prepareHostPath({ path: below, type: 'DirectoryOrCreate' })).rejects.toThrow(
    `mkdir ${below}: not a directory`,
  );
});
