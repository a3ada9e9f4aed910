import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { goArchitecture, parseOsImage, readMachineInfo } from './machine.ts';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'machine-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function put(file: string, text: string): Promise<void> {
  await mkdir(path.dirname(path.join(root, file)), { recursive: true });
  await writeFile(path.join(root, file), text);
}

test('a whole machine', async () => {
  await put('proc/meminfo', 'MemTotal:       16384256 kB\nMemFree: 1 kB\nSwapTotal:        1024 kB\n');
  await put('proc/sys/kernel/random/boot_id', 'b-1\n');
  await put('proc/sys/kernel/osrelease', '6.1.0\n');
  await put('sys/devices/system/cpu/online', '0-3,8\n');
  await put('sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages', '4\n');
  await put('sys/class/dmi/id/product_uuid', 'u-1\n');
  await put('var/lib/dbus/machine-id', 'm-1\n');
  await put('usr/lib/os-release', 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n');
  expect(await readMachineInfo(root)).toEqual({
    cores: 5,
    onlineCpus: '0-3,8',
    memoryBytes: 16_384_256 * 1024,
    swapBytes: 1024 * 1024,
    hugePages: [{ pageBytes: 2 << 20, count: 4 }],
    machineId: 'm-1',
    systemUuid: 'u-1',
    bootId: 'b-1',
    kernelVersion: '6.1.0',
    osImage: 'Debian GNU/Linux 12 (bookworm)',
    architecture: goArchitecture(process.arch),
  });
});

test('what a restricted environment hides becomes empty, not an error', async () => {
  await put('proc/meminfo', 'MemTotal: 1 kB\n');
  await put('proc/cpuinfo', 'processor\t: 0\nprocessor\t: 1\n');
  const info = await readMachineInfo(root);
  expect(info).toMatchObject({
    cores: 2,
    onlineCpus: '',
    swapBytes: 0,
    hugePages: [],
    machineId: '',
    osImage: 'Linux',
  });
});

test('names and quoting', () => {
  expect(goArchitecture('x64')).toBe('amd64');
  expect(parseOsImage("PRETTY_NAME='It \\$ costs'")).toBe('It $ costs');
});
