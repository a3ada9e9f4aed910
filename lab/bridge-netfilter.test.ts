import { expect, test } from 'vitest';
import { AgentError } from '../core/errors.ts';
import type { Exec } from '../host/exec.ts';
import { ensureBridgeNetfilter } from './bridge-netfilter.ts';

const MISSING = '/proc/sys/net/no-such-thing';

function modprobe(code: number, stderr = ''): { exec: Exec; calls: string[] } {
  const calls: string[] = [];
  const exec: Exec = async (program, args) => {
    calls.push([program, ...args].join(' '));
    return { code, signal: undefined, stdout: '', stderr };
  };
  return { exec, calls };
}

test('nothing is done where the kernel has it', async () => {
  const { exec, calls } = modprobe(0);
  expect(await ensureBridgeNetfilter(exec, '/proc/sys/kernel/ostype')).toBeUndefined();
  expect(calls).toEqual([]);
});

test('the module is loaded where it is missing', async () => {
  const { exec, calls } = modprobe(0);
  expect(await ensureBridgeNetfilter(exec, MISSING)).toBeUndefined();
  expect(calls).toEqual(['modprobe br_netfilter']);
});

test('a kernel without it, or a host without modprobe, is told and no failure', async () => {
  const { exec } = modprobe(1, 'modprobe: FATAL: Module br_netfilter not found.\n');
  expect(await ensureBridgeNetfilter(exec, MISSING)).toMatch(/cannot be loaded \(modprobe: FATAL.*not found\.\)/);
  const none: Exec = () => Promise.reject(new AgentError('cannot run modprobe', { code: 'EXEC_NOT_FOUND' }));
  expect(await ensureBridgeNetfilter(none, MISSING)).toContain('(cannot run modprobe)');
});
