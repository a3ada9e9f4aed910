import { expect, test } from 'vitest';
import type { Container, PodSandbox } from '../../cri/gen/messages.ts';
import { DEFAULT_CONTAINER_GC } from '../config.ts';
import { containersToRemove, sandboxesToRemove } from './gc.ts';
import { CONTAINER_NAME_LABEL, POD_UID_LABEL } from './labels.ts';

type State = 'CREATED' | 'RUNNING' | 'EXITED' | 'UNKNOWN';
const container = (id: string, uid: string, name: string, state: State, createdAt: number): Container => ({
  id,
  podSandboxId: 's',
  imageRef: '',
  state: `CONTAINER_${state}`,
  createdAt: BigInt(createdAt),
  labels: uid === '' ? {} : { [POD_UID_LABEL]: uid, [CONTAINER_NAME_LABEL]: name },
  annotations: {},
  imageId: '',
});
const sandbox = (id: string, uid: string, ready: boolean, createdAt: number): PodSandbox => ({
  id,
  metadata: { uid, name: 'p', namespace: 'ns', attempt: 0 },
  state: ready ? 'SANDBOX_READY' : 'SANDBOX_NOTREADY',
  createdAt: BigInt(createdAt),
  labels: {},
  annotations: {},
  runtimeHandler: '',
});

const some = [
  container('old', 'u', 'a', 'EXITED', 1),
  container('newer', 'u', 'a', 'EXITED', 2),
  container('runs', 'u', 'a', 'RUNNING', 3),
  container('other', 'u', 'b', 'UNKNOWN', 1),
  container('fresh', 'u', 'b', 'CREATED', 2),
  container('gone-pod', 'v', 'a', 'EXITED', 1),
  container('gone-pod-created', 'v', 'a', 'CREATED', 2),
  container('not-ours', '', '', 'EXITED', 1),
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
  const all = [
    sandbox('old', 'u', false, 1),
    sandbox('old-used', 'u', false, 2),
    sandbox('newest', 'u', false, 3),
    sandbox('ready', 'v', true, 1),
    sandbox('gone', 'w', false, 1),
    sandbox('not-ours', '', false, 1),
  ];
  const mayRemoveAll = (uid: string) => uid === 'w';
  const remove = (allSourcesReady: boolean) =>
    ids(sandboxesToRemove(all, new Set(['old-used']), { mayRemoveAll, allSourcesReady }));
  expect(remove(true)).toEqual(['gone', 'old']);
  expect(remove(false)).toEqual(['old']);
});

const MS = 1_000_000;
const dead = ['a1', 'a2', 'a3', 'b1', 'b2', 'c1'].map((id, i) => container(id, 'u', id[0]!, 'EXITED', (i + 1) * MS));
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
