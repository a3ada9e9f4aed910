// What comes to be and goes without a user naming it: namespace content, owned objects, lost pods, bootstrap objects.
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Namespace } from '../../api/kinds.ts';
import type { KubeObject, OwnerReference } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import {
  configMaps,
  deployments,
  namespaces,
  nodes,
  pods,
  type ResourceType,
  replicaSets,
  secrets,
  serviceAccounts,
} from '../../api/resources.ts';
import { FakeControlPlane } from './fake-control-plane.ts';
import { GarbageCollector } from './garbage-collector.ts';
import { NamespaceContentController, NamespaceDeletionController } from './namespace.ts';
import { PodGcController } from './pod-gc.ts';

let cluster: FakeControlPlane;
beforeEach(() => {
  cluster = new FakeControlPlane();
});
afterEach(async () => {
  await cluster.stop();
  expect(cluster.clock.sleeping).toBe(0);
});

// ---- namespaces ----

const content = () => new NamespaceContentController(cluster.ctx, 'PEM');
const team = { namespace: 'team', name: 'kube-root-ca.crt' };

test('every active namespace gets its service account and CA, again when removed or changed', async () => {
  cluster.api.seed(namespaces, { metadata: { name: 'team' } });
  await cluster.start(content());
  expect(cluster.api.all(serviceAccounts).map((a) => a.metadata?.name)).toEqual(['default']);
  expect(cluster.api.all(configMaps)[0]?.data).toEqual({ 'ca.crt': 'PEM' });
  await cluster.api.delete(serviceAccounts, { namespace: 'team', name: 'default' });
  await cluster.api.patch(configMaps, team, { type: 'merge', body: { data: { 'ca.crt': 'forged' } } });
  await cluster.settle();
  expect(cluster.api.all(serviceAccounts)).toHaveLength(1);
  expect(cluster.api.all(configMaps)[0]?.data).toEqual({ 'ca.crt': 'PEM' });
  await cluster.api.delete(configMaps, team);
  await cluster.settle();
  expect(cluster.api.all(configMaps)).toHaveLength(1);
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('a terminating namespace gets nothing new', async () => {
  const metadata = { name: 'team', deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['x'] };
  cluster.api.seed(namespaces, { metadata });
  await cluster.start(content());
  expect(cluster.writes()).toEqual([]);
});

test('a namespace being deleted is emptied, says what is left, and is finalized when nothing is', async () => {
  const metadata = { name: 'team', deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['x'] };
  const ns: Namespace = { metadata, spec: { finalizers: ['kubernetes'] } };
  cluster.api.seed(namespaces, ns);
  cluster.api.seed(
    secrets,
    { metadata: { name: 's', namespace: 'team' } },
    { metadata: { name: 's', namespace: 'other' } },
  );
  cluster.api.seed(pods, {
    metadata: { name: 'p', namespace: 'team' },
    spec: { nodeName: 'n1', terminationGracePeriodSeconds: 30, containers: [] },
  });
  await cluster.start(new NamespaceDeletionController(cluster.ctx, [secrets, pods]));
  const current = () => cluster.api.all(namespaces)[0];
  expect(cluster.api.all(secrets).map((s) => s.metadata?.namespace)).toEqual(['other']);
  expect(current()?.status?.conditions).toMatchObject([
    {
      type: 'NamespaceContentRemaining',
      status: 'True',
      message: 'Some resources are remaining: pods has 1 resource instances',
    },
  ]);
  expect(await cluster.writesDuring(() => cluster.pass(5_000))).toEqual([]);
  await cluster.api.delete(pods, { namespace: 'team', name: 'p' }, { gracePeriodSeconds: 0 });
  const written = await cluster.writesDuring(() => cluster.pass(1_000));
  expect(written[0]).toBe('update namespaces/finalize');
});

// ---- garbage ----

const KINDS: readonly ResourceType[] = [deployments, replicaSets, pods, configMaps];
const ref = (owner: KubeObject, kind: string, apiVersion = 'apps/v1'): OwnerReference => ({
  apiVersion,
  kind,
  name: owner.metadata?.name ?? '',
  uid: owner.metadata?.uid ?? '',
  controller: true,
  blockOwnerDeletion: true,
});
const web = { namespace: 'default', name: 'web' };
const names = (type: ResourceType) => cluster.api.all(type).map((o) => o.metadata?.name);

/** A Deployment with a set with two pods. */
function seedFamily(): void {
  const [d] = cluster.api.seed(deployments, { metadata: { ...web } });
  const [rs] = cluster.api.seed(replicaSets, {
    metadata: { name: 'web-1', namespace: 'default', ownerReferences: [ref(d!, 'Deployment')] },
  });
  const pod = (name: string): Pod => ({
    metadata: { name, namespace: 'default', ownerReferences: [ref(rs!, 'ReplicaSet')] },
  });
  cluster.api.seed(pods, pod('a'), pod('b'), { metadata: { name: 'alone', namespace: 'default' } });
}
const collector = () => new GarbageCollector(cluster.ctx, KINDS);
const markDeleted = (finalizer: string) =>
  cluster.api.seed(deployments, {
    metadata: { ...web, uid: 'dep', deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [finalizer, 'mine'] },
  })[0]!;

test('in the background: dependents of what is gone go, others stay', async () => {
  seedFamily();
  await cluster.start(collector());
  expect(cluster.writes()).toEqual([]);
  await cluster.api.delete(deployments, web);
  await cluster.settle();
  expect([names(replicaSets), names(pods)]).toEqual([[], ['alone']]);
});

test('in the foreground: the owner keeps its finalizer until the last blocking dependent is gone', async () => {
  const d = markDeleted('foregroundDeletion');
  const held = { name: 'web-1', namespace: 'default', ownerReferences: [ref(d, 'Deployment')], finalizers: ['hold'] };
  cluster.api.seed(replicaSets, { metadata: held });
  await cluster.start(collector());
  expect(cluster.api.all(replicaSets)[0]?.metadata?.deletionTimestamp).toBeDefined();
  expect(cluster.api.all(deployments)[0]?.metadata?.finalizers).toContain('foregroundDeletion');
  const free = { type: 'merge', body: { metadata: { finalizers: null } } } as const;
  await cluster.api.patch(replicaSets, { namespace: 'default', name: 'web-1' }, free);
  await cluster.settle();
  expect(names(replicaSets)).toEqual([]);
  expect(cluster.api.all(deployments)[0]?.metadata?.finalizers).toEqual(['mine']);
});

test('orphaning: references go, dependents stay', async () => {
  const d = markDeleted('orphan');
  cluster.api.seed(replicaSets, {
    metadata: { name: 'web-1', namespace: 'default', ownerReferences: [ref(d, 'Deployment')] },
  });
  await cluster.start(collector());
  await cluster.pass(1_000);
  expect(cluster.api.all(replicaSets)[0]?.metadata?.ownerReferences).toBeUndefined();
  expect(cluster.api.all(deployments)[0]?.metadata?.finalizers).toEqual(['mine']);
});

test('one owner gone and one there: only the dangling reference goes', async () => {
  const [owner] = cluster.api.seed(configMaps, { metadata: { name: 'cm', namespace: 'default' } });
  const gone = { apiVersion: 'v1', kind: 'ConfigMap', name: 'gone', uid: 'gone' };
  const there = ref(owner!, 'ConfigMap', 'v1');
  cluster.api.seed(pods, { metadata: { name: 'p', namespace: 'default', ownerReferences: [gone, there] } });
  await cluster.start(collector());
  expect(cluster.api.all(pods)[0]?.metadata?.ownerReferences).toEqual([there]);
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('an owner of the same name with another uid is not the owner', async () => {
  cluster.api.seed(configMaps, { metadata: { name: 'cm', namespace: 'default' } });
  const former = { apiVersion: 'v1', kind: 'ConfigMap', name: 'cm', uid: 'former' };
  cluster.api.seed(pods, { metadata: { name: 'p', namespace: 'default', ownerReferences: [former] } });
  await cluster.start(collector());
  expect(names(pods)).toEqual([]);
});

test('an owner that no watch has shown yet is asked for, and looked for again later', async () => {
  await cluster.start(collector());
  const late: KubeObject = { metadata: { name: 'late', namespace: 'default', uid: 'late' } };
  const get = cluster.api.get.bind(cluster.api);
  cluster.api.get = async (type, name, opts) => (name.name === 'late' ? (late as never) : await get(type, name, opts));
  const owned = { name: 'p', namespace: 'default', ownerReferences: [ref(late, 'ConfigMap', 'v1')] };
  await cluster.api.create(pods, { namespace: 'default' }, { metadata: owned });
  await cluster.settle();
  expect(names(pods)).toEqual(['p']);
  cluster.api.get = get as typeof cluster.api.get; // gone again, and no watch has ever told of it
  await cluster.pass(30_000);
  expect(names(pods)).toEqual([]);
});

test('an owner in another namespace is reported, and nothing is deleted', async () => {
  const [owner] = cluster.api.seed(configMaps, { metadata: { name: 'cm', namespace: 'other' } });
  cluster.api.seed(pods, {
    metadata: { name: 'p', namespace: 'default', ownerReferences: [ref(owner!, 'ConfigMap', 'v1')] },
  });
  await cluster.start(collector());
  expect(names(pods)).toEqual(['p']);
  expect(cluster.reasons()).toEqual(['OwnerRefInvalidNamespace']);
});

// ---- lost pods ----

const podOn = (
  name: string,
  node: string | undefined,
  status: Pod['status'] = {},
  at = '2026-01-01T00:00:00Z',
): Pod => ({
  metadata: { name, namespace: 'default', creationTimestamp: at },
  spec: { containers: [], ...(node === undefined ? {} : { nodeName: node }) },
  status,
});
const podGc = () => new PodGcController(cluster.ctx, { terminatedThreshold: 2 });

test('pods of a node that has been gone for 40 s are failed and removed; a node that comes back keeps them', async () => {
  cluster.api.seed(pods, podOn('lost', 'n1'), podOn('kept', 'n2'));
  await cluster.start(podGc());
  await cluster.pass(20_000);
  await cluster.api.create(nodes, {}, { metadata: { name: 'n2' } });
  await cluster.pass(19_999);
  expect(names(pods)).toEqual(['lost', 'kept']);
  await cluster.pass(1);
  expect(names(pods)).toEqual(['kept']);
  const status = cluster.api.requests.find((r) => r.subresource === 'status');
  expect(status?.body).toMatchObject({
    status: { phase: 'Failed', conditions: [{ reason: 'DeletionByPodGC', message: 'PodGC: node no longer exists' }] },
  });
});

test('ended pods beyond the threshold go, oldest first', async () => {
  const ended = (name: string, day: number) => podOn(name, 'n1', { phase: 'Succeeded' }, `2026-01-0${day}T00:00:00Z`);
  cluster.api.seed(nodes, { metadata: { name: 'n1' } });
  cluster.api.seed(pods, ended('c', 3), ended('a', 1), ended('b', 2), podOn('runs', 'n1', { phase: 'Running' }));
  await cluster.start(podGc());
  expect(names(pods)).toEqual(['c', 'b', 'runs']);
});

test('a deleted pod goes at once when it was never bound or its node is out of service', async () => {
  const deleted = (pod: Pod): Pod => ({
    ...pod,
    metadata: { ...pod.metadata, deletionTimestamp: '2026-01-01T00:00:30Z', deletionGracePeriodSeconds: 30 },
  });
  const taints = [{ key: 'node.kubernetes.io/out-of-service', effect: 'NoExecute' as const }];
  cluster.api.seed(nodes, { metadata: { name: 'off' }, spec: { taints } }, { metadata: { name: 'on' } });
  cluster.api.seed(
    pods,
    deleted(podOn('unbound', undefined)),
    deleted(podOn('off', 'off')),
    deleted(podOn('on', 'on')),
  );
  await cluster.start(podGc());
  expect(names(pods)).toEqual(['on']);
  expect(await cluster.writesDuring(() => cluster.pass(600_000))).toEqual([]);
});

test('a pod that only its finalizers hold is not deleted again and again', async () => {
  const metadata = {
    name: 'held',
    namespace: 'default',
    finalizers: ['x'],
    deletionTimestamp: '2026-01-01T00:00:00Z',
    deletionGracePeriodSeconds: 0,
  };
  cluster.api.seed(pods, { metadata, spec: { containers: [] } });
  await cluster.start(podGc());
  expect(await cluster.writesDuring(() => cluster.pass(600_000))).toEqual([]);
});

// ---- bootstrap ----
