import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { diskFiles, type FileCalls, memoryFiles } from '../../host/file-calls.ts';
import { cleanPayloadPath, type Payload, writeAtomically } from './atomic-writer.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'atomic-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const NOW = Date.UTC(2026, 0, 2, 15, 4, 5);
const payloadOf = (files: Record<string, string>): Payload =>
  new Map(Object.entries(files).map(([name, text]) => [name, { data: Buffer.from(text), mode: 0o640 }]));
const read = (name: string) => readFile(path.join(dir, name), 'utf8');

describe.each([
  ['disk', diskFiles],
  ['memory', memoryFiles],
])('%s', (_, files) => {
  const write = (payload: Payload, nowMs: number) => writeAtomically(dir, payload, nowMs, { files });

  test('the layout that pods see', async () => {
    expect(await write(payloadOf({ a: '1', 'sub/b': '2' }), NOW)).toBe(true);
    const data = await readlink(path.join(dir, '..data'));
    expect(data).toMatch(/^\.\.2026_01_02_15_04_05\.\d+$/);
    expect(await readlink(path.join(dir, 'a'))).toBe('..data/a');
    expect(await readlink(path.join(dir, 'sub'))).toBe('..data/sub');
    expect((await lstat(path.join(dir, data, 'sub/b'))).mode & 0o777).toBe(0o640);
  });

  test('the same content touches nothing, a change replaces the directory and drops what is gone', async () => {
    await write(payloadOf({ a: '1', b: '2' }), NOW);
    const before = await readlink(path.join(dir, '..data'));
    expect(await write(payloadOf({ a: '1', b: '2' }), NOW + 1000)).toBe(false);
    expect(await readlink(path.join(dir, '..data'))).toBe(before);
    expect(await write(payloadOf({ a: '3' }), NOW)).toBe(true);
    expect(await read('a')).toBe('3');
    expect((await readdir(dir)).sort()).toEqual([await readlink(path.join(dir, '..data')), '..data', 'a'].sort());
  });

  test('what a killed writer left is cleared and its work done', async () => {
    await write(payloadOf({ a: '1' }), NOW);
    await mkdir(path.join(dir, '..2026_01_02_15_04_09.1234567890'));
    await writeFile(path.join(dir, '..2026_01_02_15_04_09.1234567890/half'), '');
    await symlink('..2026_01_02_15_04_09.1234567890', path.join(dir, '..data_tmp'));
    await rm(path.join(dir, 'a')); // killed between publishing and linking
    await write(payloadOf({ a: '1' }), NOW);
    expect((await readdir(dir)).sort()).toEqual([await readlink(path.join(dir, '..data')), '..data', 'a'].sort());
    expect(await read('a')).toBe('1');
  });

  test('a data link that points out of the volume is replaced, its target untouched', async () => {
    const outside = await mkdtemp(path.join(tmpdir(), 'atomic-out-'));
    try {
      await writeFile(path.join(outside, 'precious'), 'x');
      await symlink(outside, path.join(dir, '..data'));
      await write(payloadOf({ a: '1' }), NOW);
      expect(await read('a')).toBe('1');
      expect(await readFile(path.join(outside, 'precious'), 'utf8')).toBe('x');
    } finally {
      await rm(outside, { recursive: true });
    }
  });
});

test('modes and owners are set whatever the umask, and all ownership before a pod sees anything', async () => {
  const set: string[] = [];
  const short = (file: unknown) => path.relative(dir, String(file)).replace(/^\.\.2026[^/]*/, 'data');
  const files: FileCalls = {
    ...memoryFiles,
    chmod: async (file, mode) => void set.push(`${short(file)} ${mode.toString(8)}`),
    lchown: async (file, uid, gid) => void set.push(`${short(file)} ${uid}:${gid}`),
    symlink: async (target, link) => {
      set.push(`link ${short(link)}`);
      await memoryFiles.symlink(target, link);
    },
  };
  const token = { data: Buffer.from('t'), mode: 0o600, uid: 1000 };
  const beforePublish = async (data: string) => void set.push(`${short(data)} to its group`);
  await writeAtomically(dir, new Map([['token', token]]), NOW, { beforePublish, files });
  expect(set).toEqual([
    'data 755',
    'data/token 600',
    'data/token 1000:-1',
    'data to its group',
    'link ..data_tmp',
    'link token',
  ]);
});

test.each(['', '/etc/passwd', '../x', 'a/../../x', '..data', '..', '.', 'a\0b', 'x'.repeat(256), 'a/'.repeat(2100)])(
  'the path %j is refused before anything is written',
  async (name) => {
    expect(() => cleanPayloadPath(name)).toThrow(/invalid path/);
    await expect(writeAtomically(dir, payloadOf({ ok: '1', [name]: '2' }), NOW)).rejects.toMatchObject({
      code: 'VOLUME_PATH_INVALID',
    });
    expect(await readdir(dir)).toEqual([]);
  },
);

test.each([
  ['', 'invalid path: must not be empty: ""'],
  ['/a', 'invalid path: must be relative path: /a'],
  ['a/../b', "invalid path: must not contain '..': a/../b"],
  ['..a/b', "invalid path: must not start with '..': ..a/b"],
  ['x'.repeat(256), 'invalid path: filenames must be less than or equal to 255 characters'],
  ['a/'.repeat(2100), 'invalid path: must be less than or equal to 4096 characters'],
])('the path %j is refused in the words of the kubelet', (name, text) => {
  expect(() => cleanPayloadPath(name)).toThrow(text);
});

test.each([
  ['a//b/./c', 'a/b/c'],
  ['a/..b', 'a/..b'],
])('%s is the same as %s', (name, clean) => {
  expect(cleanPayloadPath(name)).toBe(clean);
});
