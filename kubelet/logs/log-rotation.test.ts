import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { createLogger } from '../../core/log.ts';
import { CriError } from '../../cri/errors.ts';
import { LogRotation } from './log-rotation.ts';
import { planRotation, rotateLog, rotationStamp } from './rotate-log.ts';

describe('the plan', () => {
  test.each([
    ['nothing rotated yet', [], 5, { leftovers: [], surplus: [], toCompress: [] }],
    ['the newest is compressed when the next comes', ['0.log.1'], 5, { toCompress: ['0.log.1'] }],
    ['what is compressed stays', ['0.log.1.gz', '0.log.2'], 5, { surplus: [], toCompress: ['0.log.2'] }],
    [
      'the oldest go, whether compressed or not',
      ['0.log.4', '0.log.1.gz', '0.log.3.gz', '0.log.2'],
      5,
      { surplus: ['0.log.1.gz'], toCompress: ['0.log.2', '0.log.4'] },
    ],
    [
      'second of a second is the younger',
      ['0.log.1.gz', '0.log.1-1'],
      3,
      { surplus: ['0.log.1.gz'], toCompress: ['0.log.1-1'] },
    ],
    ['two files in all: none but the one to come', ['0.log.1'], 2, { surplus: ['0.log.1'], toCompress: [] }],
    [
      'leftovers of an interrupted compression',
      ['0.log.1', '0.log.1.gz', '0.log.2', '0.log.2.tmp'],
      5,
      { leftovers: ['0.log.1', '0.log.2.tmp'], surplus: [], toCompress: ['0.log.2'] },
    ],
  ])('%s', (_, names, maxFiles, expected) => {
    expect(planRotation(names, maxFiles)).toMatchObject(expected);
  });

  test('rotated files are named by local time', () => {
    expect(rotationStamp(new Date(2026, 0, 2, 3, 4, 5).getTime())).toBe('20260102-030405');
  });
});

let dir: string;
let log: string;
const never = new AbortController().signal;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-rotate-'));
  log = path.join(dir, '0.log');
});
afterEach(() => rm(dir, { recursive: true }));
const names = async () => (await readdir(dir)).sort();

describe('one log', () => {
  const at = (second: number) => ({ maxFiles: 3, nowMs: new Date(2026, 0, 1, 0, 0, second).getTime() });
  const reopen = () => writeFile(log, '');

  test('is renamed, opened anew, compressed at the next rotation and removed in the end', async () => {
    for (let n = 1; n <= 3; n++) {
      await writeFile(log, `text ${n}`, { mode: 0o640 });
      await rotateLog(log, at(n), reopen, never);
      if (n === 1) expect(await names()).toEqual(['0.log', '0.log.20260101-000001']);
    }
    expect(await names()).toEqual(['0.log', '0.log.20260101-000002.gz', '0.log.20260101-000003']);
    const packed = path.join(dir, '0.log.20260101-000002.gz');
    expect(gunzipSync(await readFile(packed)).toString()).toBe('text 2');
    expect(await readFile(path.join(dir, '0.log.20260101-000003'), 'utf8')).toBe('text 3');
  });

  test('keeps its mode when compressed', async () => {
    await writeFile(`${log}.20260101-000001`, 'old', { mode: 0o600 });
    await writeFile(log, 'new');
    await rotateLog(log, at(2), reopen, never);
    expect((await stat(`${log}.20260101-000001.gz`)).mode & 0o777).toBe(0o600);
  });

  test('gets its name back when the runtime does not open a new one', async () => {
    await writeFile(log, 'text');
    const failing = () => Promise.reject(new Error('runtime is away'));
    await expect(rotateLog(log, at(1), failing, never)).rejects.toThrow('runtime is away');
    expect(await names()).toEqual(['0.log']);
    expect(await readFile(log, 'utf8')).toBe('text');
  });

  test('is not put over the new one when only the answer of the runtime was lost', async () => {
    await writeFile(log, 'old');
    const lost = () => writeFile(log, 'new').then(() => Promise.reject(new Error('connection lost')));
    await expect(rotateLog(log, at(1), lost, never)).rejects.toThrow('connection lost');
    expect(await names()).toEqual(['0.log', '0.log.20260101-000001']);
    expect(await readFile(log, 'utf8')).toBe('new');
  });

  test('leftovers of a killed rotation are cleared away', async () => {
    await writeFile(log, 'live');
    await writeFile(`${log}.20260101-000001`, 'a');
    await writeFile(`${log}.20260101-000001.gz`, 'packed');
    await writeFile(`${log}.20260101-000002.tmp`, 'half');
    await rotateLog(log, at(3), reopen, never);
    expect(await names()).toEqual(['0.log', '0.log.20260101-000001.gz', '0.log.20260101-000003']);
  });

  test('links, FIFOs and directories among the rotated files lead nowhere and hold nothing up', async () => {
    const secret = path.join(dir, 'secret');
    await writeFile(secret, 'of the node');
    await writeFile(log, 'live');
    await symlink(secret, `${log}.20260101-000001`);
    execFileSync('mkfifo', [`${log}.20260101-000002`]);
    await mkdir(`${log}.20260101-000003`);
    await mkdir(`${log}.20260101-000004.tmp`);
    await rotateLog(log, { ...at(9), maxFiles: 9 }, reopen, never);
    expect(await names()).toEqual(['0.log', '0.log.20260101-000009', 'secret']);
    expect(await readFile(secret, 'utf8')).toBe('of the node');
  });

  test('two rotations within a second lose nothing', async () => {
    for (const text of ['one', 'two']) {
      await writeFile(log, text);
      await rotateLog(log, { ...at(1), maxFiles: 5 }, reopen, never);
    }
    const [, first, second] = await names();
    expect(gunzipSync(await readFile(path.join(dir, first!.endsWith('.gz') ? first! : second!))).toString()).toBe(
      'one',
    );
    expect(await names()).toHaveLength(3);
  });
});

