import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { conversation, systemExec } from './exec.ts';
import { execInherited } from './exec-inherited.ts';

test('a program that outlives its time is killed', async () => {
  const running = systemExec('sleep', ['600'], { timeoutMs: 50 });
  await expect(running).rejects.toMatchObject({ code: 'EXEC_TIMEOUT', retryable: true });
});

test('what a killed program has started may hold its streams, as mount.nfs does: nobody waits for that', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-exec-'));
  onTestFinished(() => rm(dir, { recursive: true }));
  const pidFile = path.join(dir, 'pid');
  const script = `sleep 600 & echo $! > ${pidFile}.new; mv ${pidFile}.new ${pidFile}; wait`;
  const stop = new AbortController();
  const running = systemExec('sh', ['-c', script], { signal: stop.signal, timeoutMs: 500_000 });
  const pid = await expect
    .poll(() => readFile(pidFile, 'utf8').catch(() => ''), { timeout: 60_000 })
    .not.toBe('')
    .then(async () => Number(await readFile(pidFile, 'utf8')));
  onTestFinished(() => void process.kill(pid, 'SIGKILL'));
  stop.abort();
  await expect(running).rejects.toMatchObject({ code: 'EXEC_TIMEOUT' });
});

test('a program that cannot be killed, for it hangs in the kernel: nobody waits for it either', async () => {
  const child = spawn('sleep', ['600'], { stdio: ['pipe', 'pipe', 'pipe'] });
  const { pid } = child;
  onTestFinished(() => void process.kill(pid!, 'SIGKILL'));
  child.kill = () => true; // the signal is taken, and nothing comes of it
  await expect(conversation(child, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'EXEC_TIMEOUT' });
  expect(child.stdout.destroyed).toBe(true);
});

test('a program that has our terminal ends with us, and how it ended is told as a shell does', async () => {
  const before = process.listeners('SIGTERM');
  const running = execInherited('sleep', ['600']);
  const added = process.listeners('SIGTERM').filter((listener) => !before.includes(listener));
  expect(added).toHaveLength(1);
  added[0]!('SIGTERM');
  expect(await running).toBe(143);
  expect(process.listeners('SIGTERM')).toEqual(before);
});
