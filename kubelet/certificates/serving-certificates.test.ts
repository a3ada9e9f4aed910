import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createSelfSignedServingCert, type KeyPair, YEAR_MS } from '../../api/pki.ts';
import { systemClock } from '../../core/clock.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { ServingCertificateFiles } from './serving-certificates.ts';

const pairOf = (name: string): KeyPair =>
  createSelfSignedServingCert(name, {}, { nowMs: Date.now(), lifetimeMs: YEAR_MS });

let dir: string;
let stop: AbortController;
let used: KeyPair[];
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-serving-files-'));
  stop = new AbortController();
  used = [];
});
afterEach(() => rm(dir, { recursive: true }));

async function put(name: string, text: string): Promise<void> {
  await writeFile(path.join(dir, `.${name}`), text);
  await rename(path.join(dir, `.${name}`), path.join(dir, name));
}

async function start(
  first: KeyPair,
  clock = systemClock,
): Promise<{ source: ServingCertificateFiles; ended: Promise<void> }> {
  await put('tls.crt', first.cert);
  await put('tls.key', first.key);
  const files = { certFile: path.join(dir, 'tls.crt'), keyFile: path.join(dir, 'tls.key') };
  const source = new ServingCertificateFiles(files, first, { clock, log: silentLog });
  return { source, ended: source.run((pair) => used.push(pair), stop.signal) };
}

test('files that change are used, pairs that do not fit are not', async () => {
  const [first, second, third] = [pairOf('first'), pairOf('second'), pairOf('third')];
  const { source, ended } = await start(first);
  await put('tls.crt', second.cert); // with the key of the first: in the middle of a change
  expect(source.current()).toEqual(first);
  await put('tls.key', second.key);
  await vi.waitFor(() => expect(used).toEqual([second]), 60_000);
  await put('tls.crt', 'nonsense');
  await put('tls.crt', third.cert);
  await put('tls.key', third.key);
  await vi.waitFor(() => expect(used.at(-1)).toEqual(third), 60_000);
  expect(source.current()).toEqual(third);
  stop.abort();
  await ended;
});

test('a change that nobody tells of is seen within a minute', async () => {
  const clock = new FakeClock();
  const [first, second] = [pairOf('first'), pairOf('second')];
  const { source, ended } = await start(first, clock);
  await writeFile(path.join(dir, 'tls.crt'), second.cert);
  await writeFile(path.join(dir, 'tls.key'), second.key);
  await clock.until(() => used.length > 0, 61_000);
  expect(source.current()).toEqual(second);
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});
