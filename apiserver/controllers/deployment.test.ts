import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Deployment, DeploymentSpec, ReplicaSet } from '../../api/apps.ts';
import { deployments, pods, replicaSets } from '../../api/resources.ts';
import { DeploymentController } from './deployment.ts';
import * as math from './deployment-math.ts';
import { FakeControlPlane, isReady } from './fake-control-plane.ts';
import { ReplicaSetController } from './replicaset.ts';

const labels = { app: 'web' };
const web = { namespace: 'default', name: 'web' };
const template = (image: string) => ({ metadata: { labels }, spec: { containers: [{ name: 'c', image }] } });

const deployment = (replicas: number, spec: Partial<DeploymentSpec> = {}): Deployment => ({
  metadata: web,
  spec: {
    replicas,
    selector: { matchLabels: labels },
    template: template('v1'),
    progressDeadlineSeconds: 600,
    ...spec,
  } as DeploymentSpec,
});

let cluster: FakeControlPlane;
beforeEach(() => {
  cluster = new FakeControlPlane();
});
afterEach(async () => {
  await cluster.stop();
  expect(cluster.clock.sleeping).toBe(0);
});

async function start(d: Deployment): Promise<void> {
  cluster.api.seed(deployments, d);
  await cluster.start(new DeploymentController(cluster.ctx), new ReplicaSetController(cluster.ctx));
  await cluster.pass(50);
}
const current = () => cluster.api.all(deployments)[0]!;
const sets = () => cluster.api.all(replicaSets);
const setOf = (image: string) => sets().find((rs) => rs.spec?.template?.spec?.containers[0]?.image === image);
const sizes = () =>
  Object.fromEntries(sets().map((rs) => [rs.spec?.template?.spec?.containers[0]?.image, rs.spec?.replicas]));
const progressing = () => current().status?.conditions?.find((c) => c.type === 'Progressing');
async function change(spec: object): Promise<void> {
  await cluster.api.patch(deployments, web, { type: 'merge', body: { spec } });
  await cluster.pass(50);
}
/** Lets pods become ready, one batch after the other, until nothing moves; calls `watch` after each step. */
async function rollOut(watch: () => void = () => {}): Promise<void> {
  for (let i = 0; i < 30; i++) {
    watch();
    // A node's agent ends what is being deleted at once.
    await cluster.makePodsReady();
    await cluster.pass(50);
  }
}

