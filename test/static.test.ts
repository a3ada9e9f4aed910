// Types and lint are part of the tests, so that `npm test` decides everything.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '..');
const run = promisify(execFile);

async function output(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const opts = { cwd: root, maxBuffer: 16 << 20, env: { ...process.env, ...env } };
  try {
    await run(path.join(root, 'node_modules/.bin', program), args, opts);
    return '';
  } catch (err) {
    const { stdout, stderr } = err as { stdout: string; stderr: string };
    return `${stdout}${stderr}`;
  }
}

test('the types fit', async () => {
  // Half the processor time: checkers side by side check much twice, and memory need not be collected before the end.
  const env = { GOGC: 'off', GOMEMLIMIT: '2GiB' };
  expect(await output('tsc', ['--noEmit', '--singleThreaded'], env)).toBe('');
});

test('format and lint are clean', async () => {
  expect(await output('biome', ['check', '--error-on-warnings', '.'])).toBe('');
});

test('shell scripts parse', async () => {
  for (const script of ['deploy/bootstrap.sh', '.ci/run', 'bin/nodelet']) {
    const { stderr } = await run('bash', ['-n', path.join(root, script)]);
    expect(stderr, script).toBe('');
  }
});
