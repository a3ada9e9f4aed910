import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createCa } from '../../api/pki.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { ClientCaFile } from './client-ca-file.ts';

const validity = { nowMs: Date.now(), lifetimeMs: 3_600_000 };
const MINUTE_MS = 60_000;
let dir: string;
let file: string;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-client-ca-'));
  file = path.join(dir, 'ca.crt');
});
afterEach(() => rm(dir, { recursive: true }));

test('another bundle is used, what is none is not', async () => {
  const [first, second] = [createCa('first', validity).cert, createCa('second', validity).cert];
  await writeFile(file, first);
  const clock = new FakeClock();
  const used: string[] = [];
  const stop = new AbortController();
  const ended = new ClientCaFile(file, first, { clock, log: silentLog }).run((pem) => used.push(pem), stop.signal);
  await writeFile(file, 'half of a certif');
  for (let i = 0; i < 5; i++) await clock.advance(MINUTE_MS);
  expect(used).toEqual([]);
  await writeFile(`${file}.new`, second);
  await rename(`${file}.new`, file);
  await clock.until(() => used.length > 0, MINUTE_MS);
  expect(used).toEqual([second]);
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});

test('a directory that cannot be watched ends nothing: the bundle is looked at from time to time', async () => {
  const [first, second] = [createCa('first', validity).cert, createCa('second', validity).cert];
  const late = path.join(dir, 'late', 'ca.crt');
  const clock = new FakeClock();
  const used: string[] = [];
  const stop = new AbortController();
  const ended = new ClientCaFile(late, first, { clock, log: silentLog }).run((pem) => used.push(pem), stop.signal);
  await mkdir(path.dirname(late));
  await writeFile(late, second);
  await clock.until(() => used.length > 0, MINUTE_MS);
  expect(used).toEqual([second]);
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});
