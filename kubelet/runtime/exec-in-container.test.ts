import { expect, test } from 'vitest';
import { CriError } from '../../cri/errors.ts';
import { execThrough } from './exec-in-container.ts';

const signal = new AbortController().signal;

test('output is what went to stdout, then to stderr', async () => {
  const exec = execThrough({
    execSync: async () => ({ exitCode: 3, stdout: Buffer.from('out'), stderr: Buffer.from('err') }),
  });
  expect(await exec('id', ['x'], 1, signal)).toEqual({ exitCode: 3, output: Buffer.from('outerr') });
});

test('a command that takes too long is an outcome, any other refusal an error', async () => {
  const failing = (code: 'DEADLINE_EXCEEDED' | 'NOT_FOUND') =>
    execThrough({
      execSync: async () => {
        throw new CriError('ExecSync', code, 'no');
      },
    });
  expect(await failing('DEADLINE_EXCEEDED')('id', ['sh', '-c', 'sleep 9'], 2, signal)).toEqual({
    timedOut: true,
    message: 'command timed out: "sh -c sleep 9" timed out after 2s',
  });
  await expect(failing('NOT_FOUND')('id', ['x'], 2, signal)).rejects.toThrow('no');
});
