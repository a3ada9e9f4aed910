import { expect, test } from 'vitest';
import { DEFAULT_CONTAINER_GC } from '../config.ts';
import { containersToRemove, sandboxesToRemove } from './gc.ts';
import type { RuntimePod } from './pod-runtime-status.ts';

type Listed = RuntimePod['containers'][number];
const pod = (uid: string, containers: readonly Listed[], sandboxes: RuntimePod['sandboxes'] = []): RuntimePod => ({
  uid,
  name: 'p',
  namespace: 'ns',
  sandboxes,
  containers,
});
const container = (id: string, name: string, state: Listed['state'], createdAtMs: number): Listed => ({
  id,
  name,
  sandboxId: 's',
  state,
  createdAtMs,
});
const sandbox = (id: string, ready: boolean, createdAtMs: number) => ({ id, ready, createdAtMs });

const some = [
  pod('u', [
    container('old', 'a', 'exited', 1),
    container('newer', 'a', 'exited', 2),
    container('runs', 'a', 'running', 3),
    container('other', 'b', 'unknown', 1),
    container('fresh', 'b', 'created', 2),
  ]),
  pod('v', [container('gone-pod', 'a', 'exited', 1), container('gone-pod-created', 'a', 'created', 2)]),
];
const ids = (list: readonly { id: string }[]) => list.map((x) => x.id).sort();

test('the newest dead instance of each name stays; of a pod that may go nothing dead does', () => {
  const mayRemoveAll = (uid: string) => uid === 'v';
  expect(ids(containersToRemove(some, { mayRemoveAll, allSourcesReady: true }, DEFAULT_CONTAINER_GC, 0))).toEqual([
    'gone-pod',
    'gone-pod-created',
    'old',
  ]);
});

test('before all sources were read no pod counts as gone', () => {
  expect(
    ids(containersToRemove(some, { mayRemoveAll: () => true, allSourcesReady: false }, DEFAULT_CONTAINER_GC, 0)),
  ).toEqual(['old']);
});

test('sandboxes: dead and empty ones, but for the newest of a pod that goes on', () => {
  const used = { ...container('c', 'a', 'exited', 2), sandboxId: 'old-used' };
  const all = [
    pod('u', [used], [sandbox('old', false, 1), sandbox('old-used', false, 2), sandbox('newest', false, 3)]),
    pod('v', [], [sandbox('ready', true, 1)]),
    pod('w', [], [sandbox('gone', false, 1)]),
  ];
  const mayRemoveAll = (uid: string) => uid === 'w';
  const remove = (allSourcesReady: boolean) => ids(sandboxesToRemove(all, { mayRemoveAll, allSourcesReady }));
  expect(remove(true)).toEqual(['gone', 'old']);
  expect(remove(false)).toEqual(['old']);
});

const dead = [
  pod(
    'u',
    ['a1', 'a2', 'a3', 'b1', 'b2', 'c1'].map((id, i) => container(id, id[0]!, 'exited', i + 1)),
  ),
];
const goesOn = { mayRemoveAll: () => false, allSourcesReady: true };

test.each([
  ['none kept', { maxPerContainer: 0 }, 'a1 a2 a3 b1 b2 c1'],
  ['two kept', { maxPerContainer: 2 }, 'a1'],
  ['no limit', { maxPerContainer: -1 }, ''],
  ['young ones stay', { maxPerContainer: 0, minAgeMs: 7 }, 'a1 a2 a3'],
  ['no more than four in all: one of each by share', { maxPerContainer: -1, maxContainers: 4 }, 'a1 a2 b1'],
  ['no more than two in all: of those left the oldest goes', { maxPerContainer: -1, maxContainers: 2 }, 'a1 a2 a3 b1'],
  ['as many as are allowed', { maxPerContainer: -1, maxContainers: 6 }, ''],
  ['none in all', { maxContainers: 0 }, 'a1 a2 a3 b1 b2 c1'],
])('a policy of its own: %s', (_, policy, expected) => {
  const removed = containersToRemove(dead, goesOn, { ...DEFAULT_CONTAINER_GC, ...policy }, 10);
  expect(ids(removed).join(' ')).toBe(expected);
});

test('the age limit holds for pods that are gone as well', () => {
  const gone = { mayRemoveAll: () => true, allSourcesReady: true };
  const removed = containersToRemove(dead, gone, { ...DEFAULT_CONTAINER_GC, minAgeMs: 5 }, 10);
  expect(removed.map((c) => c.id)).toEqual(['a1', 'a2', 'a3', 'b1', 'b2']); // oldest first
});
