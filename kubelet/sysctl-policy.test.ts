import { expect, test } from 'vitest';
import type { PodSpec } from '../api/pod.ts';
import { forbiddenSysctl } from './sysctl-policy.ts';

const verdict = (name: string, spec: Partial<PodSpec> = {}, allowed: readonly string[] = []) =>
  forbiddenSysctl({ spec: { containers: [], ...spec, securityContext: { sysctls: [{ name, value: '1' }] } } }, allowed);

test('a pod without sysctls is not refused', () => {
  expect(forbiddenSysctl({ spec: { containers: [] } }, [])).toBeUndefined();
});

test.each<[string, readonly string[]]>([
  ['kernel.shm_rmid_forced', []],
  ['kernel/shm_rmid_forced', []],
  ['net.ipv4.tcp_rmem', []],
  ['kernel.msgmax', ['kernel.msg*']],
  ['kernel.msgmax', ['kernel/msgmax']],
])('%s is allowed with %j', (name, allowed) => expect(verdict(name, {}, allowed)).toBeUndefined());

test.each<[string, Partial<PodSpec>, readonly string[], string]>([
  ['kernel.msgmax', {}, [], 'forbidden sysctl: "kernel.msgmax" not allowlisted'],
  ['kernel/msgmax', {}, ['net.*', 'kernel.msgma'], 'forbidden sysctl: "kernel.msgmax" not allowlisted'],
  [
    'kernel.shm_rmid_forced',
    { hostIPC: true },
    [],
    'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled',
  ],
  [
    'net.ipv4.tcp_syncookies',
    { hostNetwork: true },
    [],
    'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net enabled',
  ],
])('%s of %j is refused with %j', (name, spec, allowed, message) => expect(verdict(name, spec, allowed)).toBe(message));

test('a parameter of another namespace than the shared one is allowed', () => {
  expect(verdict('kernel.shm_rmid_forced', { hostNetwork: true })).toBeUndefined();
  expect(verdict('net.ipv4.tcp_syncookies', { hostIPC: true })).toBeUndefined();
});
