// The agent's side of a shutdown over a real message bus, with a logind of the suite's own behind it.
import { mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { DBusConnection } from '../../host/dbus.ts';
import { takeInhibitor } from '../../kubelet/shutdown/inhibitor.ts';
import { watchLogind } from '../../kubelet/shutdown/logind.ts';
import { FakeLogind, logindMissing } from '../harness/fake-logind.ts';

const missing = logindMissing();
if (missing !== undefined) console.warn(`shutdown over D-Bus is skipped: ${missing}`);
const WAIT = { timeout: 60_000, interval: 20 };

describe.skipIf(missing !== undefined)('a shutdown of the node', () => {
  let dir: string;
  let logind: FakeLogind;
  let stop: AbortController;
  let ended: Promise<void>;
  let told: string[];
  /** Lets the shutdown that is under way be over. */
  let podsEnded: () => void;

  beforeEach(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'nodelet-logind-'));
    logind = await FakeLogind.start(dir);
    stop = new AbortController();
    ended = Promise.resolve();
    told = [];
  });
  afterEach(async () => {
    stop.abort();
    await ended;
    await logind[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  function watch(delaySeconds = 30, signal = stop.signal, given: () => Promise<void> = async () => {}): Promise<void> {
    const options = {
      busSocket: path.join(dir, 'bus'),
      delaySeconds,
      configDir: path.join(dir, 'logind.conf.d'),
      takeLock: async () => {
        const lock = await takeInhibitor([logind.lockProgram]);
        await given();
        return lock;
      },
    };
    const handlers = {
      onShutdown: async (cancelled: AbortSignal) => {
        told.push('shutdown');
        await new Promise<void>((resolve) => {
          podsEnded = resolve;
          cancelled.addEventListener('abort', () => resolve(), { once: true });
        });
      },
      onCancelled: () => told.push('cancelled'),
    };
    return watchLogind(options, handlers, { clock: systemClock, log: silentLog }, signal);
  }

  const until = (good: () => Promise<boolean> | boolean) =>
    vi.waitFor(async () => expect(await good()).toBe(true), WAIT);
  const held = () => until(() => logind.isHeld());
  const free = () => until(async () => !(await logind.isHeld()));

  test('is held up until the pods have ended', async () => {
    ended = watch();
    await held();
    logind.prepareForShutdown(true);
    logind.prepareForShutdown(true); // told twice
    await until(() => told.length > 0);
    expect(await logind.isHeld()).toBe(true);
    podsEnded();
    await free();
    expect(told).toEqual(['shutdown']);
    expect(logind.calls.map(([member]) => member)).not.toContain('KillUnit');
  });

  test('goes on although the lock was still on its way when the pods had ended', async () => {
    const given = Promise.withResolvers<void>();
    ended = watch(30, stop.signal, () => given.promise);
    await held();
    logind.prepareForShutdown(true);
    await until(() => told.length > 0);
    podsEnded();
    await new Promise(setImmediate); // that is heard of
    given.resolve();
    await free();
  });

  test('that is called off is watched for again, with a lock', async () => {
    ended = watch();
    await held();
    logind.prepareForShutdown(true);
    await until(() => told.length === 1);
    logind.prepareForShutdown(false);
    await until(() => told.length === 2);
    await held();
    logind.prepareForShutdown(true);
    await until(() => told.length === 3);
    podsEnded();
    await free();
    logind.prepareForShutdown(false); // after the lock was let go
    await held();
    expect(told).toEqual(['shutdown', 'cancelled', 'shutdown', 'cancelled']);
  });

  test('is told of although the agent was started in the middle of it', async () => {
    logind.preparing = true;
    ended = watch();
    await until(() => told.length === 1);
    expect(await logind.isHeld()).toBe(false); // logind gives none any more
    podsEnded();
  });

  test('has the time that pods may take: logind is told so when it gives less', async () => {
    logind.delaySeconds = 5;
    logind.onKill = () => {
      logind.delaySeconds = 45;
    };
    ended = watch(45);
    await held();
    const file = path.join(dir, 'logind.conf.d/99-kubelet.conf');
    expect(await readFile(file, 'utf8')).toBe('# Kubelet logind override\n[Login]\nInhibitDelayMaxSec=45\n');
    expect((await stat(file)).mode & 0o777).toBe(0o644);
    expect(logind.calls.filter(([member]) => member === 'KillUnit')).toEqual([
      ['KillUnit', 'systemd-logind.service', 'all', 1],
    ]);
  });

  test('is not waited for while logind gives less time, and is once it gives enough', async () => {
    logind.delaySeconds = 5;
    ended = watch(45);
    await until(() => logind.calls.filter(([member]) => member === 'KillUnit').length > 0);
    expect(await logind.isHeld()).toBe(false);
    logind.delaySeconds = 60;
    await held();
  });

  test('is watched for again after the bus was gone, and the lock goes with the agent', async () => {
    ended = watch();
    await held();
    await logind[Symbol.asyncDispose]();
    await free();
    await rm(dir, { recursive: true });
    await mkdir(dir);
    logind = await FakeLogind.start(dir);
    await held();
    stop.abort();
    await ended;
    await free();
  });

  test('a call that fails says what the service said', async () => {
    using bus = await DBusConnection.open(path.join(dir, 'bus'));
    const at = { path: '/org/freedesktop/login1', interface: 'org.freedesktop.login1.Manager' };
    const call = { destination: 'org.freedesktop.login1', ...at, member: 'Fly' };
    await expect(bus.call(call)).rejects.toMatchObject({
      code: 'DBUS_CALL_FAILED',
      details: { name: 'org.freedesktop.DBus.Error.UnknownMethod' },
    });
    await expect(bus.call({ ...call, destination: 'org.example.none' })).rejects.toThrow(/ServiceUnknown/);
    await expect(DBusConnection.open('/nowhere')).rejects.toMatchObject({ code: 'DBUS_UNREACHABLE' });
  });
});
