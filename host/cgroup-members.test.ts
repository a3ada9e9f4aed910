import { describe, expect, test } from 'vitest';
import { groupIn, isInNamespaceOfProc, isKernelThread, seesHostProcesses } from './cgroup-members.ts';

describe('the group of a process', () => {
  const v1 = (memory: string, systemd = '') => `5:memory:${memory}\n3:cpu,cpuacct:/a\n${systemd}0::/\n`;
  test.each<[string, string, 1 | 2, string | undefined]>([
    ['of v2', '0::/system.slice/x.service\n', 2, '/system.slice/x.service'],
    ['of v1, for CPU and memory', v1('/a'), 1, '/a'],
    ['of v1, in two', v1('/'), 1, undefined],
    ['of v1 beside systemd', v1('/a', '1:name=systemd:/system.slice/x.service\n'), 1, '/system.slice/x.service'],
  ])('%s', (_, text, version, group) => {
    expect(groupIn(text, version)).toBe(group);
  });
});

test('a kernel thread has no program', async () => {
  expect(await isKernelThread(process.pid)).toBe(false);
  expect(await isKernelThread(0x7fff_ffff)).toBe(true); // nor has a process that is gone
});

test.each([
  ['Name:\tnode\nNSpid:\t17\nNSsid:\t1\n', true],
  ['Name:\tnode\nNSpid:\t40917\t17\nNSsid:\t1\n', false],
  ['Name:\tnode\n', true],
])('a process with the status %j is of the host: %s', (status, isHost) => {
  expect(isInNamespaceOfProc(status)).toBe(isHost);
});

test('this one is', async () => {
  expect(await seesHostProcesses()).toBe(true);
});
