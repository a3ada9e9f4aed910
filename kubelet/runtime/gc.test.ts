import { expect, test } from 'vitest';
import type { Container, PodSandbox } from '../../cri/gen/messages.ts';
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
  expect(ids(containersToRemove(some, { mayRemoveAll, allSourcesReady: true }))).toEqual([
    'gone-pod',
    'gone-pod-created',
    'old',
  ]);
});

test('before all sources were read no pod counts as gone', () => {
  expect(ids(containersToRemove(some, { mayRemoveAll: () => true, allSourcesReady: false }))).toEqual(['old']);
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
