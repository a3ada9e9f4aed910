import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { NodeKeyring, nodeConfigFiles } from './node-keyring.ts';

let dir: string;
let clock: FakeClock;
let keyring: NodeKeyring;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-keyring-'));
  clock = new FakeClock();
  const places = {
    rootDir: path.join(dir, 'root'),
    workingDir: path.join(dir, 'work'),
    homeDir: path.join(dir, 'home'),
  };
  for (const name of ['root', 'work', 'home/.docker']) await mkdir(path.join(dir, name), { recursive: true });
  keyring = new NodeKeyring(places, { clock, log: silentLog });
});
afterEach(() => rm(dir, { recursive: true }));

const put = (file: string, content: unknown) =>
  writeFile(path.join(dir, file), typeof content === 'string' ? content : JSON.stringify(content));
const of = (username: string) => ({ 'reg.io': { username, password: 'p' } });
const user = async () => (await keyring.lookup('reg.io/app')).map((c) => c.username).join();

test('the places, in the order in which they are tried', () => {
  expect(nodeConfigFiles({ rootDir: '/r', workingDir: '/w', homeDir: '/h' })).toEqual([
    '/r/config.json',
    '/w/config.json',
    '/h/.docker/config.json',
    '/.docker/config.json',
    '/r/.dockercfg',
    '/w/.dockercfg',
    '/h/.dockercfg',
    '/.dockercfg',
  ]);
});

test('nothing anywhere is no credentials', async () => {
  expect(await user()).toBe('');
});

test('the first valid file counts, the new form before the old', async () => {
  await put('root/.dockercfg', of('old-form'));
  expect(await user()).toBe('old-form');
  await put('home/.docker/config.json', { auths: of('home') });
  await put('root/config.json', '{half');
  await clock.advance(300_000);
  expect(await user()).toBe('home');
  await put('root/config.json', { auths: of('root') });
  await clock.advance(300_000);
  expect(await user()).toBe('root');
});

test('files are read again after five minutes', async () => {
  await put('root/config.json', { auths: of('a') });
  expect(await user()).toBe('a');
  await put('root/config.json', { auths: of('b') });
  await clock.advance(299_999);
  expect(await user()).toBe('a');
  await clock.advance(1);
  expect(await user()).toBe('b');
});

test("they are the node's: whoever pulls with them opens the image to every pod", async () => {
  await put('root/config.json', { auths: of('a') });
  expect((await keyring.lookup('reg.io/app'))[0]).not.toHaveProperty('source');
});
