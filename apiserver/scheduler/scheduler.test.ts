import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import type { Pod, PodSpec } from '../../api/pod.ts';
import { nodes, pods, replicaSets } from '../../api/resources.ts';
import { connectionError } from '../../client/errors.ts';
import { failure } from '../../client/fake-client.ts';
import { FakeControlPlane, named } from '../controllers/fake-control-plane.ts';
import { Scheduler } from './scheduler.ts';

let cluster: FakeControlPlane;
beforeEach(() => {
  cluster = new FakeControlPlane();
});
afterEach(async () => {
  await cluster.stop();
  expect(cluster.clock.sleeping).toBe(0);
});

const HOSTNAME = 'kubernetes.io/hostname';
const node = (name: string, spec: Node['spec'] = {}, labels = {}, cpu = '4'): Node => ({
  metadata: { name, labels: { [HOSTNAME]: name, ...labels } },
  spec,
  status: { allocatable: { cpu, memory: '8Gi', pods: '110' } },
});
const pod = (name: string, spec: Partial<PodSpec> = {}, labels: Record<string, string> = { app: 'web' }): Pod => ({
  metadata: { name, namespace: 'default', labels },
  spec: { containers: [{ name: 'c', image: 'i' }], ...spec },
});
const asking = (cpu: string): Partial<PodSpec> => ({
  containers: [{ name: 'c', image: 'i', resources: { requests: { cpu } } }],
});

/** Starts the scheduler on an API server that binds. */
async function start(): Promise<void> {
  cluster.api.onCreateSubresource('pods', 'binding', (name, binding) => {
    const { target } = binding as { target: { name: string } } & typeof binding;
    const current = named(cluster.api.all(pods), name.name);
    if (current.spec?.nodeName)
      throw failure(409, `pod ${name.name} is already assigned to node "${current.spec.nodeName}"`);
    void cluster.api.patch(pods, { ...name }, { type: 'merge', body: { spec: { nodeName: target.name } } });
    return binding;
  });
  await cluster.start(new Scheduler(cluster.ctx, () => 0));
}
const nodeOf = (name: string) => named(cluster.api.all(pods), name).spec?.nodeName;
const perNode = () => {
  const counts: Record<string, number> = {};
  for (const p of cluster.api.all(pods)) counts[p.spec?.nodeName ?? ''] = (counts[p.spec?.nodeName ?? ''] ?? 0) + 1;
  return counts;
};
const why = (name: string) =>
  named(cluster.api.all(pods), name).status?.conditions?.find((c) => c.type === 'PodScheduled');
const HELPLESS = 'preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.';
const NO_VICTIMS = 'preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.';

test('binds a pod, says so, and then rests', async () => {
  cluster.api.seed(nodes, node('n1'));
  cluster.api.seed(pods, pod('p'));
  await start();
  expect(nodeOf('p')).toBe('n1');
  expect(cluster.events).toEqual([
    { about: 'p', reason: 'Scheduled', message: 'Successfully assigned default/p to n1' },
  ]);
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

const term = { topologyKey: HOSTNAME, labelSelector: { matchLabels: { app: 'db' } } };
const required = (...terms: object[]) => ({ requiredDuringSchedulingIgnoredDuringExecution: terms as never });
const elsewhere = {
  requiredDuringSchedulingIgnoredDuringExecution: {
    nodeSelectorTerms: [{ matchExpressions: [{ key: 'disk', operator: 'In', values: ['ssd'] }] }],
  },
};
const spread = (topologyKey: string) => ({
  topologySpreadConstraints: [
    {
      topologyKey,
      maxSkew: 1,
      whenUnsatisfiable: 'DoNotSchedule' as const,
      labelSelector: { matchLabels: { app: 'web' } },
    },
  ],
});
const hostPort = { containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 80, hostPort: 80 }] }] };