describe('all logs', () => {
  const start = (opts: { maxSizeBytes?: number; workers?: number; failure?: Error } = {}) => {
    const lines: string[] = [];
    const reopened: string[] = [];
    const clock = new FakeClock();
    const rotation = new LogRotation(
      { maxSizeBytes: opts.maxSizeBytes ?? 4, maxFiles: 5, workers: opts.workers ?? 1, intervalMs: 10_000 },
      {
        runningLogs: () => ['a', 'b', 'c'].map((id) => ({ containerId: id, logPath: path.join(dir, id) })),
        runtime: {
          reopenContainerLog: async (id) => {
            reopened.push(id);
            if (opts.failure !== undefined) throw opts.failure;
            await writeFile(path.join(dir, id), '');
          },
        },
        clock,
        log: createLogger({ level: 'warn', destination: { write: (line) => void lines.push(line) } }),
      },
    );
    return { rotation, reopened, clock, lines };
  };

  test.each([1, 2, 5])('only those that are large enough are rotated, with %i workers', async (workers) => {
    await writeFile(path.join(dir, 'a'), '12345');
    await writeFile(path.join(dir, 'b'), '123');
    await writeFile(path.join(dir, 'c'), '1234');
    const { rotation, reopened } = start({ workers });
    await rotation.rotateAll(never);
    expect(reopened.sort()).toEqual(['a', 'c']);
  });

  test('a log that is gone is opened anew', async () => {
    const { rotation, reopened } = start();
    await rotation.rotateAll(never);
    expect(reopened).toEqual(['a', 'b', 'c']);
    expect(await names()).toEqual(['a', 'b', 'c']);
  });

  test('a container that was removed meanwhile is not warned of, a runtime that fails is', async () => {
    const gone = start({ failure: new CriError('ReopenContainerLog', 'NOT_FOUND', 'no such container') });
    await gone.rotation.rotateAll(never);
    expect([gone.reopened.length, gone.lines]).toEqual([3, []]);
    const away = start({ failure: new CriError('ReopenContainerLog', 'UNAVAILABLE', 'connection lost') });
    await away.rotation.rotateAll(never);
    expect(away.lines).toHaveLength(3);
  });

  test('looks once per interval and ends with its signal', async () => {
    await writeFile(path.join(dir, 'a'), '1234');
    const stop = new AbortController();
    const { rotation, clock } = start({ maxSizeBytes: -1 });
    const ended = rotation.run(stop.signal);
    await clock.advance(60_000);
    stop.abort();
    await ended;
    expect(await names()).toEqual(['a']); // switched off
    expect(clock.sleeping).toBe(0);
  });
});
