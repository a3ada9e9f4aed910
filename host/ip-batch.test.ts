import { expect, test } from 'vitest';
import type { Exec, ExecResult } from './exec.ts';
import { readJson, readJsonBatch } from './ip-batch.ts';

const interrupted = {
  stdout: '[{"ifname":"cni0"}]',
  stderr: 'Dump was interrupted and may be inconsistent.\n',
};
const whole = { stdout: '[{"ifname":"cni0"},{"ifname":"eth0"}]' };

/** Answers in turn, the last for good. */
function answers(...list: Partial<ExecResult>[]) {
  const asked: (string | Uint8Array | undefined)[] = [];
  const exec: Exec = (_program, _args, opts) => {
    const answer = list[Math.min(asked.push(opts?.input), list.length) - 1];
    return Promise.resolve({ code: 0, signal: undefined, stdout: '', stderr: '', ...answer });
  };
  return { exec, asked };
}

test.each([
  ['an answer that something came or went under', interrupted],
  ['a failure without a word', { code: 1, stdout: whole.stdout }],
])('%s is no answer: it is asked again', async (_name, first) => {
  const { exec, asked } = answers(first, whole);
  expect(await readJson(exec, 'ip', ['addr', 'show'])).toEqual(JSON.parse(whole.stdout));
  expect(asked).toHaveLength(2);
});

test('so is a batch, with the same lines', async () => {
  const { exec, asked } = answers(interrupted, whole);
  expect(await readJsonBatch(exec, ['route show'])).toEqual(JSON.parse(whole.stdout));
  expect(asked).toEqual(['route show\n', 'route show\n']);
});

test('where something always comes or goes, the last answer is taken', async () => {
  const { exec, asked } = answers(interrupted);
  expect(await readJson(exec, 'ip', ['addr', 'show'])).toEqual(JSON.parse(interrupted.stdout));
  expect(asked).toHaveLength(5);
});

test('a failure without a word is told once it is no passing one', async () => {
  await expect(readJson(answers({ code: 1 }).exec, 'ip', ['addr'])).rejects.toMatchObject({ code: 'EXEC_STATUS' });
});

test.each([
  ['a device that is not there', { code: 1, stderr: 'Device "x" does not exist.' }],
  ['a refusal', { code: 2, stderr: 'RTNETLINK answers: Operation not permitted' }],
  ['an end by a signal', { code: -1, signal: 'SIGKILL' as const }],
])('%s is not asked about again', async (_name, answer) => {
  const { exec, asked } = answers(answer);
  await readJson(exec, 'ip', ['addr', 'show', 'dev', 'x']).catch(() => {});
  expect(asked).toHaveLength(1);
});
