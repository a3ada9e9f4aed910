import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readProviderDocuments } from './provider-files.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'providers-'));
});
afterEach(() => rm(dir, { recursive: true }));

test('files of a directory are read in the order of their names; directories are none of them', async () => {
  await mkdir(path.join(dir, 'old.yaml'));
  await writeFile(path.join(dir, 'b.yml'), 'b: ü\n');
  await writeFile(path.join(dir, 'a.json'), '{"a": 1}');
  await writeFile(path.join(dir, 'notes.txt'), 'none');
  const { documents, hash } = await readProviderDocuments(dir);
  expect(documents).toEqual([{ a: 1 }, { b: 'ü' }]);
  // The length of each file before it, eight bytes: upstream's, so that nodes can be compared.
  const whole = '\0\0\0\0\0\0\0\u0008{"a": 1}\0\0\0\0\0\0\0\u0006b: ü\n';
  expect(hash).toBe(`sha256:${createHash('sha256').update(whole).digest('hex')}`);
});

test('a single file of any name; a directory without any is refused', async () => {
  await expect(readProviderDocuments(dir)).rejects.toThrow('no configuration files found');
  await writeFile(path.join(dir, 'config'), 'a: 1');
  expect((await readProviderDocuments(path.join(dir, 'config'))).documents).toEqual([{ a: 1 }]);
});
