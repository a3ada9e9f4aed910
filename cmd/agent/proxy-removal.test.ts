import { expect, onTestFinished, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { Exec } from '../../host/exec.ts';
import { otherModeRemoval } from './proxy-removal.ts';

/** A host that refuses to take the table away, so many times. */
function removal(refusals: number) {
  const clock = new FakeClock();
  const written: string[] = [];
  const exec: Exec = async (_program, args, opts) => {
    if (!args.includes('-f')) return { code: 0, signal: undefined, stdout: 'nftables v1.0.6', stderr: '' };
    written.push(/ table (\S+) /.exec(String(opts?.input))![1]!);
    const isRefused = written.length <= refusals;
    return {
      code: isRefused ? 1 : 0,
      signal: undefined,
      stdout: '',
      stderr: isRefused ? 'Device or resource busy' : '',
    };
  };
  const synced = Promise.withResolvers<void>();
  const stop = new AbortController();
  const ended = otherModeRemoval({ exec, clock, log: silentLog }, 'iptables', synced.promise)(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await ended;
    expect(clock.sleeping).toBe(0);
  });
  return { clock, synced, written };
}

test('rules of the other mode stay until ours are in place', async () => {
  const { clock, synced, written } = removal(0);
  await clock.advance(60_000);
  expect(written).toEqual([]);
  synced.resolve();
  await clock.advance(0);
  expect(written).toEqual(['ip', 'ip6']);
  await clock.advance(600_000);
  expect(written).toEqual(['ip', 'ip6']);
});

test('rules that cannot be removed are tried again, for a while', async () => {
  const { clock, synced, written } = removal(2);
  synced.resolve();
  await clock.advance(29_000);
  expect(written).toEqual(['ip']);
  for (let i = 0; i < 3; i++) await clock.advance(30_000);
  expect(written).toEqual(['ip', 'ip', 'ip', 'ip6']);

  const never = removal(1_000);
  never.synced.resolve();
  for (let i = 0; i < 30; i++) await never.clock.advance(30_000);
  expect(never.written).toHaveLength(10);
});
