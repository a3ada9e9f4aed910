import { getEventListeners } from 'node:events';
import { beforeEach, expect, test } from 'vitest';
import type { Pod } from '../api/pod.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { FakeRuntimeManager } from './fake-runtime-manager.ts';
import { Housekeeping } from './housekeeping.ts';
import type { WorkerState } from './pod-worker-state.ts';
import type { RuntimePod } from './runtime/pod-runtime-status.ts';

let workers: Map<string, WorkerState>;
/** Pods that somebody asks for. */
let desired: Map<string, Pod>;
let started: Pod[];
let dirs: string[];
let cgroups: string[];
let steps: string[];
let cgroupError: Error | undefined;
let dirError: Error | undefined;
let whileRemoved: () => void;
/** What the last relist shows. */
let relisted: RuntimePod[];
let listed: Promise<void>;
let housekeeping: Housekeeping;
let clock: FakeClock;
let runtime: FakeRuntimeManager;

beforeEach(() => {
  workers = new Map();
  desired = new Map();
  started = [];
  dirs = [];
  cgroups = [];
  steps = [];
  cgroupError = undefined;
  dirError = undefined;
  whileRemoved = () => {};
  relisted = [];
  listed = Promise.resolve();
  clock = new FakeClock();
  runtime = new FakeRuntimeManager(clock);
  const step = (what: string) => void steps.push(what);
  housekeeping = new Housekeeping({
    pods: { get: (uid) => desired.get(uid) },
    sources: { allReady: true },
    workers: {
      uids: () => [...workers.keys()],
      state: (uid) => workers.get(uid),
      update: () => {},
      forget: (uid) => workers.delete(uid),
    },
    pleg: {
      get pods() {
        return relisted;
      },
      current: [],
      get listed() {
        return listed;
      },
    },
    cache: { markStale: () => {}, remove: () => {} },
    runtime,
    volumes: {
      listPodDirs: async () => dirs,
      removePodDir: async (uid) => {
        if (dirError !== undefined) throw dirError;
        whileRemoved();
        step(`directory ${uid}`);
      },
      forgetPod: () => {},
    },
    probes: { removePod: () => {} },
    statuses: { uids: () => [], forget: () => {} },
    startAnew: (pod) => void started.push(pod),
    cgroups: {
      listPodUids: async () => cgroups,
      removePodCgroup: async (uid) => {
        if (cgroupError !== undefined) throw cgroupError;
        step(`cgroup ${uid}`);
      },
    },
    clock,
    log: silentLog,
  });
});

function stateOf(uid: string, phase: 'sync' | 'finished'): WorkerState {
  return {
    phase,
    identity: { uid, name: 'web', namespace: 'default' },
    pod: undefined,
    deleted: phase === 'finished',
    evicted: false,
    graceSeconds: 1,
    restartRequested: false,
    statusOverride: undefined,
  };
}

test('a pod deleted while the agent was down leaves no cgroup behind', async () => {
  workers.set('u1', stateOf('u1', 'finished'));
  await housekeeping.clean(new AbortController().signal);
  expect(steps).toEqual(['cgroup u1', 'directory u1']);
});

test('a static pod that is put back while what it left is being removed starts anew', async () => {
  const pod: Pod = { metadata: { name: 'web', namespace: 'default', uid: 'u1' } };
  workers.set('u1', stateOf('u1', 'finished'));
  whileRemoved = () => void desired.set('u1', pod);
  await housekeeping.clean(new AbortController().signal);
  expect(steps).toEqual(['cgroup u1', 'directory u1']);
  expect(workers.has('u1')).toBe(false);
  expect(started).toEqual([pod]);
});

test('volumes that could not be taken back go with the next pass, though the last relist still shows the pod', async () => {
  const identity = { uid: 'u1', name: 'web', namespace: 'default' };
  relisted = [{ ...identity, sandboxes: [{ id: 's', ready: true, createdAtMs: 0 }], containers: [] }];
  dirs = ['u1'];
  workers.set('u1', stateOf('u1', 'finished'));
  dirError = new Error('the driver is away');
  await housekeeping.clean(new AbortController().signal);
  dirError = undefined;
  steps.length = 0;
  await housekeeping.clean(new AbortController().signal);
  expect(steps).toEqual(['cgroup u1', 'directory u1']);
});

