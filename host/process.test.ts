import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../core/clock.ts';
import {
  childrenOf,
  identifyProcess,
  identityIn,
  isRunning,
  type ProcessIdentity,
  signalProcess,
  spawnDetached,
  stopProcess,
} from './process.ts';

let dir: string;
let started: ProcessIdentity[];
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-process-'));
  started = [];
});
afterEach(async () => {
  for (const identity of started) await stopProcess(identity, 0, systemClock);
  await rm(dir, { recursive: true });
});

async function start(script: string) {
  const detached = await spawnDetached('/bin/sh', ['-c', script], { logFile: path.join(dir, 'log') });
  started.push(detached.identity);
  return detached;
}
const signal = AbortSignal.timeout(10_000);

test('a program says on its descriptor when it is ready; its output is in the log file', async () => {
  const { identity, ready } = await start('echo hello; echo ready >&"$NODELET_READY_FD"; exec sleep 60');
  await ready(signal);
  expect(await readFile(path.join(dir, 'log'), 'utf8')).toBe('hello\n');
  expect(await isRunning(identity)).toBe(true);
  await stopProcess(identity, 5_000, systemClock);
  expect(await isRunning(identity)).toBe(false);
  await stopProcess(identity, 5_000, systemClock); // gone already: success
});

test.each([
  ['S', 11, true],
  ['Z', 1, false],
  ['Z', 3, true],
  ['X', 1, false],
])('a process in state %s with %i threads runs: %s', (state, threads, runs) => {
  const fields = [state, ...Array.from({ length: 16 }, () => 0), threads, 0, 4711, 0];
  const identity = identityIn(`42 (a) Z (b) ${fields.join(' ')}`);
  expect(identity).toEqual(runs ? { pid: 42, startTicks: 4711 } : undefined);
});

test('a program that ends before it is ready is an error that names the log', async () => {
  const starting = start('exit 3').then(({ ready }) => ready(signal)); // it may be seen at either step
  await expect(starting).rejects.toMatchObject({ code: 'PROCESS_ENDED', hint: `see ${path.join(dir, 'log')}` });
});

test.each([
  ['echo first; echo last; echo', 'last'],
  ['echo "nodelet: no such flag"; echo "  see its help"', 'no such flag'],
])('its last words are told: %s', async (script, said) => {
  const starting = start(`${script}; exit 3`).then(({ ready }) => ready(signal));
  await expect(starting).rejects.toThrow(`/bin/sh ended before it was ready: ${said}`);
});

test('its last words are not those of one that ran before it with the same log', async () => {
  const run = (script: string) => start(script).then(({ ready }) => ready(signal));
  await expect(run('echo "nodelet: no such flag"; exit 3')).rejects.toThrow('no such flag');
  await expect(run('kill -KILL $$')).rejects.toThrow(/before it was ready$/);
});

test('waiting for readiness ends with its signal', async () => {
  const { ready } = await start('exec sleep 60');
  const stop = new AbortController();
  const waiting = ready(stop.signal);
  stop.abort(new Error('given up'));
  await expect(waiting).rejects.toThrow('given up');
});

test('a program that does not exist is an error of its own', async () => {
  const starting = spawnDetached(path.join(dir, 'none'), [], { logFile: path.join(dir, 'log') });
  await expect(starting).rejects.toMatchObject({ code: 'EXEC_FAILED' });
});

test('a process that ignores SIGTERM is killed after its grace', async () => {
  const { identity, ready } = await start(
    'trap "" TERM; echo >&"$NODELET_READY_FD"; while :; do sleep 60 & wait; done',
  );
  await ready(signal);
  started.push(...(await identities(await childrenOf(identity.pid))));
  await stopProcess(identity, 50, systemClock);
  expect(await isRunning(identity)).toBe(false);
});

async function identities(pids: readonly number[]): Promise<ProcessIdentity[]> {
  const all = await Promise.all(pids.map(identifyProcess));
  return all.filter((i) => i !== undefined);
}

test('a pid that belongs to another process by now is not signalled', async () => {
  const { identity } = await start('exec sleep 60');
  const former = { ...identity, startTicks: identity.startTicks - 1 };
  expect([await isRunning(former), await signalProcess(former, 'SIGKILL')]).toEqual([false, false]);
  expect(await isRunning(identity)).toBe(true);
});

test('no process, no identity, no children', async () => {
  expect([await identifyProcess(2 ** 22), await childrenOf(2 ** 22)]).toEqual([undefined, []]);
});
