import { expect, test } from 'vitest';
import { silentLog } from '../../core/log.ts';
import type { AgentConfig } from '../config/agent-config.ts';
import { setProxyLimits } from './proxy-limits.ts';

const CLOSE_WAIT = 'net/netfilter/nf_conntrack_tcp_timeout_close_wait';

const config = {
  parts: new Set(['kubelet', 'proxy']),
  proxy: {
    conntrack: {
      maxPerCore: 0,
      min: 0,
      tcpEstablishedTimeoutMs: 0,
      tcpCloseWaitTimeoutMs: 3_600_000,
      tcpBeLiberal: false,
      udpTimeoutMs: 0,
      udpStreamTimeoutMs: 0,
    },
  },
} as unknown as AgentConfig;

function host(values: Record<string, string>) {
  const sysctl = {
    read: async (name: string) => values[name],
    set: async (name: string, value: string) => {
      if (values[name] === undefined) return false;
      values[name] = value;
      return true;
    },
  };
  return { values, ctx: { config, sysctl, log: silentLog } };
}

const TRACKING = { 'net/netfilter/nf_conntrack_max': '65536', [CLOSE_WAIT]: '60' };

test('limits of connections are set at the start', async () => {
  const { values, ctx } = host({ ...TRACKING });
  expect(await setProxyLimits(ctx)).toBeUndefined();
  expect(values[CLOSE_WAIT]).toBe('3600');
});

test('on a host that has tracked no connections since it booted, they are set when the first rules are there', async () => {
  const { values, ctx } = host({});
  const later = await setProxyLimits(ctx);
  const synced = Promise.withResolvers<void>();
  const stop = new AbortController();
  const ended = later!(synced.promise)(stop.signal);
  Object.assign(values, TRACKING); // the module came with the rules
  synced.resolve();
  await expect.poll(() => values[CLOSE_WAIT], { timeout: 20_000 }).toBe('3600');
  stop.abort();
  await ended;
});

test('a proxy that stops before it had rules sets nothing more', async () => {
  const { values, ctx } = host({});
  const later = await setProxyLimits(ctx);
  const stop = new AbortController();
  const ended = later!(new Promise(() => {}))(stop.signal);
  Object.assign(values, TRACKING);
  stop.abort();
  await ended;
  expect(values[CLOSE_WAIT]).toBe('60');
});
