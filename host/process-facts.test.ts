import { expect, test } from 'vitest';
import { deviceNumbers, findMountSource, parseDiskStats } from './block-devices.ts';
import {
  bootTimeMs,
  cgroupOfProcess,
  maxOpenFilesOf,
  openFilesOf,
  parseMaxOpenFiles,
  parseProcCgroup,
  processCounts,
} from './process-facts.ts';

test('the cgroup of a process in each hierarchy', () => {
  const text = '9:name=systemd:/a\n4:cpu,cpuacct:/b:c\n3:memory:/d\n0::/e\n';
  expect(parseProcCgroup(text, 'cpuacct')).toBe('/b:c');
  expect(parseProcCgroup(text, 'memory')).toBe('/d');
  expect(parseProcCgroup(text, undefined)).toBe('/e');
  expect(parseProcCgroup(text, 'pids')).toBeUndefined();
  expect(parseProcCgroup('', undefined)).toBeUndefined();
  expect(cgroupOfProcess(2 ** 22 + 1, undefined)).toBeUndefined();
});

test('limits of open files', () => {
  const text =
    'Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 4096                 files\n';
  expect(parseMaxOpenFiles(text)).toBe(1024);
  expect(parseMaxOpenFiles(text.replace('1024 ', 'unlimited '))).toBeUndefined();
  expect(maxOpenFilesOf(process.pid)).toBeGreaterThan(0);
});

test('open files of processes, those that are gone left out', () => {
  const { files, sockets } = openFilesOf([process.pid, 2 ** 22 + 1]);
  expect(files).toBeGreaterThan(2);
  expect(sockets).toBeLessThanOrEqual(files);
  expect(openFilesOf([])).toEqual({ files: 0, sockets: 0 });
});

test('the machine counts its processes and knows when it was started', () => {
  const { current, max } = processCounts();
  expect(current).toBeGreaterThan(0);
  expect(max).toBeGreaterThan(current);
  expect(bootTimeMs()).toBeLessThan(Date.now());
});

test('counters of disks; those that never did anything are left out', () => {
  const text = [
    '   8       0 sda 10 1 200 30 5 2 80 40 1 50 70 0 0 0 0',
    '   8      16 sdb 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0',
    'nonsense',
    '',
  ].join('\n');
  expect(parseDiskStats(text)).toEqual([
    {
      device: '/dev/sda',
      readsMerged: 1,
      sectorsRead: 200,
      readMs: 30,
      writesMerged: 2,
      sectorsWritten: 80,
      writeMs: 40,
      inFlight: 1,
      ioMs: 50,
      weightedMs: 70,
    },
  ]);
});

test('the mount that a directory is on is the one with the longest way', () => {
  const text = [
    '20 1 8:1 / / rw - ext4 /dev/sda1 rw',
    '21 20 8:2 / /var rw - ext4 /dev/sda2 rw',
    '22 20 8:3 / /va rw - ext4 /dev/sda3 rw',
    '23 21 0:5 / /var/lib rw - overlay overlay rw',
    '24 23 8:4 / /var/lib rw - ext4 /dev/sda4 rw',
  ].join('\n');
  expect(findMountSource(text, '/var/log')).toBe('/dev/sda2');
  expect(findMountSource(text, '/var')).toBe('/dev/sda2');
  expect(findMountSource(text, '/vault')).toBe('/dev/sda1');
  expect(findMountSource(text, '/var/lib/x')).toBe('/dev/sda4');
});

test('device numbers as the kernel packs them', () => {
  expect(deviceNumbers(0x0801)).toEqual({ major: 8, minor: 1 });
  expect(deviceNumbers(0xfe00)).toEqual({ major: 254, minor: 0 });
  expect(deviceNumbers(0x10_0803)).toEqual({ major: 8, minor: 259 });
});
