import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openBelow } from './open-below.ts';

let dir: string;
let root: string;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-below-'));
  root = path.join(dir, 'root');
  await mkdir(path.join(root, 'sub'), { recursive: true });
  await mkdir(path.join(dir, 'root-beside'));
  await writeFile(path.join(dir, 'secret'), 'secret');
  await writeFile(path.join(dir, 'root-beside', 'secret'), 'secret');
  await writeFile(path.join(root, 'plain.log'), 'plain');
  await writeFile(path.join(root, 'sub', 'deep.log'), 'deep');
  await symlink('../plain.log', path.join(root, 'sub', 'inside'));
  await symlink('../secret', path.join(root, 'outside'));
  await symlink('..', path.join(root, 'up'));
  await symlink('/', path.join(root, 'slash'));
  await symlink('loop', path.join(root, 'loop'));
  await symlink('../root-beside/secret', path.join(root, 'beside'));
  execFileSync('mkfifo', [path.join(root, 'fifo')]);
});

afterAll(() => rm(dir, { recursive: true }));

async function read(relative: string): Promise<string | undefined> {
  const handle = await openBelow(root, relative);
  if (handle === undefined) return undefined;
  try {
    return (await handle.stat()).isDirectory() ? 'directory' : await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

test.each([
  ['plain.log', 'plain'],
  ['/plain.log', 'plain'],
  ['sub//./deep.log', 'deep'],
  ['sub/inside', 'plain'],
  ['sub', 'directory'],
  ['', 'directory'],
  ['..', 'directory'], // above the root is the root
  ['sub/../plain.log', 'plain'],
])('%s is opened', async (relative, content) => {
  expect(await read(relative)).toBe(content);
});

test.each([
  'gone.log',
  '../secret',
  '../../etc/passwd',
  'sub/../../secret',
  'outside',
  'up/secret',
  'slash/etc/passwd',
  'beside',
  'loop',
  'fifo',
  'plain.log/x',
  'plain\0.log',
  'x'.repeat(5000),
])('%s leads to nothing', async (relative) => {
  expect(await read(relative)).toBeUndefined();
});
