import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { removeTree } from './remove-tree.ts';

let base = '';

beforeEach(async () => {
  base = await mkdtemp(path.join(tmpdir(), 'remove-tree-'));
  await mkdir(path.join(base, 'outside'));
  await writeFile(path.join(base, 'outside/precious'), 'x');
});

afterEach(async () => {
  await removeTree(base);
});

test('a tree goes, the targets of its links stay', async () => {
  const tree = path.join(base, 'tree');
  await mkdir(path.join(tree, 'a/b/c'), { recursive: true });
  await writeFile(path.join(tree, 'a/b/file'), '');
  await symlink(path.join(base, 'outside'), path.join(tree, 'a/link'));
  await symlink(path.join(base, 'outside/precious'), path.join(tree, 'file-link'));
  await symlink('nowhere', path.join(tree, 'broken'));
  await removeTree(tree);
  await removeTree(tree);
  expect(await readdir(base)).toEqual(['outside']);
  expect(await readdir(path.join(base, 'outside'))).toEqual(['precious']);
  await removeTree(path.join(base, 'never/there'));
});

test('the tree itself may be a link or a file: only that goes', async () => {
  await symlink(path.join(base, 'outside'), path.join(base, 'tree'));
  await removeTree(path.join(base, 'tree'));
  await writeFile(path.join(base, 'tree'), '');
  await removeTree(path.join(base, 'tree'));
  expect(await readdir(path.join(base, 'outside'))).toEqual(['precious']);
  expect(await readdir(base)).toEqual(['outside']);
});

test('a tree whose paths are longer than the kernel takes', async () => {
  const chain = Array.from({ length: 300 }, () => 'directory').join('/');
  const tree = path.join(base, 'tree');
  await mkdir(path.join(tree, chain), { recursive: true });
  for (let i = 0; i < 2; i++) {
    const above = path.join(base, 'above');
    await mkdir(path.join(above, chain), { recursive: true });
    await rename(tree, path.join(above, chain, 'x'));
    await rename(above, tree);
  }
  await removeTree(tree);
  expect(await readdir(base)).toEqual(['outside']);
});

test('an abort ends the walk, and another one goes on from there', async () => {
  const tree = path.join(base, 'tree');
  await mkdir(path.join(tree, 'a'), { recursive: true });
  await expect(removeTree(tree, AbortSignal.abort())).rejects.toThrow(/abort/i);
  await removeTree(tree);
  expect(await readdir(base)).toEqual(['outside']);
});

/** Puts a link to `outside` in the place of a directory and back, as fast as it can. */
const SWAPPER = `
const fs = require('node:fs');
const [tree, outside] = process.argv.slice(1);
const tried = (work) => { try { work(); } catch {} };
for (let i = 0; ; i++) {
  tried(() => fs.mkdirSync(tree + '/d/e', { recursive: true }));
  tried(() => fs.writeFileSync(tree + '/d/e/precious', ''));
  tried(() => fs.symlinkSync(outside, tree + '/link'));
  tried(() => fs.renameSync(tree + '/d', tree + '/old' + i % 3));
  tried(() => fs.renameSync(tree + '/link', tree + '/d'));
  tried(() => fs.unlinkSync(tree + '/d'));
  if (i === 10) process.stdout.write('swapping');
}`;

const GIVES_UP = ['ENOTEMPTY', 'ENOTDIR', 'ELOOP', 'EISDIR'];

test('a process that swaps directories for links gets nothing outside removed', async () => {
  const tree = path.join(base, 'tree');
  const outside = path.join(base, 'outside');
  await mkdir(tree);
  const swapper = spawn(process.execPath, ['-e', SWAPPER, tree, outside], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(swapper, 'exit');
  try {
    await once(swapper.stdout!, 'data');
    for (let i = 0; i < 40; i++) {
      // It may give up while somebody keeps changing the tree; it may not go elsewhere.
      await removeTree(tree).catch((err: NodeJS.ErrnoException) => expect(GIVES_UP).toContain(err.code));
      expect(await readFile(path.join(outside, 'precious'), 'utf8')).toBe('x');
    }
  } finally {
    swapper.kill('SIGKILL');
    await ended;
  }
  await removeTree(tree);
  expect(await readdir(base)).toEqual(['outside']);
});
