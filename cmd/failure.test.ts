import { mkdir } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { AgentError } from '../core/errors.ts';
import { failureText } from './failure.ts';

test('a failure is one line, and one that says what to do', () => {
  const err = new AgentError('cannot read the file', { code: 'X', hint: 'name another one' });
  expect(failureText(err)).toBe('nodelet: cannot read the file\n  name another one\n');
  expect(failureText(new AgentError('cannot read the file', { code: 'X' }))).toBe('nodelet: cannot read the file\n');
});

test('what the host refuses is told with its path and without a stack', async () => {
  const refused = await mkdir('/dev/null/below').catch((err: unknown) => err);
  expect(failureText(refused)).toBe(
    "nodelet: ENOTDIR: not a directory, mkdir '/dev/null/below'\n" +
      '  a part of that path is a file: move it away, or name another directory\n',
  );
});

test('only a fault of the program itself shows where it happened', () => {
  expect(failureText(new TypeError('x is not a function'))).toMatch(
    /^nodelet: x is not a function\nTypeError: .*\n +at /,
  );
  expect(failureText(new DOMException('interrupted', 'AbortError'))).toBe('nodelet: interrupted\n');
});