test('a new Deployment makes one set with a hash, a revision and its pods, and then rests', async () => {
  await start(deployment(3));
  const [rs] = sets();
  expect(sets()).toHaveLength(1);
  expect(rs!.metadata?.name).toMatch(/^web-[bcdfghjklmnpqrstvwxz2456789]{1,10}$/);
  expect(rs!.metadata?.annotations).toMatchObject({
    [math.REVISION]: '1',
    [math.DESIRED_REPLICAS]: '3',
    [math.MAX_REPLICAS]: '4',
  });
  expect(current().metadata?.annotations?.[math.REVISION]).toBe('1');
  expect(progressing()).toMatchObject({ status: 'True', reason: 'ReplicaSetUpdated' });
  await rollOut();
  expect(current().status).toMatchObject({
    replicas: 3,
    updatedReplicas: 3,
    readyReplicas: 3,
    availableReplicas: 3,
    observedGeneration: 1,
  });
  expect(progressing()).toMatchObject({ status: 'True', reason: 'NewReplicaSetAvailable' });
  expect(cluster.events.filter((e) => e.reason === 'ScalingReplicaSet').map((e) => e.message)).toEqual([
    `Scaled up replica set ${rs!.metadata?.name} from 0 to 3`,
  ]);
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('a rolling update keeps within surge and unavailable at every step', async () => {
  await start(
    deployment(4, { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 1 } } }),
  );
  await rollOut();
  await change({ template: template('v2') });
  await rollOut(() => {
    expect(sets().reduce((n, rs) => n + (rs.spec?.replicas ?? 0), 0)).toBeLessThanOrEqual(5);
    expect(cluster.api.all(pods).filter(isReady).length).toBeGreaterThanOrEqual(3);
  });
  expect(sizes()).toEqual({ v1: 0, v2: 4 });
  expect(current().metadata?.annotations?.[math.REVISION]).toBe('2');
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('a rollout whose pods never get ready stops there and says so after the deadline', async () => {
  await start(deployment(4));
  await rollOut();
  await change({ template: template('broken') });
  expect(sizes()).toEqual({ v1: 3, broken: 2 });
  await cluster.pass(599_000);
  expect(progressing()?.status).toBe('True');
  await cluster.pass(3_000);
  expect(progressing()).toMatchObject({ status: 'False', reason: 'ProgressDeadlineExceeded' });
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('going back to a former template reuses its set with a new revision', async () => {
  await start(deployment(2));
  await rollOut();
  await change({ template: template('v2') });
  await rollOut();
  await change({ template: template('v1') });
  await rollOut();
  expect(sets()).toHaveLength(2);
  expect(sizes()).toEqual({ v1: 2, v2: 0 });
  expect(setOf('v1')?.metadata?.annotations).toMatchObject({ [math.REVISION]: '3', [math.REVISION_HISTORY]: '1' });
  expect(current().metadata?.annotations?.[math.REVISION]).toBe('3');
});

test('old sets beyond revisionHistoryLimit are removed, the oldest revision first', async () => {
  await start(deployment(1, { revisionHistoryLimit: 1 }));
  await rollOut();
  for (const image of ['v2', 'v3']) {
    await change({ template: template(image) });
    await rollOut();
  }
  expect(sizes()).toEqual({ v2: 0, v3: 1 });
});

test('scaling in the middle of a rollout is shared out over the sets', async () => {
  await start(
    deployment(10, { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } } }),
  );
  await rollOut();
  await change({ template: template('broken') });
  expect(sizes()).toEqual({ v1: 8, broken: 5 });
  await change({ replicas: 20 });
  const total = sets().reduce((n, rs) => n + (rs.spec?.replicas ?? 0), 0);
  expect(total).toBe(23);
  expect(sizes()).toEqual({ v1: 14, broken: 9 });
});

test('Recreate never has pods of two templates side by side', async () => {
  await start(deployment(2, { strategy: { type: 'Recreate' } }));
  for (const pod of cluster.api.all(pods)) {
    const bound = { type: 'merge', body: { spec: { nodeName: 'n1', terminationGracePeriodSeconds: 30 } } } as const;
    await cluster.api.patch(pods, { namespace: 'default', name: pod.metadata!.name! }, bound);
  }
  await rollOut();
  const old = cluster.api.all(pods);
  await change({ template: template('v2') });
  await cluster.pass(1_000);
  expect(setOf('v2')).toBeUndefined();
  expect(cluster.api.all(pods)).toHaveLength(2); // being deleted, not gone
  await cluster.api.delete(pods, { namespace: 'default', name: old[0]!.metadata!.name! }, { gracePeriodSeconds: 0 });
  await cluster.pass(1_000);
  expect(setOf('v2')).toBeUndefined();
  await cluster.api.delete(pods, { namespace: 'default', name: old[1]!.metadata!.name! }, { gracePeriodSeconds: 0 });
  await cluster.pass(1_000);
  expect(sizes()).toEqual({ v1: 0, v2: 2 });
  await rollOut();
  expect(current().status?.availableReplicas).toBe(2);
});

test('paused: no rollout, but scaling; resumed: the rollout goes on', async () => {
  await start(deployment(2));
  await rollOut();
  await change({ paused: true, template: template('v2') });
  expect(progressing()).toMatchObject({ status: 'Unknown', reason: 'DeploymentPaused' });
  await change({ replicas: 3 });
  await rollOut();
  expect(sizes()).toEqual({ v1: 3 });
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
  await change({ paused: false });
  await rollOut();
  expect(sizes()).toEqual({ v1: 0, v2: 3 });
});

test('a set of another template under the same name makes the Deployment count a collision and take another name', async () => {
  const d = deployment(1);
  const taken = `web-${math.templateHash(d.spec?.template, undefined)}`;
  const other: ReplicaSet = {
    metadata: { name: taken, namespace: 'default' },
    spec: { replicas: 0, selector: { matchLabels: { app: 'other' } } },
  };
  cluster.api.seed(replicaSets, other);
  await start(d);
  await cluster.pass(1_000);
  expect(current().status?.collisionCount).toBe(1);
  expect(sets().map((rs) => rs.metadata?.name)).toContain(`web-${math.templateHash(d.spec?.template, 1)}`);
  expect(sets()).toHaveLength(2);
});

test('a pod that fails long after the rollout does not start its deadline again', async () => {
  await start(deployment(2));
  await rollOut();
  const [pod] = cluster.api.all(pods);
  await cluster.setPodStatus(pod!, { phase: 'Running', conditions: [{ type: 'Ready', status: 'False' }] });
  await cluster.pass(3_600_000);
  expect(progressing()).toMatchObject({ status: 'True', reason: 'NewReplicaSetAvailable' });
  expect(current().status?.availableReplicas).toBe(1);
});

test('scaled to zero and back', async () => {
  await start(deployment(3));
  await rollOut();
  await change({ replicas: 0 });
  await rollOut();
  expect(cluster.api.all(pods)).toHaveLength(0);
  expect(current().status?.replicas ?? 0).toBe(0);
  await change({ replicas: 2 });
  await rollOut();
  expect(current().status?.availableReplicas).toBe(2);
});
