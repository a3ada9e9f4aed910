import type { ResourceQuota } from 'kubernetes-types/core/v1.js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { configMaps, events, pods, services } from '../../api/resources.ts';
import { resourceQuotas } from '../quota/quotas.ts';
import { FakeControlPlane } from './fake-control-plane.ts';
import { ResourceQuotaController } from './resource-quota.ts';

const namespace = 'default';
const name = { namespace, name: 'q' };
const hard = { cpu: '2', pods: '5', configmaps: '3' };
const quota: ResourceQuota = { metadata: name, spec: { hard } };
const pod = (podName: string, more: Partial<Pod> = {}): Pod => ({
  metadata: { namespace, name: podName },
  spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: '300m' } } }] },
  ...more,
});

let cluster: FakeControlPlane;
beforeEach(() => {
  cluster = new FakeControlPlane();
});
afterEach(async () => {
  await cluster.stop();
  expect(cluster.clock.sleeping).toBe(0);
});

const start = () =>
  cluster.start(new ResourceQuotaController(cluster.ctx, [pods, services, configMaps, events, resourceQuotas]));
const status = () => cluster.api.all(resourceQuotas)[0]?.status;

test('counts what is there, follows what comes and goes, and then rests', async () => {
  cluster.api.seed(resourceQuotas, quota);
  const [first] = cluster.api.seed(
    pods,
    pod('a'),
    pod('b'),
    pod('elsewhere', { metadata: { namespace: 'x', name: 'p' } }),
  );
  await start();
  expect(status()).toEqual({ hard, used: { cpu: '600m', pods: '2', configmaps: '0' } });
  await cluster.api.create(configMaps, { namespace }, { metadata: { name: 'c' } });
  await cluster.settle();
  expect(status()?.used?.configmaps).toBe('1');
  await cluster.api.delete(configMaps, { namespace, name: 'c' });
  await cluster.setPodStatus(first!, { phase: 'Succeeded' });
  await cluster.settle();
  expect(status()?.used).toEqual({ cpu: '300m', pods: '1', configmaps: '0' });
  await cluster.pass(1_000); // its own write is looked at once more
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('gives back what was charged for and never came', async () => {
  cluster.api.seed(resourceQuotas, quota);
  await start();
  const used = { cpu: '300m', pods: '1', configmaps: '0' };
  await cluster.api.patch(
    resourceQuotas,
    name,
    { type: 'merge', body: { status: { used } } },
    { subresource: 'status' },
  );
  await cluster.settle();
  expect(status()?.used).toEqual(used); // it may still come
  await cluster.pass(1_000);
  expect(status()?.used).toEqual({ cpu: '0', pods: '0', configmaps: '0' });
});

test('another limit shows at once', async () => {
  cluster.api.seed(resourceQuotas, quota);
  await start();
  await cluster.api.patch(resourceQuotas, name, {
    type: 'json',
    body: [{ op: 'replace', path: '/spec/hard', value: { pods: '9' } }],
  });
  await cluster.settle();
  expect(status()).toEqual({ hard: { pods: '9' }, used: { pods: '0' } });
});
