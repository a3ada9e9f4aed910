import { expect, test } from 'vitest';
import { silentLog } from '../core/log.ts';
import type { Sysctl } from '../host/sysctl.ts';
import { type ConntrackSettings, conntrackMax, setConntrackSysctls } from './conntrack-sysctls.ts';

const defaults: ConntrackSettings = {
  maxPerCore: 32_768,
  min: 131_072,
  tcpEstablishedTimeoutMs: 86_400_000,
  tcpCloseWaitTimeoutMs: 3_600_000,
  tcpBeLiberal: false,
  udpTimeoutMs: 0,
  udpStreamTimeoutMs: 0,
};

/** Behaves as /proc/sys does: a name it does not have is not set, a refused one throws. */
function parameters(values: Record<string, string>, refused: readonly string[] = []) {
  const written: Record<string, string> = {};
  const sysctl: Sysctl = {
    read: async (name) => values[name],
    set: async (name, value) => {
      if (refused.includes(name)) throw new Error('EACCES');
      if (values[name] === undefined) return false;
      if (values[name] !== value) written[name] = value;
      return true;
    },
  };
  return { sysctl, written };
}

test.each([
  [2, 32_768, 131_072, 131_072],
  [8, 32_768, 131_072, 262_144],
  [64, 32_768, 131_072, 1_048_576],
  [64, 32_768, 2_000_000, 2_000_000],
  [8, 0, 131_072, undefined],
])('%i CPUs with %i each and at least %i: a table of %s', (cpus, maxPerCore, min, expected) => {
  expect(conntrackMax({ maxPerCore, min }, cpus)).toBe(expected);
});

const at = (name: string) => `net/netfilter/nf_conntrack_${name}`;
const kernel = {
  [at('max')]: '65536',
  [at('tcp_timeout_established')]: '432000',
  [at('tcp_timeout_close_wait')]: '60',
  [at('tcp_be_liberal')]: '0',
  [at('udp_timeout')]: '30',
  [at('udp_timeout_stream')]: '120',
};

test('the defaults set the size, its buckets and the times of TCP, and leave those of UDP', async () => {
  const [proc, module] = [parameters(kernel), parameters({ hashsize: '16384' })];
  const deps = { cpus: 8, sysctl: proc.sysctl, moduleParameters: module.sysctl, log: silentLog };
  expect(await setConntrackSysctls(defaults, deps)).toBe(true);
  expect(proc.written).toEqual({
    [at('max')]: '262144',
    [at('tcp_timeout_established')]: '86400',
    [at('tcp_timeout_close_wait')]: '3600',
  });
  expect(module.written).toEqual({ hashsize: '65536' });
});

test('a larger number of buckets stays; what is refused keeps nothing else from being set', async () => {
  const proc = parameters(kernel, [at('max')]);
  const module = parameters({ hashsize: '262144' });
  const deps = { cpus: 8, sysctl: proc.sysctl, moduleParameters: module.sysctl, log: silentLog };
  const all = { ...defaults, tcpBeLiberal: true, udpTimeoutMs: 10_000, udpStreamTimeoutMs: 20_000 };
  await setConntrackSysctls(all, deps);
  expect(proc.written).toEqual({
    [at('tcp_timeout_established')]: '86400',
    [at('tcp_timeout_close_wait')]: '3600',
    [at('tcp_be_liberal')]: '1',
    [at('udp_timeout')]: '10',
    [at('udp_timeout_stream')]: '20',
  });
  expect(module.written).toEqual({});
});

test('a kernel without connection tracking is left alone, and told apart', async () => {
  const nothing = parameters({});
  const deps = { cpus: 8, sysctl: nothing.sysctl, moduleParameters: nothing.sysctl, log: silentLog };
  expect(await setConntrackSysctls(defaults, deps)).toBe(false);
  expect(nothing.written).toEqual({});
});
