import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { Exec } from './exec.ts';
import { mountsUnder, parseMountInfo, systemMounter } from './mounts.ts';

const TABLE = [
  '24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw',
  '40 24 0:30 / /var/lib/kubelet/pods/u/volumes/a\\040b rw,relatime - tmpfs tmpfs rw,size=1024k',
  '41 40 0:31 /sub /var/lib/kubelet/pods/u/volumes/a\\040b/in ro master:1 shared:7 - tmpfs none rw',
  '42 24 0:32 / /var/lib/kubelet/pods/u2 rw - tmpfs tmpfs rw',
  '',
].join('\n');

test('mountinfo with escapes and optional fields', () => {
  const mounts = parseMountInfo(TABLE);
  expect(mounts).toHaveLength(4);
  expect(mounts[1]).toMatchObject({ mountId: 40, mountPoint: '/var/lib/kubelet/pods/u/volumes/a b', fsType: 'tmpfs' });
  expect(mounts[2]).toMatchObject({ root: '/sub', options: 'ro', source: 'none', device: '0:31' });
  expect(mounts.map((m) => m.isShared)).toEqual([true, false, true, false]);
});

test('a line of another format is refused, not skipped', () => {
  expect(() => parseMountInfo('24 1 254:0 / / rw')).toThrow(/cannot read mountinfo line/);
});

test('mounts under a directory come innermost first and siblings with a longer name are left out', () => {
  const under = mountsUnder(parseMountInfo(TABLE), '/var/lib/kubelet/pods/u');
  expect(under.map((m) => m.mountId)).toEqual([41, 40]);
});

test('an unmount that failed because the mount is gone is a success', async () => {
  const failing: Exec = async () => ({ code: 32, signal: undefined, stdout: '', stderr: 'umount: not mounted' });
  await systemMounter(failing).unmount('/not/there');
  await expect(systemMounter(failing).unmount('/proc')).rejects.toMatchObject({ code: 'UNMOUNT_FAILED' });
});

test('many are bound by one process, from a list with the escapes of fstab', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'binds-'));
  const listFile = path.join(dir, 'list');
  let list = '';
  const exec: Exec = async (_, args) => {
    list = await readFile(args.at(-1)!, 'utf8');
    return { code: 0, signal: undefined, stdout: '', stderr: '' };
  };
  const pairs = [
    ['/a', '/b'],
    ['/tab\tand\nline', '/back\\slash and blank'],
  ] as const;
  await systemMounter(exec).bindAll(pairs, listFile);
  expect(list).toBe('/a /b none bind 0 0\n/tab\\011and\\012line /back\\134slash\\040and\\040blank none bind 0 0\n');
  expect(await readdir(dir)).toEqual([]);
  await rm(dir, { recursive: true });
});

test('a mount of a server that does not answer is unmounted by force', async () => {
  const table = '40 24 0:50 / /v rw - nfs4 host:/x rw\n';
  const proc = await mkdtemp(path.join(tmpdir(), 'proc-'));
  await mkdir(path.join(proc, 'self'));
  await writeFile(path.join(proc, 'self/mountinfo'), table);
  const ran: string[] = [];
  const exec: Exec = async (program, args) => {
    ran.push([program, ...args].join(' '));
    return { code: args.includes('-f') ? 0 : 32, signal: undefined, stdout: '', stderr: 'umount: busy' };
  };
  await systemMounter(exec, proc).unmount('/v');
  expect(ran).toEqual(['umount -i -n -c -- /v', 'umount -i -n -c -f -- /v']);
  await rm(proc, { recursive: true });
});
