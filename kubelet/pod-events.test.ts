// The steps of a pod's life: the Events that they tell of, word for word, and what is done about a pod that is lost.
import { beforeEach, expect, test } from 'vitest';
import type { Pod, PodStatus } from '../api/pod.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { FakeEvents, FakeProbes, FakeVolumes } from './fake-managers.ts';
import { KubeletPodLifecycle, type PodLifecycleDeps } from './pod-lifecycle.ts';
import { ReasonCache } from './reason-cache.ts';
import { Allocations } from './resize/allocations.ts';
import { ResizeConditions } from './resize/resize-conditions.ts';
import { fakeContainer, fakeStatus } from './runtime/fake-pod-status.ts';

const signal = new AbortController().signal;
const fails = (message: string) => async (): Promise<never> => {
  throw new Error(message);
};

let pod: Pod;
let clock: FakeClock;
let events: FakeEvents;

beforeEach(() => {
  clock = new FakeClock(Date.UTC(2026, 0, 1));
  events = new FakeEvents();
  pod = {
    metadata: { name: 'p', namespace: 'ns', uid: 'u' },
    spec: { containers: [{ name: 'main', image: 'i' }] },
    status: { phase: 'Pending' },
  };
});

function lifecycle(more: Partial<Record<keyof PodLifecycleDeps, unknown>> = {}): KubeletPodLifecycle {
  const statuses = new Map<string, PodStatus>();
  return new KubeletPodLifecycle({
    runtime: {
      syncPod: async () => ({ changed: false, onlyAdded: false, started: [], failures: [] }),
      killPod: async () => {},
    },
    cache: { fresh: async () => fakeStatus([], []), markStale: () => {} },
    volumes: new FakeVolumes(),
    probes: new FakeProbes(),
    statuses: {
      get: (uid: string) => statuses.get(uid),
      set: (p: Pod, status: PodStatus) => void statuses.set(p.metadata?.uid ?? '', status),
      finish: () => {},
    },
    reasons: new ReasonCache(),
    allocations: new Allocations(undefined, { clock, log: silentLog }),
    resizeConditions: new ResizeConditions({ events, clock }),
    events,
    ensurePodDirs: async () => {},
    networkError: () => undefined,
    isTerminationRequested: () => false,
    hostIps: () => ['192.0.2.1'],
    runtimeName: 'containerd',
    agentStartedAtMs: 0,
    clock,
    ...more,
  } as unknown as PodLifecycleDeps);
}

const sync = (more: Parameters<typeof lifecycle>[0]) => lifecycle(more).syncPod(pod, signal);
const warning = (reason: string, message: string) => ({ type: 'Warning', reason, message });

test('NetworkNotReady: a pod that needs the network waits for it', async () => {
  await expect(sync({ networkError: () => 'cni plugin not initialized' })).rejects.toThrow();
  expect(events.events).toEqual([warning('NetworkNotReady', 'network is not ready: cni plugin not initialized')]);
});

test('NetworkNotReady: a pod on the network of the host does not', async () => {
  pod.spec!.hostNetwork = true;
  await sync({ networkError: () => 'cni plugin not initialized' });
  expect(events.events).toEqual([]);
});

test('FailedCreatePodContainer: the cgroup cannot be made', async () => {
  await expect(sync({ cgroups: { ensurePodCgroup: fails('read-only') } })).rejects.toThrow('read-only');
  expect(events.events).toEqual([
    warning('FailedCreatePodContainer', 'unable to ensure pod container exists: read-only'),
  ]);
});

test('Failed: the directories cannot be made', async () => {
  await expect(sync({ ensurePodDirs: fails('no space left') })).rejects.toThrow('no space left');
  expect(events.events).toEqual([warning('Failed', 'error making pod data directories: no space left')]);
});

test('FailedSync: the runtime does not say what runs', async () => {
  const cache = { fresh: fails('runtime is down'), markStale: () => {} };
  await expect(sync({ cache })).rejects.toThrow('runtime is down');
  expect(events.events).toEqual([warning('FailedSync', 'error determining status: runtime is down')]);
});

test('FailedKillPod: the runtime does not stop it', async () => {
  const runtime = { killPod: fails('task is stuck') };
  const state = { pod, identity: { uid: 'u', name: 'p', namespace: 'ns' }, graceSeconds: 1 };
  await expect(lifecycle({ runtime }).syncTerminatingPod(state as never, signal)).rejects.toThrow('task is stuck');
  expect(events.events).toEqual([warning('FailedKillPod', 'error killing pod: task is stuck')]);
});

test('DeadlineExceeded: the pod was active for longer than it may be', async () => {
  pod = {
    ...pod,
    spec: { ...pod.spec!, activeDeadlineSeconds: 60 },
    status: { phase: 'Running', startTime: '2025-12-31T23:59:00Z' as never },
  };
  expect(await sync({})).toEqual({ podIsOver: true });
  const message = 'Pod was active on the node longer than the specified deadline';
  expect(events.events).toEqual([{ type: 'Normal', reason: 'DeadlineExceeded', message }]);
});

test.each([
  ['nothing of a pod that ran', fakeStatus([], []), true, ['removed', 'made']],
  ['nothing of a pod that was about to start', fakeStatus([], []), false, ['made']],
  ['something of a pod that ran', fakeStatus([fakeContainer({ name: 'main' })]), true, ['made']],
])('where the runtime knows %s', async (_what, status, ran, expected) => {
  const state = ran ? { running: { startedAt: '2026-01-01T00:00:00Z' } } : { waiting: { reason: 'ContainerCreating' } };
  const was = { name: 'main', image: 'i', imageID: '', ready: ran, restartCount: 0, state };
  pod = { ...pod, status: { phase: ran ? 'Running' : 'Pending', containerStatuses: [was] } };
  const steps: string[] = [];
  const cgroups = {
    removePodCgroup: async () => void steps.push('removed'),
    ensurePodCgroup: async () => void steps.push('made'),
  };
  await sync({ cgroups, cache: { fresh: async () => status, markStale: () => {} } });
  expect(steps).toEqual(expected);
});
