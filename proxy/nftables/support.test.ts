import { expect, test } from 'vitest';
import type { Exec } from '../../host/exec.ts';
import { isKernelNewEnough, probeNftables } from './support.ts';

const signal = new AbortController().signal;
const KERNEL = { release: '6.1.0-18-amd64', skipVersionCheck: false };

/** A host with this nft; `refuses` says what of the probe its kernel does not take. */
function host(version: string, refuses: (input: string) => boolean = () => false): Exec {
  return async (_program, args, { input = '' } = {}) => {
    const refused = args.includes('--check') && refuses(String(input));
    return {
      code: refused ? 1 : 0,
      signal: undefined,
      stdout: version,
      stderr: refused ? 'Operation not supported' : '',
    };
  };
}

test.each([
  'nftables v1.0.1 (Fearless Fosdick #3)',
  'nftables v1.0.6 (Lester Gooch #5)',
  'nftables v1.1.3 (Commodore)',
])('%s will do', async (version) => {
  expect(await probeNftables(host(version), KERNEL, signal)).toEqual({ hasObjectComments: true });
});

test.each(['nftables v0.9.8 (E.D.S.)', 'nftables v1.0.0 (Fearless Fosdick #2)'])('%s is too old', async (version) => {
  await expect(probeNftables(host(version), KERNEL, signal)).rejects.toMatchObject({ code: 'NFTABLES_UNSUPPORTED' });
});

test('comments are left out where the kernel refuses them', async () => {
  const exec = host('nftables v1.0.6', (input) => input.includes('comment'));
  expect(await probeNftables(exec, KERNEL, signal)).toEqual({ hasObjectComments: false });
});

test('a kernel that takes no table at all, and a host without the tool, are named', async () => {
  await expect(
    probeNftables(
      host('nftables v1.0.6', () => true),
      KERNEL,
      signal,
    ),
  ).rejects.toThrow(/not supported/);
  const none: Exec = () => Promise.reject(new Error('no such program'));
  await expect(probeNftables(none, KERNEL, signal)).rejects.toThrow(/needs the program nft/);
});

test('kernels before 5.13 are refused, unless their operator knows better', async () => {
  expect(['5.13.0', '5.14.0-503.el9', '6.18.1', 'odd'].every(isKernelNewEnough)).toBe(true);
  expect(['4.19.0-26-amd64', '5.4.0', '5.12.19'].some(isKernelNewEnough)).toBe(false);
  const old = { release: '5.4.0', skipVersionCheck: false };
  await expect(probeNftables(host('nftables v1.0.6'), old, signal)).rejects.toThrow(/5\.13 or later, this is 5\.4\.0/);
  const skipped = { ...old, skipVersionCheck: true };
  expect(await probeNftables(host('nftables v1.0.6'), skipped, signal)).toEqual({ hasObjectComments: true });
});
