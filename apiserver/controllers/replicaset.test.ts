import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ReplicaSet } from '../../api/apps.ts';
import type { Pod } from '../../api/pod.ts';
import { pods, replicaSets } from '../../api/resources.ts';
import { failure } from '../../client/fake-client.ts';
import { Expectations } from './expectations.ts';
import { FakeControlPlane } from './fake-control-plane.ts';
import { rankForDeletion } from './pod-control.ts';
import { ReplicaSetController } from './replicaset.ts';

const labels = { app: 'web' };
const web = { namespace: 'default', name: 'web' };

const set = (replicas: number, spec: Partial<ReplicaSet['spec']> = {}): ReplicaSet => ({
  metadata: web,
  spec: {
    replicas,
    selector: { matchLabels: labels },
    template: { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    ...spec,
  },
});

let cluster: FakeControlPlane;
beforeEach(() => {
  cluster = new FakeControlPlane();
});
afterEach(async () => {
  await cluster.stop();
  expect(cluster.clock.sleeping).toBe(0);
});

const start = () => cluster.start(new ReplicaSetController(cluster.ctx));
const status = () => cluster.api.all(replicaSets)[0]?.status;
const scale = (replicas: number) =>
  cluster.api.patch(replicaSets, web, { type: 'merge', body: { spec: { replicas } } });

test('makes the pods asked for, owned and named after the set, and then rests', async () => {
  cluster.api.seed(replicaSets, set(5));
  await start();
  const made = cluster.api.all(pods);
  expect(made).toHaveLength(5);
  expect(made[0]!.metadata).toMatchObject({
    labels,
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web', controller: true }],
  });
  expect(made[0]!.metadata?.name).toMatch(/^web-./);
  expect(cluster.reasons()).toEqual(Array(5).fill('SuccessfulCreate'));
  await cluster.makePodsReady();
  expect(status()).toMatchObject({ replicas: 5, readyReplicas: 5, availableReplicas: 5, fullyLabeledReplicas: 5 });
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('scaling down removes pods that are not ready first', async () => {
  cluster.api.seed(replicaSets, set(3));
  await start();
  const [first, ...others] = cluster.api.all(pods);
  await cluster.makePodsReady((p) => p.metadata?.name !== first!.metadata?.name);
  await scale(2);
  await cluster.settle();
  expect(cluster.api.all(pods).map((p) => p.metadata?.name)).toEqual(others.map((p) => p.metadata?.name));
  expect(cluster.reasons()).toContain('SuccessfulDelete');
  expect(await cluster.writesDuring(() => cluster.pass(600_000))).toEqual([]);
});

test('a pod that failed or is being deleted is replaced', async () => {
  cluster.api.seed(replicaSets, set(2));
  await start();
  await cluster.setPodStatus(cluster.api.all(pods)[0]!, { phase: 'Failed' });
  await cluster.settle();
  expect(cluster.api.all(pods)).toHaveLength(3);
  expect(status()?.replicas).toBe(2);
});

test('adopts matching orphans and lets go of pods that match no more', async () => {
  const orphan: Pod = { metadata: { name: 'stray', namespace: 'default', labels }, status: { phase: 'Running' } };
  cluster.api.seed(pods, orphan);
  cluster.api.seed(replicaSets, set(1));
  await start();
  const stray = () => cluster.api.all(pods).find((p) => p.metadata?.name === 'stray');
  expect(stray()?.metadata?.ownerReferences).toMatchObject([{ name: 'web', controller: true }]);
  expect(cluster.api.all(pods)).toHaveLength(1);
  const relabel = { type: 'merge', body: { metadata: { labels: { app: 'debug' } } } } as const;
  await cluster.api.patch(pods, { namespace: 'default', name: 'stray' }, relabel);
  await cluster.settle();
  expect(stray()?.metadata?.ownerReferences ?? []).toEqual([]);
  expect(cluster.api.all(pods)).toHaveLength(2);
  expect(await cluster.writesDuring(() => cluster.pass(600_000))).toEqual([]);
});

test('a set that the server is already deleting adopts nothing, though the cache is late', async () => {
  cluster.api.seed(replicaSets, set(1));
  await start();
  const [pod] = cluster.api.all(pods);
  const live = cluster.api.all(replicaSets)[0]!;
  cluster.api.get = async (type, name) => {
    if (type.plural !== 'replicasets') throw failure(404, `${name.name} not found`);
    return { ...live, metadata: { ...live.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } } as never;
  };
  const orphaned = { type: 'merge', body: { metadata: { ownerReferences: null } } } as const;
  await cluster.api.patch(pods, { namespace: 'default', name: pod!.metadata!.name! }, orphaned);
  await cluster.settle();
  const kept = cluster.api.all(pods).find((p) => p.metadata?.uid === pod!.metadata?.uid);
  expect(kept?.metadata?.ownerReferences).toBeUndefined();
});

test('a template that is refused is tried once per back-off, and says FailedCreate once in the status', async () => {
  cluster.api.seed(replicaSets, set(50));
  for (let i = 0; i < 3; i++) {
    cluster.api.failNext('create', failure(422, `Pod "web-${i}" is invalid: spec: no`), 'pods');
  }
  await start();
  expect(cluster.reasons()).toEqual(['FailedCreate']);
  expect(cluster.writes()).toEqual(['create pods', 'patch replicasets/status']);
  expect(status()?.conditions).toMatchObject([{ type: 'ReplicaFailure', status: 'True', reason: 'FailedCreate' }]);
  const again = await cluster.writesDuring(() => cluster.pass(5));
  expect(again).toEqual(['create pods']); // another message, the same failure
  await cluster.pass(60_000);
  expect(cluster.api.all(pods)).toHaveLength(50);
  expect(status()?.conditions ?? []).toEqual([]);
});

test('available only after minReadySeconds, for each pod at its own time', async () => {
  cluster.api.seed(replicaSets, set(2, { minReadySeconds: 10 }));
  await start();
  const [first, second] = cluster.api.all(pods);
  await cluster.makePodsReady((p) => p.metadata?.uid === first!.metadata?.uid);
  await cluster.pass(5_000);
  await cluster.makePodsReady((p) => p.metadata?.uid === second!.metadata?.uid);
  expect(status()).toMatchObject({ readyReplicas: 2, availableReplicas: 0 });
  await cluster.pass(5_000);
  expect(status()?.availableReplicas).toBe(1);
  await cluster.pass(5_000);
  expect(status()?.availableReplicas).toBe(2);
});

test('events of created pods that never come hold the set up for five minutes, not for ever', async () => {
  cluster.api.seed(replicaSets, set(1));
  const create = cluster.api.create.bind(cluster.api);
  let lost = true;
  cluster.api.create = async (type, name, object, opts) => {
    if (type.plural !== 'pods' || !lost) return await create(type, name, object, opts);
    lost = false; // as if created and removed between two lists
    return object;
  };
  await start();
  await cluster.pass(5 * 60_000 - 1);
  expect(cluster.api.all(pods)).toHaveLength(0);
  await cluster.pass(1);
  expect(cluster.api.all(pods)).toHaveLength(1);
});

test('expectations: deletions are known by uid, creations are never below zero', () => {
  const expectations = new Expectations(cluster.clock);
  expect(expectations.waitMs('a')).toBe(0);
  expectations.expectDeletions('a', ['u1', 'u2']);
  expectations.observedDeletion('a', 'u1');
  expectations.observedDeletion('a', 'u1');
  expect(expectations.waitMs('a')).toBe(300_000);
  expectations.observedDeletion('a', 'u2');
  expect(expectations.waitMs('a')).toBe(0);
  expectations.observedCreation('a');
  expectations.expectCreations('a', 1);
  expect(expectations.waitMs('a')).toBe(300_000);
  expectations.forget('a');
  expect(expectations.waitMs('a')).toBe(0);
});

test('what serves least is removed first', () => {
  const nowMs = Date.UTC(2026, 0, 2);
  const ready = (at: string) => [{ type: 'Ready', status: 'True', lastTransitionTime: at }];
  const pod = (name: string, node: string | undefined, status: Pod['status'], annotations = {}): Pod => ({
    metadata: { name, creationTimestamp: '2026-01-01T00:00:00Z', annotations },
    ...(node === undefined ? {} : { spec: { nodeName: node } as NonNullable<Pod['spec']> }),
    status: status ?? {},
  });
  const old = '2026-01-01T00:00:00Z';
  const cost = { 'controller.kubernetes.io/pod-deletion-cost': '-5' };
  const inOrder = [
    pod('unscheduled', undefined, { phase: 'Pending' }),
    pod('pending', 'n1', { phase: 'Pending' }),
    pod('not-ready', 'n2', { phase: 'Running' }),
    pod('cheap', 'n3', { phase: 'Running', conditions: ready(old) }, cost),
    pod('crowded-young', 'n4', { phase: 'Running', conditions: ready('2026-01-01T23:59:00Z') }),
    pod('crowded-old', 'n4', { phase: 'Running', conditions: ready(old) }),
    pod('alone', 'n5', { phase: 'Running', conditions: ready(old) }),
  ];
  const shuffled = [...inOrder].reverse();
  expect(rankForDeletion(shuffled, nowMs).map((p) => p.metadata?.name)).toEqual(inOrder.map((p) => p.metadata?.name));
});
