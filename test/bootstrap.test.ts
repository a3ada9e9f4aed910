// deploy/bootstrap.sh with programs that only write down how they were called.
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { systemExec } from '../host/exec.ts';

const SOURCE = path.join(import.meta.dirname, '../deploy/bootstrap.sh');
/** What the script itself is made of, from this machine. */
const REAL = ['bash', 'dirname', 'cat', 'touch'];

/** A machine that has everything but the programs in `without`. `stubs` are bodies of shell scripts. */
async function machine({ without = [], stubs = {} }: { without?: string[]; stubs?: Record<string, string> }) {
  const root = await mkdtemp(path.join(tmpdir(), 'nodelet-bootstrap-'));
  onTestFinished(() => rm(root, { recursive: true }));
  const at = (...parts: string[]) => path.join(root, ...parts);
  for (const dir of ['bin', 'deploy', 'node_modules/.bin']) await mkdir(at(dir), { recursive: true });
  const source = await readFile(SOURCE, 'utf8');
  const program = async (file: string, body: string) => {
    await writeFile(at(file), `#!/bin/sh\n${body}\n`);
    await chmod(at(file), 0o755);
  };
  // Files that are looked for instead of programs are not this test's business.
  await writeFile(
    at('deploy/bootstrap.sh'),
    source.replaceAll(/^( {2,4}[\w.-]+:)\/.*?(?= #|$)/gm, `$1${at('bin/bash')}`),
  );
  await writeFile(at('package-lock.json'), '{}');
  await writeFile(at('node_modules/.package-lock.json'), '{}');
  await program('node_modules/.bin/node', 'exit 0');
  await program('deploy/is-bundle-fresh.sh', 'exit 0');
  for (const name of REAL) {
    const { stdout } = await systemExec('sh', ['-c', `command -v ${name}`]);
    await symlink(stdout.trim(), at('bin', name));
  }
  const wanted = [...source.matchAll(/^ {2,4}[\w.-]+:([\w.-]+)/gm)].map((m) => m[1]!);
  const defaults = Object.fromEntries([...wanted, 'kubectl', 'sleep'].map((name) => [name, 'exit 0']));
  const calls = at('calls');
  await writeFile(calls, '');
  const all = {
    ...defaults,
    id: 'echo 0',
    uname: 'echo x86_64',
    dpkg: 'exit 0',
    'apt-get': 'exit 0',
    'apt-cache': 'exit 1',
    ...stubs,
  };
  for (const [name, body] of Object.entries(all)) {
    if (!without.includes(name)) await program(`bin/${name}`, `echo "${name} $*" >>${calls}\n${body}`);
  }
  const run = async (purpose = 'start') => {
    const env = { PATH: at('bin') };
    const { code, stderr } = await systemExec(at('bin/bash'), [at('deploy/bootstrap.sh'), purpose], { env });
    const called = (await readFile(calls, 'utf8')).split('\n').filter((line) => /^(apt-get|dpkg) /.test(line));
    return { code, stderr, called };
  };
  return { run, at };
}

const INSTALL = 'apt-get -qq install -y --no-install-recommends';

test('where everything is there nothing is done and nothing said', async () => {
  const { run } = await machine({});
  for (const purpose of ['start', 'test']) expect(await run(purpose)).toEqual({ code: 0, stderr: '', called: [] });
});

test('what is missing is installed', async () => {
  const { run } = await machine({ without: ['conntrack', 'nft'] });
  const { code, called } = await run();
  expect(code).toBe(0);
  expect(called).toContain('apt-get -qq update');
  expect(called.at(-1)).toBe(`${INSTALL} nftables conntrack`);
});

test('what is missing and cannot be installed is told', async () => {
  const { run } = await machine({ without: ['conntrack'], stubs: { id: 'echo 1000' } });
  expect(await run()).toEqual({
    code: 1,
    stderr: "bootstrap: installing conntrack needs root: run 'sudo npm start'\n",
    called: [],
  });
});

test('an installation that was interrupted is finished first', async () => {
  const { run, at } = await machine({
    without: ['conntrack'],
    stubs: { dpkg: 'touch configured', 'apt-get': '[ "$2" = update ] || [ -e configured ]' },
  });
  expect((await run()).code).toBe(0);
  expect(await readFile(at('configured'), 'utf8')).toBe('');
});

test.each([
  ['the release has no package', { 'apt-get': 'echo lists' }, 0],
  ['nobody may install it', { id: 'echo 1000', 'apt-get': 'exit 100' }, 0],
  ['the network is away', { 'apt-get': 'exit 100' }, 3],
  ['its package cannot be had', { 'apt-get': '[ "$1" = indextargets ] && echo lists', 'apt-cache': 'exit 0' }, 0],
])('without kubectl when %s, the rest goes on', async (_, stubs, updates) => {
  const { run } = await machine({ without: ['kubectl'], stubs });
  const { code, stderr, called } = await run();
  expect(stderr).toContain('bootstrap: kubectl is not installed');
  expect(code).toBe(0);
  expect(called.filter((line) => line === 'apt-get -qq update')).toHaveLength(updates);
});

test('kubectl is installed where there is a package', async () => {
  const { run } = await machine({ without: ['kubectl'], stubs: { 'apt-cache': 'exit 0' } });
  expect((await run()).called.at(-1)).toBe(`${INSTALL} kubernetes-client`);
});