describe('reasons', () => {
  test.each<[string, Node, Pod[], Pod, string, string]>([
    ['cordon', node('n', { unschedulable: true }), [], pod('p'), 'node(s) were unschedulable', HELPLESS],
    [
      'taint',
      node('n', { taints: [{ key: 'a', effect: 'NoExecute' }] }),
      [],
      pod('p'),
      'node(s) had untolerated taint(s)',
      HELPLESS,
    ],
    [
      'selector',
      node('n'),
      [],
      pod('p', { nodeSelector: { disk: 'ssd' } }),
      "node(s) didn't match Pod's node affinity/selector",
      HELPLESS,
    ],
    [
      'affinity',
      node('n'),
      [],
      pod('p', { affinity: { nodeAffinity: elsewhere } }),
      "node(s) didn't match Pod's node affinity/selector",
      HELPLESS,
    ],
    [
      'port',
      node('n'),
      [pod('q', hostPort)],
      pod('p', hostPort),
      "node(s) didn't have free ports for the requested pod ports",
      NO_VICTIMS,
    ],
    ['cpu', node('n'), [pod('q', asking('3'))], pod('p', asking('2')), 'Insufficient cpu', NO_VICTIMS],
    [
      'spread',
      node('n'),
      [],
      pod('p', spread('rack')),
      "node(s) didn't match pod topology spread constraints (missing required label)",
      HELPLESS,
    ],
    [
      'join',
      node('n'),
      [],
      pod('p', { affinity: { podAffinity: required(term) } }),
      "node(s) didn't match pod affinity rules",
      HELPLESS,
    ],
    [
      'avoid',
      node('n'),
      [pod('q', {}, { app: 'db' })],
      pod('p', { affinity: { podAntiAffinity: required(term) } }),
      "node(s) didn't match pod anti-affinity rules",
      NO_VICTIMS,
    ],
    [
      'avoided',
      node('n'),
      [pod('q', { affinity: { podAntiAffinity: required(term) } })],
      pod('p', {}, { app: 'db' }),
      "node(s) didn't satisfy existing pods anti-affinity rules",
      NO_VICTIMS,
    ],
  ])('%s', async (_what, n, running, p, reason, preemption) => {
    cluster.api.seed(nodes, n);
    cluster.api.seed(pods, ...running.map((r) => ({ ...r, spec: { ...r.spec!, nodeName: 'n' } })), p);
    await start();
    const message = `0/1 nodes are available: 1 ${reason}. ${preemption}`;
    expect(why('p')).toMatchObject({ status: 'False', reason: 'Unschedulable', message });
    expect(cluster.events).toEqual([{ about: 'p', reason: 'FailedScheduling', message }]);
    expect(cluster.writes()).toEqual(['patch pods/status']);
  });
});

test('several reasons are counted and sorted as text; without nodes there is nothing to count', async () => {
  cluster.api.seed(pods, pod('p', asking('5')));
  await start();
  expect(why('p')?.message).toBe('no nodes available to schedule pods');
  await cluster.api.create(nodes, {}, node('n1'));
  await cluster.api.create(nodes, {}, node('n2'));
  await cluster.api.create(nodes, {}, node('n3', { unschedulable: true }));
  await cluster.pass(20_000);
  expect(why('p')?.message).toBe(
    '0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu. preemption: 0/3 nodes are available: ' +
      '1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod.',
  );
});

test('too many pods', async () => {
  cluster.api.seed(nodes, { ...node('n'), status: { allocatable: { cpu: '4', memory: '1Gi', pods: '1' } } });
  cluster.api.seed(pods, pod('a'), pod('b'));
  await start();
  expect(why('b')?.message).toContain('1 Too many pods');
});

test('the pods of one ReplicaSet are spread over the nodes', async () => {
  cluster.api.seed(nodes, node('n1'), node('n2'));
  const [rs] = cluster.api.seed(replicaSets, {
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector: { matchLabels: { app: 'web' } } },
  });
  const ownerReferences = [
    { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web', uid: rs!.metadata!.uid!, controller: true },
  ];
  const owned = (i: number): Pod => ({
    ...pod(`web-${i}`),
    metadata: { ...pod(`web-${i}`).metadata, ownerReferences },
  });
  cluster.api.seed(pods, ...Array.from({ length: 6 }, (_, i) => owned(i)));
  await start();
  expect(perNode()).toEqual({ n1: 3, n2: 3 });
});

