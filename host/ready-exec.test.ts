import { readdir, readFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemExec } from './exec.ts';
import { ReadyExec } from './ready-exec.ts';

const SHELL = { program: 'sh', args: ['-c', 'read line; echo "$$ $line"'] };
let ready: ReadyExec;

beforeEach(() => {
  ready = new ReadyExec(SHELL, systemExec);
});
afterEach(async () => {
  ready[Symbol.dispose]();
  await noneWaits(); // or the next test would see it
});

async function say(line: string): Promise<{ pid: number; line: string }> {
  const { code, stdout } = await ready.exec(SHELL.program, SHELL.args, { input: `${line}\n` });
  expect(code).toBe(0);
  const [pid, said] = stdout.trim().split(' ');
  return { pid: Number(pid), line: said! };
}

/** Pids of children of this process, those included whose end it has not taken notice of. */
async function children(): Promise<number[]> {
  const childrenOf = (tid: string) => readFile(`/proc/self/task/${tid}/children`, 'utf8').catch(() => '');
  const lists = await Promise.all((await readdir('/proc/self/task')).map(childrenOf));
  return lists.flatMap((list) => list.split(' ').filter((pid) => pid !== '')).map(Number);
}

/** Pids of shells of this process that wait. */
async function waiting(): Promise<number[]> {
  const isOurs = async (pid: number) =>
    (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes('read line');
  const ours = await Promise.all((await children()).map(async (pid) => ((await isOurs(pid)) ? [pid] : [])));
  return ours.flat();
}

const noneWaits = () => vi.waitUntil(async () => (await waiting()).length === 0, 60_000);

test('the next process waits when the last one has ended, and is the one that answers', async () => {
  expect(await waiting()).toEqual([]);
  expect((await say('first')).line).toBe('first');
  const pids = await vi.waitUntil(async () => {
    const found = await waiting();
    return found.length > 0 && found;
  }, 60_000);
  expect(await say('second')).toEqual({ pid: pids[0], line: 'second' });
});

test('one that somebody ended is made up for', async () => {
  await say('first');
  const [pid] = await vi.waitUntil(async () => {
    const found = await waiting();
    return found.length > 0 && found;
  }, 60_000);
  process.kill(pid!, 'SIGKILL');
  await vi.waitUntil(async () => !(await children()).includes(pid!), 60_000);
  expect((await say('second')).line).toBe('second');
});

test('other commands pass through', async () => {
  expect((await ready.exec('sh', ['-c', 'echo other'])).stdout).toBe('other\n');
  expect(await waiting()).toEqual([]);
  await expect(ready.exec('no-such-program', [])).rejects.toMatchObject({ code: 'EXEC_NOT_FOUND' });
});

test('none waits after dispose', async () => {
  await say('first');
  ready[Symbol.dispose]();
  await noneWaits();
  await say('second');
  expect(await waiting()).toEqual([]);
});

test('a run that takes too long is ended as with any other', async () => {
  using slow = new ReadyExec({ program: 'sleep', args: ['60'] }, systemExec);
  await expect(slow.exec('sleep', ['60'], { timeoutMs: 50 })).rejects.toMatchObject({ code: 'EXEC_TIMEOUT' });
});
