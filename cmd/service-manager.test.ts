import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { beforeEach, expect, test } from 'vitest';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { type Exec, systemExec } from '../host/exec.ts';
import { serviceManagerTask } from './service-manager.ts';

const PID = 42;
let clock: FakeClock;
let told: string[];
let error: string | undefined;
let stop: AbortController;
beforeEach(() => {
  clock = new FakeClock();
  told = [];
  error = undefined;
  stop = new AbortController();
});

const recorder: Exec = async (program, args, opts) => {
  told.push([program, ...args, opts?.env?.NOTIFY_SOCKET].join(' '));
  return { code: 0, signal: undefined, stdout: '', stderr: '' };
};
const task = (env: Record<string, string>, exec = recorder) =>
  serviceManagerTask({ ...env, PATH: process.env.PATH }, PID, {
    healthError: () => error,
    exec,
    clock,
    log: silentLog,
  });

test('nobody is told who has not asked', () => {
  expect(task({})).toBeUndefined();
  expect(task({ NOTIFY_SOCKET: '' })).toBeUndefined();
});

test('tells that it is ready, and at the end that it stops', async () => {
  const ended = task({ NOTIFY_SOCKET: '@abstract', WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' })!(stop.signal);
  await clock.advance(60_000);
  expect(told).toEqual(['systemd-notify READY=1 @abstract']); // another process is watched
  stop.abort();
  await ended;
  expect(told.at(-1)).toBe('systemd-notify STOPPING=1 @abstract');
});

test('twice in each interval, as long as the health checks pass', async () => {
  const ended = task({ NOTIFY_SOCKET: '/s', WATCHDOG_USEC: '30000000', WATCHDOG_PID: String(PID) })!(stop.signal);
  const alive = () => told.filter((t) => t.includes('WATCHDOG=1')).length;
  await clock.advance(29_000);
  expect(alive()).toBe(2);
  error = 'PLEG is not healthy';
  await clock.advance(1400);
  error = undefined; // for a moment only
  await clock.advance(1000);
  expect(alive()).toBe(3);
  error = 'PLEG is not healthy';
  await clock.advance(120_000);
  expect(alive()).toBe(3);
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});

test('a helper that is missing or fails stops nobody', async () => {
  const missing: Exec = async () => {
    throw new Error('no such program');
  };
  const ended = task({ NOTIFY_SOCKET: '/s', WATCHDOG_USEC: '2000000' }, missing)!(stop.signal);
  await clock.advance(10_000);
  stop.abort();
  await ended;
});

/** Prints each datagram as a line; Node.js has no datagram sockets of this kind. */
const RECEIVER = `use Socket; $| = 1;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; bind($s, pack_sockaddr_un($ARGV[0] =~ s/^@/\\0/r)) or die;
print "listening\\n"; while (1) { recv($s, my $text, 4096, 0); print "$text\\n"; }`;

const tools = ['/usr/bin/systemd-notify', '/usr/bin/perl'].every((file) => existsSync(file));
test.skipIf(!tools).each(['', '@'])('reaches the socket that systemd named: %s', async (kind) => {
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-notify-'));
  const NOTIFY_SOCKET = `${kind}${path.join(dir, 'notify')}`;
  const receiver = spawn('perl', ['-e', RECEIVER, NOTIFY_SOCKET], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const lines = createInterface(receiver.stdout)[Symbol.asyncIterator]();
    const next = async (wanted: string) => {
      for (let line = await lines.next(); line.value !== wanted; line = await lines.next())
        if (line.done === true) throw new Error(`ended without ${wanted}`);
    };
    await next('listening');
    const ended = task({ NOTIFY_SOCKET }, systemExec)!(stop.signal);
    await next('READY=1');
    stop.abort();
    await ended;
    await next('STOPPING=1');
  } finally {
    receiver.kill('SIGKILL');
    await once(receiver, 'close');
    await rm(dir, { recursive: true });
  }
});
