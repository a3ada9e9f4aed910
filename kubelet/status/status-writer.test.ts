import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Pod, PodStatus } from '../../api/pod.ts';
import { pods } from '../../api/resources.ts';
import { FakeApi, failure } from '../../client/fake-client.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { Rush } from '../../core/rush.ts';
import { StatusWriter } from './status-writer.ts';

const name = { namespace: 'shop', name: 'web' };
const pending: PodStatus = { phase: 'Pending', startTime: '2026-01-01T00:00:00Z' };
const ready: PodStatus = { ...pending, phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] };

let clock: FakeClock;
let api: FakeApi;
let rush: Rush;
let writer: StatusWriter;
let pod: Pod;
let mayBeRunning: boolean;
let isEnding: boolean;
let waitedSeconds: number[];
let stop: AbortController;
let ended: Promise<void>;

beforeEach(async () => {
  clock = new FakeClock(Date.UTC(2026, 0, 1));
  api = new FakeApi({ now: () => clock.now() });
  rush = new Rush(0, clock);
  pod = await api.create(pods, name, { metadata: { ...name, uid: 'u1' }, spec: { containers: [] } } as Pod);
  mayBeRunning = true;
  isEnding = false;
  waitedSeconds = [];
  writer = new StatusWriter({
    client: api,
    getPod: () => pod,
    mayBeRunning: () => mayBeRunning,
    isTerminationRequested: () => isEnding,
    rush,
    observer: { statusWritten: (seconds) => void waitedSeconds.push(seconds) },
    clock,
    log: silentLog,
  });
  stop = new AbortController();
  ended = writer.run(stop.signal);
});

afterEach(async () => {
  stop.abort();
  await clock.advance(0);
  await ended;
  expect(clock.sleeping).toBe(0);
});

const written = () => (api.all(pods)[0] as Pod).status?.phase;
const patches = () => api.requests.filter((r) => r.verb === 'patch');

/** Urgent work that goes on until it is ended. */
function startWork(): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  void rush.during(() => promise);
  return resolve;
}

test('changes on the way are folded, readiness is written at once', async () => {
  writer.set(pod, pending);
  await clock.advance(499);
  expect(written()).toBeUndefined();
  writer.set(pod, ready);
  await clock.advance(0);
  expect(written()).toBe('Running');
  await clock.advance(60_000);
  expect(patches()).toHaveLength(1);
});

test('an end is written at once, but not while something runs or the pod is being stopped', async () => {
  const over: PodStatus = { ...pending, phase: 'Succeeded' };
  writer.set(pod, over);
  await clock.advance(0);
  expect(patches()).toEqual([]);
  mayBeRunning = false;
  isEnding = true;
  writer.set(pod, { ...over, reason: 'A' });
  await clock.advance(0);
  expect(patches()).toEqual([]);
  isEnding = false;
  writer.set(pod, { ...over, reason: 'B' });
  await clock.advance(0);
  expect(written()).toBe('Succeeded');
});

test('how long a change waited is told once, in seconds, and every status to who listens', async () => {
  const heard: (string | undefined)[] = [];
  using _listening = writer.onStored((uid, { phase }) => heard.push(`${uid} ${phase}`));
  writer.set(pod, pending);
  await clock.advance(500);
  pod = api.all(pods)[0] as Pod;
  writer.podChanged(pod);
  await clock.advance(60_000);
  expect(waitedSeconds).toEqual([0.5]);
  expect(heard).toEqual(['u1 Pending']);
});

test('a probe makes a container ready, of a pod whose status is known', async () => {
  const c = { name: 'c', image: 'i', imageID: '', restartCount: 0, containerID: 'containerd://1' };
  pod = { ...pod, spec: { containers: [{ name: 'c' }] } };
  writer.setContainerField(pod, c.containerID, 'ready', true);
  expect(writer.get('u1')).toBeUndefined();
  const conditions = [{ type: 'Ready', status: 'False' }];
  writer.set(pod, { ...ready, conditions, containerStatuses: [{ ...c, ready: false, started: true }] });
  writer.setContainerField(pod, c.containerID, 'ready', true);
  await clock.advance(0);
  expect((api.all(pods)[0] as Pod).status?.containerStatuses?.[0]?.ready).toBe(true);
});

test('a write says what changed since the one before, also when the informer has not seen that yet', async () => {
  writer.set(pod, pending);
  await clock.advance(500);
  writer.set(pod, ready);
  await clock.advance(0);
  const said = patches().map((r) => Object.keys((r.body as Pod).status ?? {}).filter((key) => !key.startsWith('$')));
  expect(said).toEqual([expect.arrayContaining(['phase', 'startTime']), expect.not.arrayContaining(['startTime'])]);
});