test('DoNotSchedule keeps the skew; a pod of the group that cannot be placed waits', async () => {
  cluster.api.seed(nodes, node('n1', {}, { zone: 'a' }), node('n2', {}, { zone: 'b' }, '1'));
  cluster.api.seed(
    pods,
    ...Array.from({ length: 5 }, (_, i) => pod(`p${i}`, { ...spread('zone'), ...asking('500m') })),
  );
  await start();
  expect(perNode()).toEqual({ n1: 3, n2: 2 });
  await cluster.api.create(pods, { namespace: 'default' }, pod('p5', { ...spread('zone'), ...asking('500m') }));
  await cluster.settle();
  expect(nodeOf('p5')).toBeUndefined();
});

test('a group that wants to be together is: the first may go anywhere, the others join it', async () => {
  cluster.api.seed(nodes, node('n1'), node('n2'), node('n3'));
  const together = { affinity: { podAffinity: required(term) } };
  cluster.api.seed(pods, ...['a', 'b', 'c'].map((name) => pod(name, together, { app: 'db' })));
  await start();
  expect(new Set([nodeOf('a'), nodeOf('b'), nodeOf('c')]).size).toBe(1);
});

test('of several terms one and the same pod must satisfy all, in the domain of each', async () => {
  const ssd = { ...term, labelSelector: { matchLabels: { disk: 'ssd' } } };
  const bound = (name: string, nodeName: string, labels: Record<string, string>) => pod(name, { nodeName }, labels);
  const asks = (name: string, labels: Record<string, string>, ...terms: object[]) =>
    pod(name, { affinity: { podAffinity: required(...terms) } }, labels);
  cluster.api.seed(nodes, node('n1'));
  cluster.api.seed(pods, bound('one', 'n1', { app: 'db' }), bound('other', 'n1', { disk: 'ssd' }));
  cluster.api.seed(pods, asks('joins', { app: 'web' }, term, ssd));
  await start();
  expect(why('joins')?.message).toContain("1 node(s) didn't match pod affinity rules");
  cluster.api.seed(nodes, node('n2', {}, { zone: 'a' }));
  cluster.api.seed(pods, bound('both', 'n2', { app: 'db', disk: 'ssd' }));
  cluster.api.seed(pods, asks('zoned', {}, term, { ...ssd, topologyKey: 'zone' }));
  cluster.api.seed(pods, asks('nowhere', { app: 'db', disk: 'ssd' }, term, { ...ssd, topologyKey: 'rack' }));
  await cluster.pass(60_000);
  expect([nodeOf('joins'), nodeOf('zoned'), nodeOf('nowhere')]).toEqual(['n2', 'n2', undefined]);
});

test('nodeSelectorTerms are alternatives, the expressions within one are not', async () => {
  const exists = (key: string) => ({ key, operator: 'Exists' });
  const select = (...terms: string[][]) => ({
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: terms.map((keys) => ({ matchExpressions: keys.map(exists) })),
        },
      },
    },
  });
  cluster.api.seed(nodes, node('n1', {}, { a: '', b: '' }), node('n2', {}, { c: '' }));
  cluster.api.seed(
    pods,
    pod('and', select(['a', 'c'])),
    pod('or', select(['a', 'c'], ['a', 'b'])),
    pod('c', select(['c'], ['x'])),
  );
  await start();
  expect([nodeOf('and'), nodeOf('or'), nodeOf('c')]).toEqual([undefined, 'n1', 'n2']);
});

test('the condition of a pod that fits nowhere tells of which generation it speaks', async () => {
  cluster.api.seed(nodes, node('n1', { unschedulable: true }));
  cluster.api.seed(pods, { ...pod('p'), metadata: { ...pod('p').metadata, generation: 3 } });
  await start();
  expect(why('p')).toMatchObject({ status: 'False', reason: 'Unschedulable', observedGeneration: 3 });
});

