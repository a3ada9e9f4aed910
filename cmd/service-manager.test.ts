import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeEach, expect, test, vi } from 'vitest';
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

const tools = ['/usr/bin/systemd-notify', '/usr/bin/socat'].every((file) => existsSync(file));
test.skipIf(!tools).each(['path', 'abstract'])('reaches the socket that systemd named: %s', async (kind) => {
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-notify-'));
  const name = path.join(dir, 'notify');
  const address = kind === 'path' ? `UNIX-RECV:${name}` : `ABSTRACT-RECV:${name}`;
  const receiver = spawn('socat', ['-u', address, 'STDOUT'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let received = '';
  receiver.stdout.on('data', (chunk: Buffer) => {
    received += chunk.toString();
  });
  const NOTIFY_SOCKET = kind === 'path' ? name : `@${name}`;
  // Nothing tells when socat listens: a datagram that nobody takes is an error of the sender.
  await vi.waitFor(
    async () => {
      const { PATH } = process.env;
      const r = await systemExec('systemd-notify', ['STATUS=there'], { env: { PATH, NOTIFY_SOCKET } });
      expect(r.code).toBe(0);
    },
    { timeout: 20_000, interval: 50 },
  );
  const ended = task({ NOTIFY_SOCKET }, systemExec)!(stop.signal);
  await vi.waitFor(() => expect(received).toContain('READY=1'), { timeout: 20_000 });
  stop.abort();
  await ended;
  await vi.waitFor(() => expect(received).toContain('STOPPING=1'), { timeout: 20_000 });
  receiver.kill('SIGKILL');
  await once(receiver, 'close');
  await rm(dir, { recursive: true });
});