test('the object of a pod that is over is deleted when that is asked for, and no other that has its name', async () => {
  writer.set(pod, ready);
  await clock.advance(0);
  pod = api.all(pods)[0] as Pod;
  mayBeRunning = false;
  writer.finish(pod);
  await clock.advance(1_000);
  expect(api.requests.filter((r) => r.verb === 'delete')).toEqual([]);
  pod = { ...(api.all(pods)[0] as Pod), metadata: { ...pod.metadata, deletionTimestamp: '2026-01-01T00:00:01Z' } };
  writer.podChanged(pod);
  await clock.advance(0);
  const deletes = api.requests.filter((r) => r.verb === 'delete');
  expect(deletes).toMatchObject([{ body: { gracePeriodSeconds: 0, preconditions: { uid: 'u1' } } }]);
  expect(writer.uids()).toEqual([]);
});

test('in a rush changes on the way wait until it is over, readiness does not', async () => {
  const endWork = startWork();
  writer.set(pod, pending);
  await clock.advance(2_000);
  expect(written()).toBeUndefined();
  endWork();
  await clock.advance(200);
  expect(written()).toBe('Pending');
  const endMore = startWork();
  writer.set(pod, ready);
  await clock.advance(0);
  expect(written()).toBe('Running');
  endMore();
});

test('a rush that does not end keeps no status back for more than three seconds', async () => {
  const endWork = startWork();
  writer.set(pod, pending);
  await clock.advance(2_999);
  expect(written()).toBeUndefined();
  await clock.advance(1);
  expect(written()).toBe('Pending');
  endWork();
});

test('a write that fails is made again, later each time', async () => {
  for (let i = 0; i < 3; i++) api.failNext('patch', failure(500, 'etcd is down'));
  writer.set(pod, ready);
  await clock.advance(500 + 1_000 + 2_000);
  expect(written()).toBe('Running');
  expect(patches()).toHaveLength(4);
});

test('a pod that the server does not know is written again as long as the informer has it', async () => {
  api.failNext('patch', failure(404, '404 page not found')); // of a server that starts
  writer.set(pod, ready);
  await clock.advance(9_999);
  expect(written()).not.toBe('Running');
  await clock.advance(1);
  expect(written()).toBe('Running');
});

test('the status of a pod whose name has passed to another is never written to that one', async () => {
  await api.delete(pods, name, { gracePeriodSeconds: 0 });
  await api.create(pods, name, { metadata: { ...name, uid: 'u2' }, spec: { containers: [] } } as Pod);
  writer.set(pod, ready);
  await clock.advance(60_000);
  expect(written()).toBeUndefined();
});

test.each([0, 60_000])(
  'a server that came back with an older store %d ms after a write is told the status again',
  async (ms) => {
    writer.set(pod, ready);
    await clock.advance(ms);
    expect(written()).toBe('Running');
    // What is stored now is what was before the write, under a version that was passed.
    await api.patch(pods, name, { type: 'merge', body: { status: { phase: 'Pending' } } }, { subresource: 'status' });
    pod = { ...pod, metadata: { ...pod.metadata, resourceVersion: '0' }, status: pending };
    writer.podChanged(pod);
    await clock.advance(20_000);
    expect(written()).toBe('Running');
  },
);

test('a field of ours that somebody else changed is put right within ten seconds, theirs stays', async () => {
  writer.set(pod, ready);
  await clock.advance(0);
  const conditions = [{ type: 'example.com/x', status: 'True' }];
  pod = await api.patch(
    pods,
    name,
    { type: 'merge', body: { status: { phase: 'Unknown', conditions } } },
    { subresource: 'status' },
  );
  writer.podChanged(pod);
  await clock.advance(10_000);
  const { status } = api.all(pods)[0] as Pod;
  expect(status?.phase).toBe('Running');
  expect(status?.conditions?.map((c) => c.type).sort()).toEqual(['Ready', 'example.com/x']);
});

test('an equal status is not written again', async () => {
  writer.set(pod, ready);
  await clock.advance(0);
  pod = api.all(pods)[0] as Pod;
  writer.podChanged(pod);
  writer.set(pod, { ...ready });
  await clock.advance(60_000);
  expect(patches()).toHaveLength(1);
});

test('a static pod is written to its mirror once there is one, and again when that was made anew', async () => {
  const fixed: Pod = {
    ...pod,
    metadata: { ...name, uid: 'static', annotations: { 'kubernetes.io/config.source': 'file' } },
  };
  const mirror = pod;
  pod = undefined as never; // nothing in the API yet
  writer.set(fixed, ready);
  await clock.advance(1_000);
  expect(written()).toBeUndefined();
  pod = mirror;
  writer.podChanged(pod, 'static');
  await clock.advance(10_000);
  expect(written()).toBe('Running');
  await api.delete(pods, name, { gracePeriodSeconds: 0 });
  pod = await api.create(pods, name, { metadata: { ...name, uid: 'mirror-2' }, spec: { containers: [] } } as Pod);
  writer.podChanged(pod, 'static');
  await clock.advance(200);
  expect(written()).toBe('Running');
});
