import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AgentError } from '../../../core/errors.ts';
import type { Exec } from '../../../host/exec.ts';
import { type MountPoint, systemMounter } from '../../../host/mounts.ts';
import { type NfsExport, nfsOptions, nfsSource, setUpNfs } from './nfs-volume.ts';

test.each([
  ['10.0.0.1', '/', '10.0.0.1:/'],
  ['nfs.example', '/a b', 'nfs.example:/a b'],
  ['fd00::1', '/x', '[fd00::1]:/x'],
])('an export is named as mount wants it: %s %s', (server, exported, source) => {
  expect(nfsSource({ server, path: exported })).toBe(source);
});

test.each([
  ['', '/'],
  ['host', ''],
  ['host', 'relative'],
])('%j %j is no export', (server, exported) => {
  expect(() => nfsSource({ server, path: exported })).toThrow(/is no NFS export/);
});

test('options are those of the volume, and that it is only read', () => {
  expect(nfsOptions({ mountOptions: ['vers=4.1', 'ro', 'hard'], readOnly: true })).toEqual(['hard', 'ro', 'vers=4.1']);
  expect(nfsOptions({ mountOptions: [], readOnly: false })).toEqual([]);
});

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nfs-'));
});
afterEach(() => rm(dir, { recursive: true }));

const FROM: NfsExport = { server: 'host', path: '/x', readOnly: true, mountOptions: ['vers=4.1'] };
const { signal } = new AbortController();

function mounterOf(mounted: readonly string[], fail = false) {
  const ran: string[] = [];
  const exec: Exec = async (program, args) => {
    ran.push([program, ...args].join(' '));
    return { code: fail ? 32 : 0, signal: undefined, stdout: '', stderr: fail ? 'mount.nfs: access denied' : '' };
  };
  const list = async () => mounted.map((mountPoint) => ({ mountPoint, fsType: 'nfs4' }) as MountPoint);
  return { ran, mounter: { ...systemMounter(exec), list } };
}

test('an export is mounted once, by the helper of its file system', async () => {
  const target = path.join(dir, 'volumes/kubernetes.io~nfs/v');
  const first = mounterOf([]);
  expect(await setUpNfs(FROM, target, first.mounter, signal)).toBe(target);
  expect(first.ran).toEqual([`mount -n -t nfs -o ro,vers=4.1 -- host:/x ${target}`]);
  expect((await stat(target)).mode & 0o777).toBe(0o750);
  const again = mounterOf([target]);
  expect(await setUpNfs(FROM, target, again.mounter, signal)).toBe(target);
  expect(again.ran).toEqual([]);
});

test('an export that is refused is told in the words of mount, and leaves nothing', async () => {
  const refused = setUpNfs(FROM, path.join(dir, 'v'), mounterOf([], true).mounter, signal);
  await expect(refused).rejects.toThrow(AgentError);
  await expect(refused).rejects.toThrow(/access denied/);
  expect(await readdir(dir)).toEqual([]);
});
