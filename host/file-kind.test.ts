import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Exec, ExecResult } from './exec.ts';
import { fileKind } from './file-kind.ts';

async function emptyDir(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-kind-'));
  onTestFinished(() => rm(dir, { recursive: true }));
  return dir;
}

test('what is there, links followed', async () => {
  const dir = await emptyDir();
  await writeFile(path.join(dir, '-f'), '');
  await symlink('-f', path.join(dir, 'link'));
  expect(await fileKind(dir)).toBe('directory');
  expect(await fileKind(path.join(dir, 'link'))).toBe('file');
  expect(await fileKind('/dev/null')).toBe('character device');
});

test.each([
  ['nothing', 'absent'],
  ['something below a file', 'f/below'],
  ['a link that leads round in circles', 'loop'],
  ['a name that is too long', 'n'.repeat(300)],
  ['a path that is too long', 'd/'.repeat(3000)],
])('%s cannot be reached', async (_what, relative) => {
  const dir = await emptyDir();
  await writeFile(path.join(dir, 'f'), '');
  await symlink('loop', path.join(dir, 'loop'));
  expect(await fileKind(path.join(dir, relative))).toBeUndefined();
});

test('storage that does not answer is not asked a second time while the first question waits', async () => {
  const answer = Promise.withResolvers<ExecResult>();
  let asked = 0;
  const exec: Exec = () => {
    asked += 1;
    return answer.promise;
  };
  const silent = { code: 'STORAGE_SILENT', message: 'the storage behind /dead/a does not answer' };
  await expect(fileKind('/dead/a', exec, 1)).rejects.toMatchObject(silent);
  await expect(fileKind('/dead/a', exec, 1)).rejects.toMatchObject(silent);
  expect(asked).toBe(1);
  const patient = fileKind('/dead/a', exec, 600_000);
  answer.resolve({ code: 0, signal: undefined, stdout: '41ed\n', stderr: '' });
  expect(await patient).toBe('directory');
  expect(await fileKind('/dead/a', exec, 600_000)).toBe('directory');
  expect(asked).toBe(2);
});

test('what else the kernel says is told', async () => {
  const stderr = "stat: cannot statx '/x': Input/output error\n";
  const exec: Exec = async () => ({ code: 1, signal: undefined, stdout: '', stderr });
  await expect(fileKind('/x', exec)).rejects.toMatchObject({ code: 'FILE_KIND', message: stderr.trim() });
});
