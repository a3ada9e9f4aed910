import { beforeEach, expect, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { FakeEvents } from '../fake-managers.ts';
import { Allocations } from './allocations.ts';
import { type ResizeRefusal, refuseResize } from './resize-admission.ts';
import { ResizeConditions } from './resize-conditions.ts';
import { byUrgency, type PendingResize, ResizeQueue } from './resize-queue.ts';

const node: Node = {
  metadata: { name: 'n' },
  status: { allocatable: { cpu: '2', memory: '4Gi', pods: '110' } },
};

function podOf(name: string, cpu: string, more: Partial<NonNullable<Pod['spec']>> = {}, generation = 1): Pod {
  return {
    metadata: { name, namespace: 'ns', uid: name, generation },
    spec: { containers: [{ name: 'main', resources: { requests: { cpu } } }], ...more },
  };
}

let clock: FakeClock;
let events: FakeEvents;
let allocations: Allocations;
let conditions: ResizeConditions;
let queue: ResizeQueue;
let changed: string[];
let allKnown: boolean;
const pods = new Map<string, Pod>();

/** The pods are there with what they have first. */
function given(...all: Pod[]): void {
  for (const pod of all) {
    pods.set(pod.metadata?.uid ?? '', pod);
    allocations.allocate(pod);
  }
}

/** The pod asks for something else from now on. */
function wish(pod: Pod): void {
  pods.set(pod.metadata?.uid ?? '', pod);
  queue.consider(pod);
}

function refuse(pod: Pod): ResizeRefusal | undefined {
  const others = [...pods.values()].filter((p) => p.metadata?.uid !== pod.metadata?.uid);
  return refuseResize({ pod, activePods: others.map((p) => allocations.apply(p)), node });
}

const condition = (uid: string) => conditions.of(uid).map((c) => [c.type, c.reason, c.message, c.observedGeneration]);
const allocatedCpu = (uid: string) => allocations.apply(pods.get(uid)!).spec?.containers[0]?.resources?.requests?.cpu;

beforeEach(() => {
  clock = new FakeClock(Date.UTC(2026, 0, 1));
  events = new FakeEvents();
  allocations = new Allocations(undefined, { clock, log: silentLog });
  conditions = new ResizeConditions({ events, clock });
  changed = [];
  allKnown = true;
  pods.clear();
  queue = new ResizeQueue({
    getPod: (uid) => pods.get(uid),
    refuse,
    allPodsKnown: () => allKnown,
    onChanged: (uid) => changed.push(uid),
    allocations,
    conditions,
    clock,
    log: silentLog,
  });
});

test('what fits is given at once', () => {
  given(podOf('a', '500m'));
  wish(podOf('a', '1', {}, 2));
  queue.retry();
  expect(allocatedCpu('a')).toBe('1');
  expect(condition('a')).toEqual([['PodResizeInProgress', undefined, undefined, 2]]);
  expect(events.events).toEqual([
    {
      type: 'Normal',
      reason: 'ResizeStarted',
      message:
        'Pod resize started: {"containers":[{"name":"main","resources":{"requests":{"cpu":"1"}}}],"generation":2}',
    },
  ]);
  expect(changed).toEqual(['a']);
});

test('what does not fit yet waits, and is given when another pod is gone', () => {
  given(podOf('a', '500m'), podOf('b', '1200m'));
  wish(podOf('a', '1', {}, 2));
  queue.retry();
  expect(allocatedCpu('a')).toBe('500m');
  const message = "Node didn't have enough resource: cpu, requested: 1000, used: 1200, capacity: 2000";
  expect(condition('a')).toEqual([['PodResizePending', 'Deferred', message, 2]]);
  expect(events.events).toEqual([
    {
      type: 'Warning',
      reason: 'ResizeDeferred',
      message: `Pod resize Deferred: {"containers":[{"name":"main","resources":{"requests":{"cpu":"1"}}}],"generation":2,"error":"${message}"}`,
    },
  ]);
  queue.retry(); // nothing new: nothing is told again
  expect(events.events).toHaveLength(1);
  pods.delete('b');
  queue.retry();
  expect(allocatedCpu('a')).toBe('1');
  expect(condition('a')).toEqual([['PodResizeInProgress', undefined, undefined, 2]]);
});

test('what waits for another reason than before has waited since it first did', () => {
  given(podOf('a', '500m'), podOf('b', '1200m'));
  wish(podOf('a', '1', {}, 2));
  queue.retry();
  const sinceMs = clock.now();
  clock.stepWall(5000);
  given(podOf('b', '1300m'));
  queue.retry();
  expect(condition('a')[0]?.[2]).toContain('used: 1300');
  expect(conditions.pendingSinceMs('a')).toBe(sinceMs);
});

test.each([
  ['cpu', '3', "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000"],
  ['memory', '5Gi', "Node didn't have enough capacity: memory, requested: 5368709120, capacity: 4294967296"],
])('more %s than the node has is never given, and not tried again', (resource, amount, message) => {
  given(podOf('a', '500m'));
  const wanted = podOf('a', '500m', {}, 2);
  wanted.spec!.containers[0]!.resources = { requests: { cpu: '500m', [resource]: amount } };
  wish(wanted);
  queue.retry();
  expect(condition('a')).toEqual([['PodResizePending', 'Infeasible', message, 2]]);
  expect(events.reasons()).toEqual(['ResizeInfeasible']);
  expect(allocatedCpu('a')).toBe('500m');
  expect(clock.sleeping).toBe(0);
});

test('static pods are not resized', () => {
  const annotations = { 'kubernetes.io/config.source': 'file' };
  given(podOf('a', '500m'));
  const wanted = podOf('a', '400m', {}, 2);
  wish({ ...wanted, metadata: { ...wanted.metadata, annotations } });
  queue.retry();
  expect(condition('a')[0]?.slice(1, 3)).toEqual(['Infeasible', 'In-place resize of static-pods is not supported']);
});

test('an amount that cannot be read is no reason to fall over', () => {
  given(podOf('a', '500m'), podOf('b', '100m'));
  wish(podOf('a', 'plenty', {}, 2));
  wish(podOf('b', '200m', {}, 2));
  queue.retry();
  expect(condition('a')[0]?.slice(0, 2)).toEqual(['PodResizePending', 'Deferred']);
  expect(allocatedCpu('b')).toBe('200m');
});

test('a wish that is taken back is forgotten', () => {
  given(podOf('a', '500m'), podOf('b', '1500m'));
  wish(podOf('a', '1', {}, 2));
  queue.retry();
  wish(podOf('a', '500m', {}, 3));
  queue.retry();
  expect(condition('a')).toEqual([]);
  expect(clock.sleeping).toBe(0);
});

test('what one gives back another gets in the same round', () => {
  given(podOf('a', '500m'), podOf('b', '1500m'));
  wish(podOf('a', '1', { priority: 1000 }, 2));
  wish(podOf('b', '1', {}, 2));
  queue.retry();
  expect([allocatedCpu('a'), allocatedCpu('b')]).toEqual(['1', '1']);
});

test('nothing is decided before all pods are known', () => {
  given(podOf('a', '500m'));
  wish(podOf('a', '1'));
  allKnown = false;
  queue.retry();
  expect(allocatedCpu('a')).toBe('500m');
  allKnown = true;
  queue.retry();
  expect(allocatedCpu('a')).toBe('1');
});

test('who waits is looked at again every three minutes, on one timer that goes with the last of them', async () => {
  given(podOf('a', '500m'), podOf('b', '1500m'));
  wish(podOf('a', '1'));
  queue.retry();
  pods.delete('b'); // and nobody says so
  await clock.advance(179_999);
  expect(allocatedCpu('a')).toBe('500m');
  expect(clock.sleeping).toBe(1);
  await clock.advance(1);
  expect(allocatedCpu('a')).toBe('1');
  expect(clock.sleeping).toBe(0);
});

test('no timer is left behind', () => {
  given(podOf('a', '500m'), podOf('b', '1500m'));
  wish(podOf('a', '1'));
  queue.retry();
  queue[Symbol.dispose]();
  queue.retry();
  expect(clock.sleeping).toBe(0);
});

test('the order: who gives back, priority, guaranteed, longest pending, who has not been looked at', () => {
  const base = { increases: true, priority: 0, guaranteed: false, pendingSinceMs: undefined };
  const inOrder: PendingResize[] = [
    { ...base, uid: 'gives back', increases: false },
    { ...base, uid: 'important', priority: 100 },
    { ...base, uid: 'guaranteed', guaranteed: true },
    { ...base, uid: 'longest', pendingSinceMs: 1 },
    { ...base, uid: 'later', pendingSinceMs: 2 },
    { ...base, uid: 'new' },
  ];
  expect(
    [...inOrder]
      .reverse()
      .sort(byUrgency)
      .map((p) => p.uid),
  ).toEqual(inOrder.map((p) => p.uid));
});
