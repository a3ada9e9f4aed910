import { chmod, mkdir, mkdtemp, readdir, realpath, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ensureDataDirs } from './data-dirs.ts';

let dir: string;
beforeEach(async () => {
  dir = await realpath(await mkdtemp(path.join(tmpdir(), 'nodelet-dirs-')));
});
afterEach(() => rm(dir, { recursive: true }));

const ensure = (rootDir = path.join(dir, 'kubelet')) =>
  ensureDataDirs({
    rootDir,
    podLogsDir: path.join(dir, 'log/pods'),
    containerLogsDir: path.join(dir, 'log/containers'),
  });
const mode = async (name: string) => ((await stat(path.join(dir, name))).mode & 0o777).toString(8);

test('directories are made with the modes that others count on, and left as they are afterwards', async () => {
  await ensure();
  const names = (await readdir(path.join(dir, 'kubelet'))).sort();
  expect(names).toEqual(['checkpoints', 'device-plugins', 'plugins', 'plugins_registry', 'pod-resources', 'pods']);
  expect(await Promise.all(names.map((n) => mode(`kubelet/${n}`)))).toEqual(['700', '750', '750', '750', '750', '750']);
  expect([await mode('kubelet'), await mode('log/pods'), await mode('log/containers')]).toEqual(['750', '750', '755']);
  await chmod(path.join(dir, 'kubelet/plugins'), 0o700);
  await ensure();
  expect(await mode('kubelet/plugins')).toBe('700');
});

test('a root directory by another name is used by its own', async () => {
  await mkdir(path.join(dir, 'real'));
  await symlink(path.join(dir, 'real'), path.join(dir, 'link'));
  expect(await ensure(path.join(dir, 'link'))).toBe(path.join(dir, 'real'));
});

test.each(['/var/lib/kubelet/', '/var/lib/../lib/kubelet', '/var//lib/kubelet'])('%s is refused', async (rootDir) => {
  await expect(ensure(rootDir)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: `rootDirectory not in canonical form: expected /var/lib/kubelet, was ${rootDir}`,
  });
});
