import { expect, test } from 'vitest';
import type { Exec } from './exec.ts';
import { parseMountInfo } from './mounts.ts';
import { mountHolding, shareMount, unshareMount } from './shared-mount.ts';

const DIR = '/var/lib/kubelet';
const ROOT = '24 1 254:0 / / rw - ext4 /dev/root rw';
const SHARED_ROOT = '24 1 254:0 / / rw shared:1 - ext4 /dev/root rw';
const SIBLING = '30 24 0:40 / /var/lib/kubelet2 rw shared:2 - tmpfs tmpfs rw';
const BELOW = '31 24 0:41 / /var/lib/kubelet/volatile rw shared:3 - tmpfs tmpfs rw';
const SELF = '32 24 254:0 /var/lib/kubelet /var/lib/kubelet rw - ext4 /dev/root rw';
const SHARED_SELF = '32 24 254:0 /var/lib/kubelet /var/lib/kubelet rw shared:9 - ext4 /dev/root rw';

function host(...lines: string[]) {
  const ran: string[] = [];
  const exec: Exec = async (program, args) => {
    ran.push([program, ...args].join(' '));
    return { code: 0, signal: undefined, stdout: '', stderr: '' };
  };
  return { ran, deps: { exec, list: async () => parseMountInfo(`${lines.join('\n')}\n`) } };
}

const BIND = `mount -n --rbind -- ${DIR} ${DIR}`;
const SHARE = `mount -n --make-rshared -- ${DIR}`;

test.each<[what: string, lines: string[], commands: string[]]>([
  ['a private root', [ROOT, SIBLING, BELOW], [BIND, SHARE]],
  ['a shared root', [SHARED_ROOT], []],
  ['what an earlier agent has shared', [ROOT, SHARED_SELF], []],
  ['what one that was killed has bound', [ROOT, SELF], [SHARE]],
  ['a disk of its own', [SHARED_ROOT, `40 24 8:1 / ${DIR} rw - ext4 /dev/sda1 rw`], [SHARE]],
])('the directory becomes shared: %s', async (_, lines, commands) => {
  const { ran, deps } = host(...lines);
  expect(await shareMount(DIR, deps)).toBe(commands.length > 0);
  expect(ran).toEqual(commands);
});

test.each<[what: string, lines: string[], isOurs: boolean]>([
  ['nothing is mounted there', [ROOT, SIBLING], false],
  ['bound onto itself', [ROOT, SHARED_SELF], true],
  [
    'bound onto itself, within another mount',
    ['24 1 254:0 /x / rw - ext4 r rw', SELF.replace(' /var', ' /x/var')],
    true,
  ],
  ['a disk of its own', [ROOT, `40 24 8:1 / ${DIR} rw shared:4 - ext4 /dev/sda1 rw`], false],
  ['another directory', [ROOT, `40 24 254:0 /data ${DIR} rw shared:4 - ext4 /dev/root rw`], false],
])('only what we have mounted is unmounted: %s', async (_, lines, isOurs) => {
  const { ran, deps } = host(...lines);
  expect(await unshareMount(DIR, deps)).toBe(isOurs);
  expect(ran).toEqual(isOurs ? [`umount -n -c -- ${DIR}`] : []);
});

test('of mounts at one place the topmost holds what is there', () => {
  const mounts = parseMountInfo(`${[ROOT, SELF, SHARED_SELF.replace('32 24', '33 32')].join('\n')}\n`);
  expect(mountHolding(mounts, `${DIR}/pods`)?.mountId).toBe(33);
});
