import { expect, test } from 'vitest';
import type { Node } from '../api/kinds.ts';
import type { Pod } from '../api/pod.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { FakeEvents } from './fake-managers.ts';
import { PodDispatch } from './pod-dispatch.ts';
import { PodManager } from './pod-manager.ts';
import type { PodUpdate } from './pod-worker-state.ts';
import { Allocations } from './resize/allocations.ts';
import { ResizeConditions } from './resize/resize-conditions.ts';

const NODE: Node = { metadata: { name: 'n1' }, status: { allocatable: { cpu: '2', memory: '4Gi', pods: '110' } } };

test('a pod that waits for an answer about the node starts with what was written into its status meanwhile', async () => {
  const [clock, events] = [new FakeClock(), new FakeEvents()];
  const deps = { clock, log: silentLog };
  const answer = Promise.withResolvers<Node>();
  const updates: PodUpdate[] = [];
  using dispatch = new PodDispatch({
    pods: new PodManager(),
    workers: {
      update: (update) => void updates.push(update),
      poke: () => {},
      isTerminationRequested: () => false,
      state: () => undefined,
      uids: () => [],
    },
    statuses: { get: () => undefined, set: () => {}, podChanged: () => {} },
    getNode: () => NODE,
    readNode: () => answer.promise,
    allowedUnsafeSysctls: [],
    allocations: new Allocations(undefined, deps),
    resizeConditions: new ResizeConditions({ events, clock }),
    allPodsKnown: () => true,
    nothingRuns: () => true,
    events,
    requestHousekeeping: () => {},
    ...deps,
  });
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'default', uid: 'u' },
    spec: { nodeName: 'n1', nodeSelector: { disk: 'fast' }, containers: [{ name: 'c', image: 'i' }] },
    status: { phase: 'Pending' },
  };
  dispatch.handle([{ op: 'ADD', pod }]);
  const resourceClaimStatuses = [{ name: 'gpu', resourceClaimName: 'p-gpu-x' }];
  dispatch.handle([{ op: 'RECONCILE', pod: { ...pod, status: { ...pod.status, resourceClaimStatuses } } }]);
  expect(updates).toEqual([]);
  answer.resolve({ ...NODE, metadata: { name: 'n1', labels: { disk: 'fast' } } });
  await clock.advance(0);
  expect(updates).toMatchObject([{ type: 'create', pod: { status: { resourceClaimStatuses } } }]);
});