test('a container that somebody else is removing does not keep the directory, though the last relist still shows the pod', async () => {
  const identity = { uid: 'u1', name: 'web', namespace: 'default' };
  relisted = [{ ...identity, sandboxes: [{ id: 's', ready: true, createdAtMs: 0 }], containers: [] }];
  dirs = ['u1'];
  workers.set('u1', stateOf('u1', 'finished'));
  runtime.failNext('removePod', new Error('container is already in removing state'));
  await housekeeping.clean(new AbortController().signal);
  expect(steps).toEqual(['cgroup u1', 'directory u1']);
});

test('a pod that still runs keeps its directory', async () => {
  const sandboxes = [{ id: 's', ready: true, createdAtMs: 0 }];
  relisted = [{ uid: 'u1', name: 'web', namespace: 'default', sandboxes, containers: [] }];
  dirs = ['u1'];
  await housekeeping.clean(new AbortController().signal);
  expect(steps).toEqual([]);
});

test('a directory stays until the cgroup of its pod is gone, so that a later pass finds both', async () => {
  dirs = ['u1'];
  cgroupError = new Error('busy');
  await housekeeping.clean(new AbortController().signal);
  expect(steps).toEqual([]);
  cgroupError = undefined;
  await housekeeping.clean(new AbortController().signal);
  expect(steps).toEqual(['cgroup u1', 'directory u1']);
});

test('a cgroup that the runtime made for a pod that was gone by then is removed', async () => {
  cgroups = ['u1', 'u2'];
  workers.set('u2', stateOf('u2', 'sync'));
  await housekeeping.clean(new AbortController().signal);
  expect(steps).toEqual(['cgroup u1', 'directory u1']);
});

test('dead containers of an earlier agent go seconds after the start, later ones every minute', async () => {
  const stop = new AbortController();
  const ended = housekeeping.run(stop.signal);
  await clock.advance(4_999);
  expect(runtime.countCalls('collectGarbage')).toBe(0);
  await clock.advance(1);
  expect(runtime.countCalls('collectGarbage')).toBe(1);
  await clock.advance(59_999);
  expect(runtime.countCalls('collectGarbage')).toBe(1);
  await clock.advance(1);
  expect(runtime.countCalls('collectGarbage')).toBe(2);
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});

test('a full disk takes the containers of every pod that is over; else those of deleted and evicted ones go', async () => {
  const add = (uid: string, more: Partial<WorkerState>) =>
    workers.set(uid, { ...stateOf(uid, 'finished'), deleted: false, ...more });
  add('runs', { phase: 'sync' });
  add('over', {});
  add('deleted', { deleted: true });
  add('evicted', { phase: 'terminating', evicted: true });
  const removed = () => [...workers.keys()].filter((uid) => runtime.mayRemoveAll?.(uid));
  await housekeeping.removeDeadContainers(new AbortController().signal);
  expect(removed()).toEqual(['over', 'deleted', 'evicted']);
  const stop = new AbortController();
  const running = housekeeping.run(stop.signal);
  await clock.advance(5_000);
  expect(removed()).toEqual(['evicted']); // the deleted one is forgotten by then, and with it all that it left
  stop.abort();
  await running;
});

test('passes leave nothing on the signal that ends the agent', async () => {
  const { signal } = new AbortController();
  for (let i = 0; i < 3; i++) await housekeeping.clean(signal);
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('a pass that waits for a runtime that does not answer ends with the agent', async () => {
  listed = new Promise(() => {});
  dirs = ['u1'];
  const stop = new AbortController();
  const pass = housekeeping.clean(stop.signal);
  stop.abort();
  await pass;
  expect(steps).toEqual([]);
});
