import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { Allocations } from './allocations.ts';
import type { PodAllocation } from './pod-allocation.ts';
import { parseCheckpoint, ResourceCheckpoint, renderCheckpoint } from './resource-checkpoint.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'allocations-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const log = silentLog;
const giving = (cpu: string): PodAllocation => ({ containers: new Map([['main', { requests: { cpu } }]]) });

/** A file of a kubelet, with the checksum that it computed. */
const UPSTREAM =
  '{"data":"{\\"entries\\":{\\"pod1\\":{\\"ContainerResources\\":{\\"container1\\":{\\"requests\\":{\\"cpu\\":\\"1Ki\\",' +
  '\\"memory\\":\\"1Ki\\"}}}}}}","checksum":1178570812}';

test('files of a kubelet are read, and written as it writes them', () => {
  const entries = parseCheckpoint(UPSTREAM);
  expect(entries.get('pod1')?.containers.get('container1')).toEqual({ requests: { cpu: '1Ki', memory: '1Ki' } });
  expect(renderCheckpoint(entries)).toBe(UPSTREAM);
});

test('resources of the pod as a whole are kept', () => {
  const entries = new Map([['u', { containers: new Map(), pod: { limits: { cpu: '1' } } }]]);
  expect(parseCheckpoint(renderCheckpoint(entries))).toEqual(entries);
});

test.each([
  ['cut short', UPSTREAM.slice(0, 40)],
  ['empty', ''],
  ['another checksum', UPSTREAM.replace('1178570812', '1178570813')],
  ['no data', '{"checksum":1}'],
  ['no object', '7'],
])('a file that is no checkpoint (%s) counts as empty, and the next write mends it', async (_, text) => {
  const file = path.join(dir, 'state');
  await writeFile(file, text);
  const checkpoint = new ResourceCheckpoint(file, { log });
  expect(checkpoint.uids()).toEqual([]);
  checkpoint.set('u', giving('1'));
  await checkpoint.save();
  expect(new ResourceCheckpoint(file, { log }).get('u')).toEqual(giving('1'));
});

test('what was saved is there for the next agent, and for nobody else to read', async () => {
  const file = path.join(dir, 'state');
  const checkpoint = new ResourceCheckpoint(file, { log });
  checkpoint.set('b', giving('1'));
  checkpoint.set('a', giving('2'));
  await checkpoint.save();
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const next = new ResourceCheckpoint(file, { log });
  expect(next.uids()).toEqual(['a', 'b']);
  expect(next.get('a')).toEqual(giving('2'));
});

test('what is the same is not written again', async () => {
  const file = path.join(dir, 'state');
  const checkpoint = new ResourceCheckpoint(file, { log });
  checkpoint.set('u', giving('1'));
  await checkpoint.save();
  await rm(file);
  checkpoint.set('u', giving('1'));
  await checkpoint.save();
  expect(await readdir(dir)).toEqual([]);
});

test('a write that fails is made up for by the next', async () => {
  const checkpoint = new ResourceCheckpoint(path.join(dir, 'missing', 'state'), { log });
  checkpoint.set('u', giving('1'));
  await expect(checkpoint.save()).rejects.toThrow(/ENOENT/);
  await expect(checkpoint.save()).rejects.toThrow(/ENOENT/);
});

test('what is set while a write is under way is on disk when the save ends', async () => {
  const file = path.join(dir, 'state');
  const checkpoint = new ResourceCheckpoint(file, { log });
  checkpoint.set('u', giving('1'));
  const first = checkpoint.save();
  checkpoint.set('u', giving('2'));
  await checkpoint.save();
  expect(new ResourceCheckpoint(file, { log }).get('u')).toEqual(giving('2'));
  await first;
});

test('many pods that start at once make one write, the last word is written at the end', async () => {
  const clock = new FakeClock(0);
  const allocations = new Allocations(dir, { clock, log });
  const stop = new AbortController();
  const ended = allocations.run(stop.signal);
  await clock.advance(1000);
  for (const uid of ['a', 'b', 'c']) {
    allocations.allocate({
      metadata: { uid },
      spec: { containers: [{ name: 'main', resources: { limits: { cpu: '1' } } }] },
    });
  }
  await clock.advance(100);
  expect(await readdir(dir)).toEqual([]);
  stop.abort();
  await ended;
  expect(await readdir(dir)).toEqual(['allocated_pods_state']);
  const { data } = JSON.parse(await readFile(path.join(dir, 'allocated_pods_state'), 'utf8')) as { data: string };
  expect(Object.keys((JSON.parse(data) as { entries: object }).entries)).toEqual(['a', 'b', 'c']);
  expect(clock.sleeping).toBe(0);
});
