import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { diskFiles, memoryFiles } from './file-calls.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-file-calls-'));
});
afterEach(() => rm(dir, { recursive: true }));

describe.each([
  ['disk', diskFiles],
  ['memory', memoryFiles],
])('%s', (_, files) => {
  const at = (name: string) => path.join(dir, name);

  test('a tree is made, changed and read back', async () => {
    await files.mkdir(at('a/b'), { recursive: true, mode: 0o750 });
    await files.writeFile(at('a/b/text'), 'one', { mode: 0o600, flag: 'wx' });
    await files.chmod(at('a/b/text'), 0o640);
    await files.symlink('b', at('a/tmp'));
    await files.rename(at('a/tmp'), at('a/link'));
    expect(await files.readlink(at('a/link'))).toBe('b');
    expect((await files.lstat(at('a/b/text'))).mode & 0o777).toBe(0o640);
    expect((await files.readFile(at('a/link/text'))).toString()).toBe('one');
    const entries = await files.readdir(at('a'), { withFileTypes: true });
    expect(entries.map((e) => [e.name, e.isSymbolicLink()]).sort()).toEqual([
      ['b', false],
      ['link', true],
    ]);
    await files.unlink(at('a/link'));
    expect(await files.readdir(at('a'))).toEqual(['b']);
    expect(await readFile(at('a/b/text'), 'utf8')).toBe('one');
  });

  test('what fails is told by a rejection with its errno', async () => {
    await expect(files.mkdir(at('none/below'))).rejects.toMatchObject({ code: 'ENOENT' });
    await files.writeFile(at('there'), '');
    await expect(files.writeFile(at('there'), '', { flag: 'wx' })).rejects.toMatchObject({ code: 'EEXIST' });
  });
});
