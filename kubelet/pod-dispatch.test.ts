import { beforeEach, expect, test } from 'vitest';
import type { Node } from '../api/kinds.ts';
import type { Pod } from '../api/pod.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { FakeEvents } from './fake-managers.ts';
import { PodDispatch } from './pod-dispatch.ts';
import type { PodDispatchDeps } from './pod-dispatch-deps.ts';
import { PodManager } from './pod-manager.ts';
import type { PodUpdate, WorkerState } from './pod-worker-state.ts';
import { Allocations } from './resize/allocations.ts';
import { ResizeConditions } from './resize/resize-conditions.ts';

const NODE: Node = { metadata: { name: 'n1' }, status: { allocatable: { cpu: '2', memory: '4Gi', pods: '110' } } };

const WANTING_DISK: Pod = {
  metadata: { name: 'p', namespace: 'default', uid: 'u' },
  spec: { nodeName: 'n1', nodeSelector: { disk: 'fast' }, containers: [{ name: 'c', image: 'i' }] },
  status: { phase: 'Pending' },
};

let clock: FakeClock;
/** What workers were told. */
let updates: PodUpdate[];

beforeEach(() => {
  clock = new FakeClock();
  updates = [];
});

function makeDispatch(more: Partial<PodDispatchDeps>): PodDispatch {
  const [events, deps] = [new FakeEvents(), { clock, log: silentLog }];
  return new PodDispatch({
    pods: new PodManager(),
    workers: {
      update: (update) => void updates.push(update),
      poke: () => {},
      isTerminationRequested: () => false,
      mayBeRunning: () => false,
      state: () => undefined,
      uids: () => [],
    },
    statuses: { get: () => undefined, set: () => {}, podChanged: () => {} },
    getNode: () => NODE,
    allowedUnsafeSysctls: [],
    allocations: new Allocations(undefined, deps),
    resizeConditions: new ResizeConditions({ events, clock }),
    allPodsKnown: () => true,
    nothingRuns: () => true,
    events,
    requestHousekeeping: () => {},
    ...deps,
    ...more,
  });
}

test('a pod that waits for an answer about the node starts with what was written into its status meanwhile', async () => {
  const answer = Promise.withResolvers<Node>();
  using dispatch = makeDispatch({ readNode: () => answer.promise });
  dispatch.handle([{ op: 'ADD', pod: WANTING_DISK }]);
  const resourceClaimStatuses = [{ name: 'gpu', resourceClaimName: 'p-gpu-x' }];
  const status = { ...WANTING_DISK.status, resourceClaimStatuses };
  dispatch.handle([{ op: 'RECONCILE', pod: { ...WANTING_DISK, status } }]);
  expect(updates).toEqual([]);
  answer.resolve({ ...NODE, metadata: { name: 'n1', labels: { disk: 'fast' } } });
  await clock.advance(0);
  expect(updates).toMatchObject([{ type: 'create', pod: { status: { resourceClaimStatuses } } }]);
});

test.each([
  ['that was refused', {}],
  ['that still waits for an answer', { readNode: () => new Promise<Node>(() => {}) }],
])('a pod %s is gone with its object, of which no worker will tell', (_, more) => {
  const gone: string[] = [];
  const observer = { podSeen() {}, podRejected() {}, podPreempted() {}, podGone: (uid: string) => gone.push(uid) };
  using dispatch = makeDispatch({ ...more, observer });
  dispatch.handle([{ op: 'ADD', pod: WANTING_DISK }]);
  expect(gone).toEqual([]);
  dispatch.handle([{ op: 'REMOVE', pod: WANTING_DISK }]);
  expect(gone).toEqual(['u']);
  expect(updates).toEqual([]);
});

const SYNCING: WorkerState = {
  phase: 'sync',
  identity: { uid: 'u', name: 'u', namespace: 'd' },
  pod: undefined,
  deleted: false,
  evicted: false,
  graceSeconds: 0,
  restartRequested: false,
  statusOverride: undefined,
};

/** Pods that come back to an agent that was started anew; each is admitted in a turn of its own, which takes its time. */
function restarted(allocated: readonly Pod[]) {
  const admitted = Promise.withResolvers<void>();
  const allocations = new Allocations(undefined, { clock, log: silentLog });
  for (const pod of allocated) allocations.allocate(pod);
  const uids = () => updates.flatMap((u) => (u.type === 'create' ? [u.pod.metadata?.uid ?? ''] : []));
  const dispatch = makeDispatch({
    allocations,
    workers: {
      update: (update) => void updates.push(update),
      poke: () => {},
      isTerminationRequested: () => false,
      mayBeRunning: (uid) => uids().includes(uid),
      state: (uid) => (uids().includes(uid) ? SYNCING : undefined),
      uids,
    },
    resources: {
      concerns: () => true,
      admit: () => admitted.promise.then(() => undefined),
      retain: () => {},
      forget: () => {},
      heldAmounts: () => new Map(),
    },
    nothingRuns: () => false,
  });
  const cpuOf = (pod: Pod) => allocations.apply(pod).spec?.containers[0]?.resources?.requests?.cpu;
  return { dispatch, admitted, cpuOf };
}

const withCpu = (uid: string, cpu: string): Pod => ({
  metadata: { name: uid, namespace: 'd', uid },
  spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu } } }] },
});

test('a resize that was wished for while no agent was there is done once the pod has had its turn', async () => {
  const { dispatch, admitted, cpuOf } = restarted([withCpu('a', '1')]);
  using _ = dispatch;
  const wished = withCpu('a', '1500m');
  dispatch.handle([{ op: 'ADD', pod: wished }]);
  expect(cpuOf(wished)).toBe('1');
  admitted.resolve();
  await clock.advance(0);
  expect(cpuOf(wished)).toBe('1500m');
});

test('it is not given what a pod has that waits for its turn still', async () => {
  const { dispatch, admitted, cpuOf } = restarted([withCpu('a', '1'), withCpu('b', '1')]);
  using _ = dispatch;
  const wished = withCpu('a', '1500m');
  dispatch.handle([
    { op: 'ADD', pod: wished },
    { op: 'ADD', pod: withCpu('b', '1') },
  ]);
  admitted.resolve();
  await clock.advance(0);
  expect(cpuOf(wished)).toBe('1');
  expect(cpuOf(withCpu('b', '1'))).toBe('1');
});
