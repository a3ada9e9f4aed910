import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { shutdownGauges } from './shutdown-gauges.ts';
import { ShutdownManager } from './shutdown-manager.ts';
import { ShutdownRecord } from './shutdown-record.ts';

const GROUPS = [
  { priority: 0, seconds: 10 },
  { priority: 1000, seconds: 20 },
];
const pod = (name: string, priority: number): Pod => ({
  metadata: { name, uid: name },
  spec: { containers: [], priority, terminationGracePeriodSeconds: 15 },
});

let clock: FakeClock;
let told: string[];
let ending: Map<string, { graceSeconds: number; done: () => void }>;
let manager: ShutdownManager;
const ends = () => [...ending].map(([name, { graceSeconds }]) => `${name} ${graceSeconds}`);

beforeEach(() => {
  clock = new FakeClock();
  told = [];
  ending = new Map();
  manager = new ShutdownManager({
    groups: GROUPS,
    activePods: () => [pod('critical', 1000), pod('one', 0), pod('two', 5)],
    endPod: ({ metadata }, { graceSeconds }) => {
      const done = Promise.withResolvers<void>();
      ending.set(metadata?.name ?? '', { graceSeconds, done: done.resolve });
      return { stopped: done.promise, cleanedUp: done.promise };
    },
    record: { began: async () => void told.push('began'), ended: async () => void told.push('ended') },
    requestNodeStatus: () => told.push('status'),
    events: { event: (_about, type, reason, message) => told.push(`${type} ${reason} ${message}`) },
    node: { kind: 'Node', name: 'n' },
    clock,
    log: silentLog,
  });
});

test('groups end one after the other, each as soon as its pods have', async () => {
  const over = manager.shutDown(new AbortController().signal);
  expect(manager.error).toBe('node is shutting down');
  await clock.advance(0);
  expect(ends()).toEqual(['one 10', 'two 10']);
  ending.get('one')!.done();
  await clock.advance(5000);
  expect(ending.size).toBe(2);
  ending.get('two')!.done();
  await clock.advance(0);
  expect(ends().at(-1)).toBe('critical 15');
  ending.get('critical')!.done();
  await over;
  expect(clock.sleeping).toBe(0);
  expect(told).toEqual(['Normal Shutdown Shutdown manager detected shutdown event', 'status', 'began', 'ended']);
});

test('a pod that does not end costs its group its time, not more', async () => {
  const over = manager.shutDown(new AbortController().signal);
  await clock.advance(10_000);
  expect(ends().at(-1)).toBe('critical 15');
  await clock.advance(20_000);
  await over;
  expect(clock.sleeping).toBe(0);
});

test('a shutdown that is called off ends no further pods, and the node is as before', async () => {
  const stop = new AbortController();
  const over = manager.shutDown(stop.signal);
  await clock.advance(1000);
  stop.abort();
  manager.cancelled();
  await over;
  expect(ending.has('critical')).toBe(false);
  expect(manager.error).toBeUndefined();
  expect(told.filter((t) => t !== 'status')).toContain(
    'Normal Shutdown Shutdown manager detected shutdown cancellation',
  );
});

test('when it was is known after the node is up again', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-shutdown-'));
  const file = path.join(dir, 'graceful_node_shutdown_state');
  const metric = async (registry: Registry) =>
    [...(await registry.metrics()).matchAll(/^kubelet_graceful_shutdown_\w+ (\S+)/gm)].map((m) => Number(m[1]));
  const [during, after, strange] = [new Registry(), new Registry(), new Registry()];
  const record = new ShutdownRecord(dir, shutdownGauges(during));
  await record.load(); // there is none yet
  await record.began(Date.parse('2026-11-21T12:00:00Z'));
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({
    startTime: '2026-11-21T12:00:00.000Z',
    endTime: '0001-01-01T00:00:00Z',
  });
  expect(await metric(during)).toEqual([1_795_262_400, 0]);
  await record.ended(Date.parse('2026-11-21T12:00:30Z'));
  await new ShutdownRecord(dir, shutdownGauges(after)).load();
  expect(await metric(after)).toEqual([1_795_262_400, 1_795_262_430]);
  await writeFile(file, '{"startTime":');
  await new ShutdownRecord(dir, shutdownGauges(strange)).load();
  expect(await metric(strange)).toEqual([0, 0]);
  await rm(dir, { recursive: true });
});