test('affinity looks into its own namespace, unless a namespaceSelector opens others', async () => {
  const open = { ...term, namespaceSelector: {} };
  cluster.api.seed(nodes, node('n1'));
  cluster.api.seed(pods, {
    ...pod('db', {}, { app: 'db' }),
    metadata: { name: 'db', namespace: 'other', labels: { app: 'db' } },
    spec: { nodeName: 'n1', containers: [] },
  });
  cluster.api.seed(
    pods,
    pod('closed', { affinity: { podAffinity: required(term) } }),
    pod('open', { affinity: { podAffinity: required(open) } }),
  );
  await start();
  expect([nodeOf('closed'), nodeOf('open')]).toEqual([undefined, 'n1']);
});

test('host ports keep pods apart', async () => {
  cluster.api.seed(nodes, node('n1'), node('n2'));
  cluster.api.seed(pods, pod('a', hostPort), pod('b', hostPort), pod('c', hostPort));
  await start();
  expect(perNode()).toEqual({ n1: 1, n2: 1, '': 1 });
});

test('the higher priority goes first', async () => {
  cluster.api.seed(nodes, node('n1', {}, {}, '1'));
  cluster.api.seed(pods, pod('low', asking('1')), pod('high', { ...asking('1'), priority: 10 }));
  await start();
  expect([nodeOf('low'), nodeOf('high')]).toEqual([undefined, 'n1']);
});

test('pods of other schedulers, gated, deleted and bound ones are left alone', async () => {
  cluster.api.seed(nodes, node('n1'));
  cluster.api.seed(pods, pod('other', { schedulerName: 'mine' }), pod('gated', { schedulingGates: [{ name: 'g' }] }), {
    ...pod('deleted'),
    metadata: { name: 'deleted', namespace: 'default', deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['x'] },
  });
  await start();
  expect(cluster.writes()).toEqual([]);
  await cluster.api.patch(
    pods,
    { namespace: 'default', name: 'gated' },
    { type: 'merge', body: { spec: { schedulingGates: null } } },
  );
  await cluster.settle();
  expect(nodeOf('gated')).toBe('n1');
});

test('a node that appears is tried after the back-off, counted from the last attempt', async () => {
  cluster.api.seed(pods, pod('p'), pod('q'));
  await start();
  await cluster.api.create(nodes, {}, node('n1'));
  await cluster.pass(999);
  expect(nodeOf('p')).toBeUndefined();
  await cluster.pass(1);
  expect([nodeOf('p'), nodeOf('q')]).toEqual(['n1', 'n1']);
  await cluster.api.create(pods, { namespace: 'default' }, pod('big', asking('6')));
  await cluster.pass(30_000);
  await cluster.api.create(nodes, {}, node('n2', {}, {}, '8'));
  await cluster.settle();
  expect(nodeOf('big')).toBe('n2'); // its back-off was over long ago
});

test('heartbeats of a full node do not make waiting pods try again', async () => {
  cluster.api.seed(nodes, node('n1'));
  cluster.api.seed(pods, pod('p', asking('8')));
  await start();
  const before = cluster.events.length;
  for (let i = 0; i < 10; i++) {
    const body = { status: { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: String(i) }] } };
    await cluster.api.patch(nodes, { name: 'n1' }, { type: 'merge', body }, { subresource: 'status' });
    await cluster.pass(10_000);
  }
  expect(cluster.events).toHaveLength(before);
});

test('a pod that ends makes room', async () => {
  cluster.api.seed(nodes, node('n1'));
  const [first] = cluster.api.seed(pods, pod('first', asking('4')), pod('second', asking('4')));
  await start();
  expect([nodeOf('first'), nodeOf('second')]).toEqual(['n1', undefined]);
  await cluster.setPodStatus(first!, { phase: 'Succeeded' });
  await cluster.pass(1_000);
  expect(nodeOf('second')).toBe('n1');
});

test('100 pods at once on two nodes never exceed what the nodes have', async () => {
  cluster.api.seed(nodes, node('n1'), node('n2'));
  cluster.api.seed(pods, ...Array.from({ length: 100 }, (_, i) => pod(`p${i}`, asking('100m'))));
  await start();
  await cluster.pass(60_000);
  expect(perNode()).toEqual({ n1: 40, n2: 40, '': 20 });
});

