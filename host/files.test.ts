import { lstat, mkdtemp, open, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { temporaryOf, writeFileAtomic } from './files.ts';

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'files-'));
  file = path.join(dir, 'state');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test('what a write that was killed left is gone after the next one', async () => {
  const left = 'much longer than what is written next';
  await writeFile(temporaryOf(file), left, { mode: 0o666 });
  await using reader = await open(temporaryOf(file));
  await writeFileAtomic(file, 'whole', 0o600);
  expect(await reader.readFile('utf8')).toBe(left); // whoever could read that one need not be allowed to read this one
  expect(await readdir(dir)).toEqual(['state']);
  expect(await readFile(file, 'utf8')).toBe('whole');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
});

test('writes of one file at once come one after the other, and the last one counts', async () => {
  const texts = ['a'.repeat(100_000), 'b', 'c'.repeat(50_000)];
  await Promise.all(texts.map((text) => writeFileAtomic(file, text)));
  expect(await readFile(file, 'utf8')).toBe(texts[2]);
  expect(await readdir(dir)).toEqual(['state']);
});

test('a write that fails leaves nothing, and keeps nobody from the next', async () => {
  const failing = writeFileAtomic(file, 1 as never);
  const next = writeFileAtomic(file, 'next');
  await expect(failing).rejects.toThrow();
  await next;
  expect(await readFile(file, 'utf8')).toBe('next');
  expect(await readdir(dir)).toEqual(['state']);
});

test('a link in its way is not followed', async () => {
  await writeFile(path.join(dir, 'other'), 'untouched');
  await symlink('other', temporaryOf(file));
  await writeFileAtomic(file, 'x');
  expect((await lstat(file)).isFile()).toBe(true);
  expect(await readFile(path.join(dir, 'other'), 'utf8')).toBe('untouched');
});
