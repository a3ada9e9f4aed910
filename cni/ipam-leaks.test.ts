import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemExec } from '../host/exec.ts';
import { findLeaks, freeLeaks, type IpamDirs } from './ipam-leaks.ts';

const SUBNETS = ['10.244.1.0/24', 'fd00:42:0:1::/64'];
const signal = new AbortController().signal;
let root: string;
let dirs: IpamDirs;

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'nodelet-ipam-'));
  dirs = { ipam: path.join(root, 'networks'), results: path.join(root, 'results') };
  await mkdir(path.join(dirs.ipam, 'cbr0'), { recursive: true });
  await mkdir(dirs.results);
  await reserve('10.244.1.2', 'alive', path.join(root, 'networks'));
  await reserve('10.244.1.3', 'gone', path.join(root, 'no-such-netns'));
  await reserve('fd00:42:0:1::3', 'gone', path.join(root, 'no-such-netns'));
  await reserve('10.244.1.4', 'unknown');
  await reserve('10.244.9.5', 'gone', path.join(root, 'no-such-netns')); // another node's
  for (const name of ['lock', 'last_reserved_ip.0']) await writeFile(path.join(dirs.ipam, 'cbr0', name), '');
});

afterEach(() => rm(root, { recursive: true, force: true }));

/** As host-local and libcni leave it, an hour ago. */
async function reserve(ip: string, id: string, netns?: string): Promise<void> {
  const file = path.join(dirs.ipam, 'cbr0', ip);
  await writeFile(file, `${id}\r\neth0`);
  await utimes(file, Date.now() / 1000 - 3600, Date.now() / 1000 - 3600);
  if (netns !== undefined) await writeFile(path.join(dirs.results, `cbr0-${id}-eth0`), JSON.stringify({ netns }));
}

test('addresses of sandboxes whose namespace is gone are leaks; unknown ones only after a reboot', async () => {
  expect(await findLeaks(dirs, SUBNETS, false)).toEqual(['10.244.1.3', 'fd00:42:0:1::3']);
  expect(await findLeaks(dirs, SUBNETS, true)).toEqual(['10.244.1.3', '10.244.1.4', 'fd00:42:0:1::3']);
});

test('freed addresses go, unless they were given out anew meanwhile; a directory that is not there is no error', async () => {
  await writeFile(path.join(dirs.ipam, 'cbr0', '10.244.1.4'), 'new\r\neth0'); // young
  await freeLeaks(systemExec, dirs, ['10.244.1.3', '10.244.1.4', 'fd00:42:0:1::3'], signal);
  const left = await readdir(path.join(dirs.ipam, 'cbr0'));
  expect(left.sort()).toEqual(['10.244.1.2', '10.244.1.4', '10.244.9.5', 'last_reserved_ip.0', 'lock']);
  expect(await findLeaks({ ...dirs, ipam: path.join(root, 'nowhere') }, SUBNETS, true)).toEqual([]);
});
