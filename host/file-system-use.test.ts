import { link, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemExec } from './exec.ts';
import { fileSystemFigures, flatDirSize, treeSizes } from './file-system-use.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fs-use-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test('trees are measured in blocks, a link counts once, and a tree that is gone is left out', async () => {
  const [a, b] = [path.join(dir, 'a'), path.join(dir, 'with\nnewline')];
  await mkdir(path.join(a, 'sub'), { recursive: true });
  await mkdir(b);
  await writeFile(path.join(a, 'sub/file'), Buffer.alloc(100_000));
  await link(path.join(a, 'sub/file'), path.join(a, 'again'));
  const sizes = await treeSizes(systemExec, [a, b, path.join(dir, 'gone')], 60_000);
  expect([...sizes.keys()]).toEqual([a, b]);
  expect(sizes.get(a)!.inodesUsed).toBe(3);
  expect(sizes.get(a)!.usedBytes).toBeGreaterThanOrEqual(100_000);
  expect(sizes.get(a)!.usedBytes).toBeLessThan(200_000);
  expect(sizes.get(b)!.inodesUsed).toBe(1);
});

test('of a directory of logs the files count, not what lies in directories', async () => {
  await writeFile(path.join(dir, '0.log'), Buffer.alloc(5000));
  await writeFile(path.join(dir, '0.log.1'), 'x');
  await mkdir(path.join(dir, 'container'));
  const { usedBytes, inodesUsed } = await flatDirSize(dir);
  expect(inodesUsed).toBe(2);
  expect(usedBytes).toBeGreaterThanOrEqual(5001);
  expect(await flatDirSize(path.join(dir, 'gone'))).toEqual({ usedBytes: 0, inodesUsed: 0 });
});

test('a file system is never fuller than it is large', async () => {
  const figures = await fileSystemFigures(dir);
  expect(figures.availableBytes).toBeGreaterThan(0);
  expect(figures.usedBytes + figures.availableBytes).toBeLessThanOrEqual(figures.capacityBytes);
});
