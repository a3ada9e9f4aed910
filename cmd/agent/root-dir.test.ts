import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { identifyProcess } from '../../host/process.ts';
import { prepareRootDir } from './root-dir.ts';

test('a root directory that another agent uses is refused, and nothing is mounted', async () => {
  const top = await mkdtemp(path.join(tmpdir(), 'nodelet-root-'));
  onTestFinished(() => rm(top, { recursive: true }));
  const other = spawn('sleep', ['600'], { stdio: 'ignore' });
  onTestFinished(() => void other.kill('SIGKILL'));
  await once(other, 'spawn');
  const rootDir = path.join(top, 'root');
  await mkdir(rootDir);
  await writeFile(path.join(rootDir, 'nodelet.lock'), JSON.stringify(await identifyProcess(other.pid!)));
  let nowMs = 0;
  const clock = { ...systemClock, monotonicMs: () => (nowMs += 1_000) };
  const exec = () => Promise.reject(new Error('no program may be started'));
  const dirs = { rootDir, podLogsDir: path.join(top, 'logs'), containerLogsDir: path.join(top, 'links') };
  await expect(prepareRootDir({ exec, log: silentLog, clock }, dirs)).rejects.toMatchObject({
    code: 'ROOT_DIR_IN_USE',
    message: `the root directory ${rootDir} is used by another agent, process ${other.pid}`,
  });
  expect((await readdir(rootDir)).filter((name) => name.startsWith('nodelet.lock'))).toEqual(['nodelet.lock']);
});