test('a pod that somebody else bound meanwhile is counted there, and the assumption forgotten', async () => {
  cluster.api.seed(nodes, node('n1'), node('n2', {}, {}, '1'));
  cluster.api.seed(pods, pod('p', asking('1')));
  cluster.api.onCreateSubresource('pods', 'binding', (name) => {
    void cluster.api.patch(pods, { ...name }, { type: 'merge', body: { spec: { nodeName: 'n2' } } });
    throw failure(409, 'pod p is already assigned to node "n2"');
  });
  await cluster.start(new Scheduler(cluster.ctx, () => 0));
  expect(why('p')).toBeUndefined();
  cluster.api.onCreateSubresource('pods', 'binding', (name, binding) => {
    const { target } = binding as { target: { name: string } } & typeof binding;
    void cluster.api.patch(pods, { ...name }, { type: 'merge', body: { spec: { nodeName: target.name } } });
    return binding;
  });
  await cluster.api.create(pods, { namespace: 'default' }, pod('q', asking('4')));
  await cluster.settle();
  expect(nodeOf('q')).toBe('n1'); // all of n1 is free, none of n2
});

test('a binding that fails is tried again', async () => {
  cluster.api.seed(nodes, node('n1'));
  cluster.api.seed(pods, pod('p'));
  cluster.api.failNext('create', connectionError(new Error('reset'), 'bind'), 'pods');
  await start();
  expect(why('p')?.reason).toBe('SchedulerError');
  await cluster.pass(1_000);
  expect(nodeOf('p')).toBe('n1');
});

test('1,000 pods on 50 nodes (figure printed, not judged)', async () => {
  cluster.api.seed(nodes, ...Array.from({ length: 50 }, (_, i) => node(`n${i}`, {}, { zone: `z${i % 3}` })));
  cluster.api.seed(pods, ...Array.from({ length: 1000 }, (_, i) => pod(`p${i}`, asking('10m'))));
  const startMs = performance.now();
  await start();
  process.stdout.write(`1,000 pods on 50 nodes: ${Math.round(performance.now() - startMs)} ms, fake API included\n`);
  expect(Object.values(perNode())).toEqual(Array(50).fill(20));
});

describe('pods that are being resized', () => {
  const amounts = (cpu: string) => ({ requests: { cpu } });
  const reported = (has: string, promised = has) => ({
    name: 'c',
    image: 'i',
    imageID: '',
    ready: true,
    restartCount: 0,
    resources: amounts(has),
    allocatedResources: { cpu: promised },
  });
  const running = (wants: string, has: string, promised?: string): Pod => ({
    ...pod('resized', { ...asking(wants), nodeName: 'n' }),
    status: { phase: 'Running', containerStatuses: [reported(has, promised)] },
  });

  test.each([
    ['what it wants', running('3', '1')],
    ['what it was promised', running('1', '1', '3')],
    ['what it still has', running('1', '3', '1')],
  ])('count for %s', async (_name, resized) => {
    cluster.api.seed(nodes, node('n'));
    cluster.api.seed(pods, resized, pod('p', asking('2')));
    await start();
    expect(nodeOf('p')).toBeUndefined();
    expect(why('p')?.message).toContain('Insufficient cpu');
  });

  test('count for what they have once the node says that it can never be', async () => {
    const refused = { type: 'PodResizePending', status: 'True', reason: 'Infeasible' };
    const resized = running('100', '1');
    cluster.api.seed(nodes, node('n'));
    cluster.api.seed(pods, { ...resized, status: { ...resized.status, conditions: [refused] } });
    cluster.api.seed(pods, pod('p', asking('2')));
    await start();
    expect(nodeOf('p')).toBe('n');
  });

  test('make room for others when they are smaller', async () => {
    cluster.api.seed(nodes, node('n'));
    cluster.api.seed(pods, running('1', '3'), pod('p', asking('2')));
    await start();
    expect(nodeOf('p')).toBeUndefined();
    const name = { namespace: 'default', name: 'resized' };
    const body = { status: { containerStatuses: [reported('1')] } };
    await cluster.api.patch(pods, name, { type: 'merge', body }, { subresource: 'status' });
    await cluster.pass(1_000);
    expect(nodeOf('p')).toBe('n');
  });
});
