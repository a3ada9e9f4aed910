import { expect, test } from 'vitest';
import { type DeviceMount, formatAndMount, growFileSystem } from './disk.ts';
import type { Exec } from './exec.ts';

const HOW: DeviceMount = { fsType: 'ext4', options: ['noatime'], readOnly: false };

/** Programs that answer as `answers` says, by name, and otherwise do well; and what was run. */
function programs(answers: Record<string, { code: number; stdout?: string }>) {
  const ran: string[] = [];
  const exec: Exec = async (program, args) => {
    ran.push([program, ...args].join(' '));
    return { code: 0, stdout: '', ...answers[program], signal: undefined, stderr: '' };
  };
  return { ran, exec };
}

const probe = 'blkid -p -s TYPE -s PTTYPE -o export /dev/x';

test('an empty device gets a file system, then is mounted', async () => {
  const { ran, exec } = programs({ blkid: { code: 2 } });
  await formatAndMount(exec, '/dev/x', '/d', HOW);
  expect(ran).toEqual([probe, 'mkfs.ext4 -F -m0 /dev/x', 'mount -n -t ext4 -o defaults,noatime -- /dev/x /d']);
});

test('one with a file system is checked and mounted, never formatted', async () => {
  const { ran, exec } = programs({ blkid: { code: 0, stdout: 'DEVNAME=/dev/x\nTYPE=ext4\n' }, fsck: { code: 1 } });
  await formatAndMount(exec, '/dev/x', '/d', HOW);
  expect(ran.slice(1)).toEqual(['fsck -a /dev/x', 'mount -n -t ext4 -o defaults,noatime -- /dev/x /d']);
  ran.length = 0;
  await formatAndMount(exec, '/dev/x', '/d', { ...HOW, readOnly: true });
  expect(ran.slice(1)).toEqual(['mount -n -t ext4 -o ro,defaults,noatime -- /dev/x /d']);
});

test.each([
  ['partitions', { blkid: { code: 0, stdout: 'PTTYPE=gpt\n' } }, {}, 'probably partitions'],
  ['what blkid cannot tell', { blkid: { code: 8 } }, {}, 'cannot see what is on /dev/x: blkid: exit 8'],
  ['errors that fsck leaves', { blkid: { code: 0, stdout: 'TYPE=ext4' }, fsck: { code: 4, stdout: 'bad' } }, {}, 'bad'],
  ['an empty device for reading', { blkid: { code: 2 } }, { readOnly: true }, 'cannot mount unformatted disk /dev/x'],
  ['no type of file system', { blkid: { code: 2 } }, { fsType: '../x' }, '"../x" is no type of file system'],
])('%s: refused, and nothing is changed', async (_, answers, how, text) => {
  const { ran, exec } = programs(answers);
  const refused = expect.objectContaining({ code: 'DISK_REFUSED', message: expect.stringContaining(text) });
  await expect(formatAndMount(exec, '/dev/x', '/d', { ...HOW, ...how })).rejects.toEqual(refused);
  expect(ran.filter((line) => !/^(blkid|fsck) /.test(line))).toEqual([]);
});

test.each([
  ['ext4', 'resize2fs /dev/x'],
  ['xfs', 'xfs_growfs -d /d'],
  ['btrfs', 'btrfs filesystem resize max /d'],
])('a file system of type %s grows to the size of its device', async (type, command) => {
  const { ran, exec } = programs({ blkid: { code: 0, stdout: `DEVNAME=/dev/x\nTYPE=${type}\n` } });
  await growFileSystem(exec, '/dev/x', '/d');
  expect(ran).toEqual([probe, command]);
});

test('what cannot grow is refused, and an empty device left alone', async () => {
  const vfat = programs({ blkid: { code: 0, stdout: 'TYPE=vfat\n' } });
  const text = 'resize of format vfat is not supported for device /dev/x mounted at /d';
  await expect(growFileSystem(vfat.exec, '/dev/x', '/d')).rejects.toThrow(text);
  const empty = programs({ blkid: { code: 2 } });
  await growFileSystem(empty.exec, '/dev/x', '/d');
  expect([...vfat.ran, ...empty.ran]).toEqual([probe, probe]);
  const failing = programs({ blkid: { code: 0, stdout: 'TYPE=ext4\n' }, resize2fs: { code: 1 } });
  const failed = expect.objectContaining({ code: 'DISK_GROW_FAILED' });
  await expect(growFileSystem(failing.exec, '/dev/x', '/d')).rejects.toEqual(failed);
});
