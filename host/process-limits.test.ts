import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parseOpenFiles, setOomScore, setOpenFiles } from './process-limits.ts';

let proc: string;
beforeEach(async () => {
  proc = await mkdtemp(path.join(os.tmpdir(), 'limits-'));
});
afterEach(() => rm(proc, { recursive: true }));

const limits = (soft: string, hard: string): string =>
  `Limit                     Soft Limit           Hard Limit           Units\nMax open files            ${soft}   ${hard}  files\n`;

/** Records what is run; `refusal` is what the program writes before it fails. */
function recorder(refusal?: string) {
  const calls: string[][] = [];
  const exec = async (program: string, args: readonly string[]) => {
    calls.push([program, ...args]);
    return { code: refusal === undefined ? 0 : 1, signal: undefined, stdout: '', stderr: refusal ?? '' };
  };
  return { calls, exec };
}

test.each([
  ['1024', '524288', [1024, 524_288]],
  ['unlimited', 'unlimited', [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]],
])('limits %s %s', (soft, hard, parsed) => {
  expect(parseOpenFiles(limits(soft, hard))).toEqual(parsed);
});

test('both limits are set by one program, and not when they are right already', async () => {
  const { calls, exec } = recorder();
  await writeFile(path.join(proc, 'limits'), limits('1024', '4096'));
  await setOpenFiles(4096, exec, proc);
  expect(calls).toEqual([['prlimit', '--pid', String(process.pid), '--nofile=4096:4096']]);
  await writeFile(path.join(proc, 'limits'), limits('4096', '4096'));
  await setOpenFiles(4096, exec, proc);
  expect(calls).toHaveLength(1);
});

test('a refusal says what was wanted', async () => {
  await writeFile(path.join(proc, 'limits'), limits('1024', '4096'));
  const refused = setOpenFiles(5000, recorder('failed to set: Operation not permitted\n').exec, proc);
  await expect(refused).rejects.toThrow('cannot allow 5000 open files: failed to set: Operation not permitted');
});

test('the score is written when it differs', async () => {
  const file = path.join(proc, 'oom_score_adj');
  await writeFile(file, '0\n');
  await setOomScore(-999, proc);
  expect(await readFile(file, 'utf8')).toBe('-999');
  await expect(setOomScore(-999, path.join(proc, 'gone'))).rejects.toMatchObject({ code: 'LIMIT_REFUSED' });
});
