// What is said to people who use a command wrongly. Runs the program: each of these ends before it does anything.
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSelfSignedServingCert, YEAR_MS } from '../api/pki.ts';

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
  ['lab up --nods=2', "unknown option '--nods=2'; did you mean --nodes?", 'nodelet lab up'],
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
  [
    'apiserver --store-dir=',
    "option '--store-dir <dir>' argument '' is invalid. expected a directory.",
    'nodelet apiserver',
  ],
  ['lab node rm', "missing required argument 'name'", 'nodelet lab node rm'],
  ['agent --nosuch', 'unknown flag --nosuch', 'nodelet agent'],
  ['network status --nosuch', 'unknown flag --nosuch', 'nodelet network status'],
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

test('an API server says what is wrong before it makes a store', async () => {
  const pki = await mkdtemp(path.join(tmpdir(), 'nodelet-usage-pki-'));
  try {
    const pair = createSelfSignedServingCert('x', {}, { nowMs: Date.now(), lifetimeMs: YEAR_MS });
    const [cert, key] = [path.join(pki, 'crt'), path.join(pki, 'key')];
    await writeFile(cert, pair.cert);
    await writeFile(key, pair.key);
    const flags = (clientCa: string) => [
      ...[`--tls-cert-file=${cert}`, `--tls-private-key-file=${key}`, `--client-ca-file=${clientCa}`],
      ...[`--service-account-signing-key-file=${key}`, '--store-dir=store'],
    ];
    const run = (...args: string[]) =>
      promisify(execFile)(process.execPath, [PROGRAM, 'apiserver', ...args], { cwd: dir });
    await expect(run(...flags(key))).rejects.toMatchObject({
      code: 1,
      stderr: `nodelet: --client-ca-file=${key}: holds no certificate\n  give a PEM file with one or more certificates\n`,
    });
    await expect(run(...flags(cert), '--node-cidr-mask-size=8')).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining("--node-cidr-mask-size=8: a node's block is larger than 10.244.0.0/16"),
    });
    expect(await readdir(dir)).toEqual([]);
  } finally {
    await rm(pki, { recursive: true });
  }
});

test('a lab is not looked for in a file', async () => {
  const ran = await promisify(execFile)(process.execPath, [PROGRAM, 'lab', 'down', `--dir=${PROGRAM}`], { cwd: dir });
  expect(ran.stderr).toBe(`there is no lab in ${PROGRAM}\n`);
});
