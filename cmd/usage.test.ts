// What is said to people who use a command wrongly. Runs the program: each of these ends before it does anything.
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const PROGRAM = path.resolve(import.meta.dirname, 'nodelet.ts');

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-usage-'));
});
afterAll(async () => {
  await rm(dir, { recursive: true });
});

test.each([
  ['nosuch', "unknown command 'nosuch'", 'nodelet'],
  ['lab up --dir=', "option '--dir <dir>' argument '' is invalid. expected a directory.", 'nodelet lab up'],
  [
    'lab up --feature-gates=Foo=true',
    "option '--feature-gates <gates>' argument 'Foo=true' is invalid. unrecognized feature gate: Foo.",
    'nodelet lab up',
  ],
  [
    'lab up --feature-gates=AllAlpha=maybe',
    "option '--feature-gates <gates>' argument 'AllAlpha=maybe' is invalid. invalid value of AllAlpha=maybe, err: expected true or false.",
    'nodelet lab up',
  ],
  ['lab node rm', "missing required argument 'name'", 'nodelet lab node rm'],
  ['version extra', "too many arguments for 'version'. Expected 0 arguments but got 1.", 'nodelet version'],
])('nodelet %s', async (line, message, command) => {
  const ran = promisify(execFile)(process.execPath, [PROGRAM, ...line.split(' ')], { cwd: dir });
  await expect(ran).rejects.toMatchObject({
    code: 1,
    stdout: '',
    stderr: `nodelet: ${message}\n  see ${command} --help\n`,
  });
  expect(await readdir(dir)).toEqual([]);
});
