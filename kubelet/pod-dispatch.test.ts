import { beforeEach, expect, test } from 'vitest';
import type { Node } from '../api/kinds.ts';
import type { Pod } from '../api/pod.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { FakeEvents } from './fake-managers.ts';
import { PodDispatch, type PodDispatchDeps } from './pod-dispatch.ts';
import { PodManager } from './pod-manager.ts';
import type { PodUpdate } from './pod-worker-state.ts';
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
