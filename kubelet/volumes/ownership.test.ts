import { chmod, lstat, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLog } from '../../core/log.ts';
import { applyFsGroup } from './ownership.ts';

// A group of this process, so that the test needs no privilege to hand files to it.
const GROUP = process.getgid!();

let dir: string;
let outside: string;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fs-group-'));
  outside = await mkdtemp(path.join(tmpdir(), 'fs-group-out-'));
});
afterEach(async () => {
  await rm(dir, { recursive: true });
  await rm(outside, { recursive: true });
});

const modeOf = async (file: string) => ((await stat(file)).mode & 0o7777).toString(8);

test.each([
  [false, '660', '660'],
  [true, '440', '640'],
])('the group may use files and directories, read-only: %s', async (readOnly, ofSecret, ofPlain) => {
  await mkdir(path.join(dir, 'sub'));
  await chmod(path.join(dir, 'sub'), 0o700);
  for (const [name, mode] of [
    ['secret', 0o400],
    ['sub/plain', 0o600],
  ] as const) {
    await writeFile(path.join(dir, name), '');
    await chmod(path.join(dir, name), mode);
  }
  await applyFsGroup(dir, GROUP, readOnly, silentLog);
  expect(await modeOf(path.join(dir, 'secret'))).toBe(ofSecret);
  expect(await modeOf(path.join(dir, 'sub/plain'))).toBe(ofPlain);
  expect(await modeOf(path.join(dir, 'sub'))).toBe(readOnly ? '2750' : '2770');
});

test('a symlink out of the volume changes nothing there', async () => {
  const precious = path.join(outside, 'precious');
  await writeFile(precious, '');
  await chmod(precious, 0o600);
  await chmod(outside, 0o700);
  await symlink(outside, path.join(dir, 'directory'));
  await symlink(precious, path.join(dir, 'file'));
  await applyFsGroup(dir, GROUP, false, silentLog);
  expect(await modeOf(precious)).toBe('600');
  expect(await modeOf(outside)).toBe('700');
  expect((await lstat(path.join(dir, 'file'))).isSymbolicLink()).toBe(true);
});
