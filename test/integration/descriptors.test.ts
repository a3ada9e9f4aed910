// An agent that is out of file descriptors cannot start programs: that is an error of each of them, not its own end.
import path from 'node:path';
import { expect, test } from 'vitest';
import { systemExec } from '../../host/exec.ts';

const MAIN = path.resolve(import.meta.dirname, '../harness/descriptors-main.ts');

test('without a descriptor left no program starts, each says so, and afterwards they start again', async () => {
  const r = await systemExec('prlimit', ['--nofile=256', process.execPath, MAIN], { timeoutMs: 60_000 });
  expect(r.stderr).not.toContain('Unhandled');
  expect(JSON.parse(r.stdout)).toEqual(['EXEC_FAILED', 'EXEC_FAILED', 'EXEC_FAILED', -1, 'fine', 'fine']);
});
