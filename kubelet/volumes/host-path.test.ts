import { mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
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

test.each([
  ['Directory', 'a directory'],
  ['File', 'a file'],
  ['FileOrCreate', 'a file'],
  ['DirectoryOrCreate', 'a directory'],
  ['Socket', 'a socket file'],
  ['CharDevice', 'a character device'],
  ['BlockDevice', 'a block device'],
])('type %s refuses what is not %s', async (type, what) => {
  const other = path.join(dir, 'other');
  await (what === 'a directory' ? writeFile(other, '') : mkdir(other));
  await expect(prepareHostPath({ path: other, type })).rejects.toThrow(
    `hostPath type check failed: ${other} is not ${what}`,
  );
});

test('a path that goes up is refused, and one without a type is not looked at', async () => {
  await expect(prepareHostPath({ path: `${dir}/../x` })).rejects.toMatchObject({ code: 'HOST_PATH_INVALID' });
  expect(await prepareHostPath({ path: path.join(dir, 'absent') })).toBe(path.join(dir, 'absent'));
});

test('a path that leads round in circles, or has too long a name, is of no type', async () => {
  const loop = path.join(dir, 'loop');
  await symlink('loop', loop);
  for (const wrong of [loop, path.join(dir, 'n'.repeat(300))]) {
    await expect(prepareHostPath({ path: wrong, type: 'File' })).rejects.toThrow(
      `hostPath type check failed: ${wrong} is not a file`,
    );
    await expect(prepareHostPath({ path: wrong, type: 'DirectoryOrCreate' })).rejects.toThrow(`mkdir ${wrong}: `);
  }
});
