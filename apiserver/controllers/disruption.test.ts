import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Deployment, ReplicaSet } from '../../api/apps.ts';
import { formatTime } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import { deployments, podDisruptionBudgets, pods, replicaSets } from '../../api/resources.ts';
import { DisruptionController } from './disruption.ts';
import { FakeControlPlane, named } from './fake-control-plane.ts';

const labels = { app: 'web' };
const namespace = 'default';
const budget = (spec: PodDisruptionBudget['spec']): PodDisruptionBudget => ({
  metadata: { namespace, name: 'b', generation: 3 },
  spec: { selector: { matchLabels: labels }, ...spec },
});
const pod = (name: string, ready = true, more: Pod['metadata'] = {}): Pod => ({
  metadata: { namespace, name, labels, ...more },
  spec: { containers: [] },
  status: { phase: 'Running', conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
});
const owned = (kind: string, name: string, uid: string) => ({
  ownerReferences: [{ apiVersion: 'apps/v1', kind, name, uid, controller: true }],
});
/** A Deployment of `replicas` with the set that makes its pods. */
const workload = (replicas: number) => {
  const spec = { replicas, selector: { matchLabels: labels }, template: {} };
  const deployment: Deployment = { metadata: { namespace, name: 'web', uid: 'd' }, spec };
  const set: ReplicaSet = {
    metadata: { namespace, name: 'web-1', uid: 's', ...owned('Deployment', 'web', 'd') },
    spec: { ...spec, replicas: 1 },
  };
  cluster.api.seed(deployments, deployment);
  cluster.api.seed(replicaSets, set);
};
const replica = (name: string, ready = true) => pod(name, ready, owned('ReplicaSet', 'web-1', 's'));

let cluster: FakeControlPlane;
beforeEach(() => {
  cluster = new FakeControlPlane();
});
afterEach(async () => {
  await cluster.stop();
  expect(cluster.clock.sleeping).toBe(0);
});

const start = () => cluster.start(new DisruptionController(cluster.ctx));
const status = () => cluster.api.all(podDisruptionBudgets)[0]?.status;
const condition = () => status()?.conditions?.[0];

test('pods to keep: what is healthy beyond them may go; and then it rests', async () => {
  cluster.api.seed(podDisruptionBudgets, budget({ minAvailable: 1 }));
  cluster.api.seed(pods, pod('a'), pod('b'), pod('c', false), pod('other', true, { labels: { app: 'other' } }));
  await start();
  expect(status()).toMatchObject({
    observedGeneration: 3,
    expectedPods: 3,
    currentHealthy: 2,
    desiredHealthy: 1,
    disruptionsAllowed: 1,
  });
  expect(condition()).toMatchObject({ type: 'DisruptionAllowed', status: 'True', reason: 'SufficientPods' });
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('a pod that is no longer ready takes the disruption away', async () => {
  cluster.api.seed(podDisruptionBudgets, budget({ minAvailable: 1 }));
  const [a] = cluster.api.seed(pods, pod('a'), pod('b'));
  await start();
  expect(status()?.disruptionsAllowed).toBe(1);
  await cluster.setPodStatus(a!, { phase: 'Running', conditions: [{ type: 'Ready', status: 'False' }] });
  await cluster.settle();
  expect(status()?.disruptionsAllowed).toBe(0);
  expect(condition()).toMatchObject({ status: 'False', reason: 'InsufficientPods' });
});

test.each<[string, PodDisruptionBudget['spec'], number, number]>([
  ['a share of the pods there should be, rounded up', { minAvailable: '50%' }, 3, 1],
  ['a number that may be missing', { maxUnavailable: 1 }, 4, 0],
  ['a share that may be missing, rounded up', { maxUnavailable: '30%' }, 3, 1],
  ['all may be missing', { maxUnavailable: '100%' }, 0, 4],
])('%s', async (_name, spec, desiredHealthy, disruptionsAllowed) => {
  cluster.api.seed(podDisruptionBudgets, budget(spec));
  workload(5);
  cluster.api.seed(pods, ...['a', 'b', 'c', 'd'].map((name) => replica(name)));
  await start();
  expect(status()).toMatchObject({ expectedPods: 5, currentHealthy: 4, desiredHealthy, disruptionsAllowed });
});

test('scaling the owner changes what may go', async () => {
  cluster.api.seed(podDisruptionBudgets, budget({ maxUnavailable: 1 }));
  workload(2);
  cluster.api.seed(pods, replica('a'), replica('b'));
  await start();
  expect(status()?.disruptionsAllowed).toBe(1);
  const web = { namespace, name: 'web' };
  await cluster.api.patch(deployments, web, { type: 'merge', body: { spec: { replicas: 3 } } });
  await cluster.settle();
  expect(status()).toMatchObject({ desiredHealthy: 2, disruptionsAllowed: 0 });
});

test('an owner that is not known stops all disruptions', async () => {
  cluster.api.seed(podDisruptionBudgets, budget({ maxUnavailable: 1 }));
  cluster.api.seed(pods, pod('a', true, owned('Thing', 't', 'u')));
  await start();
  expect(status()?.disruptionsAllowed).toBe(0);
  expect(condition()).toMatchObject({
    status: 'False',
    reason: 'SyncFailed',
    message: 'found no controllers for pod "a"',
  });
});

test('an evicted pod is counted as gone for two minutes, or until it goes', async () => {
  const evicted = { disruptedPods: { a: formatTime(cluster.clock.now()), gone: formatTime(cluster.clock.now()) } };
  const counts = { currentHealthy: 2, desiredHealthy: 1, expectedPods: 2, disruptionsAllowed: 0 };
  cluster.api.seed(podDisruptionBudgets, { ...budget({ minAvailable: 1 }), status: { ...counts, ...evicted } });
  cluster.api.seed(pods, pod('a'), pod('b'));
  await start();
  expect(status()).toMatchObject({ currentHealthy: 1, disruptionsAllowed: 0 });
  expect(Object.keys(status()?.disruptedPods ?? {})).toEqual(['a']);
  await cluster.pass(120_000);
  expect(status()).toMatchObject({ currentHealthy: 2, disruptionsAllowed: 1 });
  expect(status()?.disruptedPods).toBeUndefined();
  expect(named(cluster.api.all(pods), 'a').metadata?.deletionTimestamp).toBeUndefined();
});
