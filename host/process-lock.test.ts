import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { identifyProcess, type ProcessIdentity } from './process.ts';
import { holdLock, lockFor, lockForThisProcess } from './process-lock.ts';

let dir: string;
let file: string;
let others: ReturnType<typeof spawn>[];

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-lock-'));
  file = path.join(dir, 'lock');
  others = [];
});
afterEach(async () => {
  for (const other of others) other.kill('SIGKILL');
  await rm(dir, { recursive: true });
});

async function startOther(): Promise<ProcessIdentity> {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  others.push(child);
  await once(child, 'spawn');
  return (await identifyProcess(child.pid!))!;
}

const lock = (self?: ProcessIdentity, waitMs = 0) =>
  self === undefined ? lockForThisProcess(file, { waitMs }, systemClock) : lockFor(self, file, { waitMs }, systemClock);

test('the first has it, may ask again, and whoever comes then is told who that is', async () => {
  const other = await startOther();
  expect(await lock(other)).toBeUndefined();
  expect(await lock(other)).toBeUndefined();
  expect(await lock()).toEqual(other);
  expect(await readdir(dir)).toEqual(['lock']);
});

test('it is free when its holder was killed, and at once for who waits for that', async () => {
  const other = await startOther();
  expect(await lock(other)).toBeUndefined();
  const waiting = lock(undefined, 600_000);
  others[0]!.kill('SIGKILL');
  expect(await waiting).toBeUndefined();
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(await identifyProcess(process.pid));
});

const DEAD = { pid: 2 ** 22, startTicks: 1 };

test.each([
  ['was given the pid of the holder', JSON.stringify({ pid: process.pid, startTicks: 1 })],
  ['found it empty after a crash', ''],
  ['found it cut off', '{"pid":'],
])('a process that %s takes it', async (_what, content) => {
  await writeFile(file, content);
  expect(await lock()).toBeUndefined();
  expect(await readdir(dir)).toEqual(['lock']);
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(await identifyProcess(process.pid));
});

test('one whose taker was killed in the middle is taken all the same', async () => {
  await writeFile(file, JSON.stringify(DEAD));
  await writeFile(`${file}.${DEAD.pid}-${DEAD.startTicks}`, JSON.stringify({ ...DEAD, startTicks: 2 }));
  await writeFile(`${file}.${DEAD.pid}-${DEAD.startTicks}.${DEAD.pid}-2`, '');
  expect(await lock()).toBeUndefined();
  expect(await readdir(dir)).toEqual(['lock']);
});

test('whoever has it clears away what those left who were killed on their way to it, and nothing else', async () => {
  const other = await startOther();
  const dead = JSON.stringify(DEAD);
  for (const name of ['lock.new-7', 'lock.7-1', 'another.new-7']) await writeFile(path.join(dir, name), dead);
  await writeFile(path.join(dir, `lock.new-${other.pid}`), JSON.stringify(other));
  await writeFile(path.join(dir, 'lock.new-8'), ''); // about to be written
  expect(await lock()).toBeUndefined();
  expect((await readdir(dir)).sort()).toEqual(['another.new-7', 'lock', 'lock.new-8', `lock.new-${other.pid}`].sort());
});

test('of many that find it abandoned one gets it, however their steps fall', async () => {
  const all = await Promise.all(Array.from({ length: 8 }, startOther));
  for (let i = 0; i < 25; i++) {
    await writeFile(file, JSON.stringify(DEAD));
    const answers = await Promise.all(all.map((self) => lock(self)));
    expect(answers.filter((holder) => holder === undefined)).toHaveLength(1);
    expect(await readdir(dir)).toEqual(['lock']);
  }
});

test('within one process one after the other has it, and who has it until the end does not give way', async () => {
  const stop = new AbortController();
  let inside = 0;
  const work = async () => {
    await using _lock = await holdLock(file, systemClock, stop.signal);
    inside += 1;
    expect(inside).toBe(1);
    await readdir(dir);
    inside -= 1;
  };
  await Promise.all([work(), work(), work()]);
  expect(await readdir(dir)).toEqual([]);
  expect(await lock()).toBeUndefined();
  const waiting = holdLock(file, systemClock, stop.signal);
  stop.abort(new Error('interrupted'));
  await expect(waiting).rejects.toThrow('interrupted');
  expect(await readdir(dir)).toEqual(['lock']);
});
