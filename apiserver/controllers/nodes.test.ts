// Node IPAM, node lifecycle and taint eviction together: what happens to a node and its pods.
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Node, NodeCondition } from '../../api/kinds.ts';
import type { Pod, Toleration } from '../../api/pod.ts';
import { leases, nodes, pods } from '../../api/resources.ts';
import { connectionError } from '../../client/errors.ts';
import { FakeControlPlane, isReady, named } from './fake-control-plane.ts';
import { NodeIpamController } from './node-ipam.ts';
import { NodeLifecycleController } from './node-lifecycle.ts';
import { evictionTime, TaintEvictionController } from './taint-eviction.ts';

let cluster: FakeControlPlane;
beforeEach(() => {
  cluster = new FakeControlPlane();
});
afterEach(async () => {
  await cluster.stop();
  expect(cluster.clock.sleeping).toBe(0);
});

const cidrs = () => Object.fromEntries(cluster.api.all(nodes).map((n) => [n.metadata?.name, n.spec?.podCIDR]));
const ipam = (clusterCidr = '10.244.0.0/16', serviceCidr?: string) =>
  new NodeIpamController(cluster.ctx, { clusterCidr, nodeMaskSize: 24, ...(serviceCidr && { serviceCidr }) });
const node = (name: string, more: Partial<Node> = {}): Node => ({ metadata: { name }, ...more });

test('every node gets the lowest free block, those of before a restart are kept', async () => {
  cluster.api.seed(
    nodes,
    node('old', { spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24'] } }),
    node('a'),
    node('b'),
  );
  await cluster.start(ipam());
  expect(cidrs()).toEqual({ old: '10.244.1.0/24', a: '10.244.0.0/24', b: '10.244.2.0/24' });
  expect(cluster.api.all(nodes)[1]?.spec?.podCIDRs).toEqual(['10.244.0.0/24']);
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('an answer that is lost does not cost a block', async () => {
  const patch = cluster.api.patch.bind(cluster.api);
  let lost = true;
  cluster.api.patch = async (type, name, body, opts) => {
    const result = await patch(type, name, body, opts);
    if (!lost) return result;
    lost = false;
    throw connectionError(new Error('reset'), 'patch');
  };
  cluster.api.seed(nodes, node('a'));
  await cluster.start(ipam());
  await cluster.api.create(nodes, {}, node('b'));
  await cluster.pass(100);
  expect(cidrs()).toEqual({ a: '10.244.0.0/24', b: '10.244.1.0/24' });
});

test('with no block left the node says so, and gets the one of a node that goes', async () => {
  cluster.api.seed(nodes, node('a'), node('b'));
  await cluster.start(ipam('10.244.0.0/24'));
  expect(cidrs()).toEqual({ a: '10.244.0.0/24', b: undefined });
  expect(cluster.events[0]).toMatchObject({
    about: 'b',
    reason: 'CIDRNotAvailable',
    message: 'Node b status is now: CIDRNotAvailable',
  });
  await cluster.api.delete(nodes, { name: 'a' });
  await cluster.settle();
  expect(cidrs()).toEqual({ b: '10.244.0.0/24' });
});

test('blocks inside the Service range, or inside a bigger block of another node, are not handed out', async () => {
  cluster.api.seed(nodes, node('big', { spec: { podCIDR: '10.244.2.0/23' } }), node('a'));
  await cluster.start(ipam('10.244.0.0/16', '10.244.0.0/23'));
  expect(cidrs().a).toBe('10.244.4.0/24');
});

// ---- lifecycle ----

const UNKNOWN = ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'];
const lifecycle = () =>
  new NodeLifecycleController(cluster.ctx, { gracePeriodMs: 50_000, startupGracePeriodMs: 60_000 });
const conditions = (ready: string, at: number): NodeCondition[] =>
  UNKNOWN.map((type) => ({
    type,
    status: type === 'Ready' ? ready : 'False',
    lastHeartbeatTime: new Date(at).toISOString(),
  }));
const beat = (name: string, ready = 'True') =>
  cluster.api.patch(
    nodes,
    { name },
    { type: 'merge', body: { status: { conditions: conditions(ready, cluster.clock.now()) } } },
    { subresource: 'status' },
  );
const taints = (name: string) =>
  (named(cluster.api.all(nodes), name).spec?.taints ?? []).map((t) => `${t.key}:${t.effect}`).sort();
const boundPod = (name: string, tolerations: Toleration[] = []): Pod => ({
  metadata: { name, namespace: 'default' },
  spec: { nodeName: 'n1', terminationGracePeriodSeconds: 30, containers: [{ name: 'c', image: 'i' }], tolerations },
  status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
});
const readyNode = () => node('n1', { status: { conditions: conditions('True', cluster.clock.now()) } });
const UNREACHABLE = ['node.kubernetes.io/unreachable:NoExecute', 'node.kubernetes.io/unreachable:NoSchedule'];

test('a silent node becomes Unknown and tainted, its pods not ready; all of that ends when it is back', async () => {
  cluster.api.seed(nodes, readyNode());
  cluster.api.seed(pods, boundPod('p'));
  await cluster.start(lifecycle());
  await cluster.pass(49_999);
  expect(taints('n1')).toEqual([]);
  await cluster.pass(1_000);
  const n1 = cluster.api.all(nodes)[0]!;
  expect(n1.status?.conditions).toHaveLength(4);
  for (const c of n1.status!.conditions!) {
    expect(c).toMatchObject({
      status: 'Unknown',
      reason: 'NodeStatusUnknown',
      message: 'Kubelet stopped posting node status.',
    });
  }
  expect(taints('n1')).toEqual(UNREACHABLE);
  expect(n1.spec?.taints?.find((t) => t.effect === 'NoExecute')?.timeAdded).toBeDefined();
  expect(isReady(cluster.api.all(pods)[0]!)).toBe(false);
  expect(cluster.reasons()).toEqual(expect.arrayContaining(['RegisteredNode', 'NodeNotReady']));
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
  await beat('n1');
  await cluster.settle();
  expect(taints('n1')).toEqual([]);
});

test('a renewed lease is a sign of life, a lease touched without renewal is none', async () => {
  const lease = { namespace: 'kube-node-lease', name: 'n1' };
  cluster.api.seed(nodes, readyNode());
  cluster.api.seed(leases, { metadata: lease, spec: { renewTime: '1' } });
  await cluster.start(lifecycle());
  await cluster.pass(40_000);
  await cluster.api.patch(leases, lease, { type: 'merge', body: { spec: { renewTime: '2' } } });
  await cluster.pass(40_000);
  expect(taints('n1')).toEqual([]);
  await cluster.api.patch(leases, lease, { type: 'merge', body: { metadata: { labels: { a: 'b' } } } });
  await cluster.pass(15_000);
  expect(taints('n1')).toEqual(UNREACHABLE);
});

test('a node that never reported is left alone for its start-up time', async () => {
  cluster.api.seed(nodes, node('n1'));
  await cluster.start(lifecycle());
  await cluster.pass(59_000);
  expect(taints('n1')).toEqual([]);
  await cluster.pass(2_000);
  expect(cluster.api.all(nodes)[0]?.status?.conditions?.[0]).toMatchObject({
    status: 'Unknown',
    reason: 'NodeStatusNeverUpdated',
    message: 'Kubelet never posted node status.',
  });
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('an agent that says NotReady and still reports ready pods is not fought with', async () => {
  cluster.api.seed(nodes, readyNode());
  const [p] = cluster.api.seed(pods, boundPod('p'));
  await cluster.start(lifecycle());
  await beat('n1', 'False');
  await cluster.settle();
  expect(taints('n1')).toEqual(['node.kubernetes.io/not-ready:NoExecute', 'node.kubernetes.io/not-ready:NoSchedule']);
  expect(isReady(cluster.api.all(pods)[0]!)).toBe(false);
  await cluster.setPodStatus(p!, { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] });
  const written = await cluster.writesDuring(async () => {
    await cluster.pass(10_000);
    await beat('n1', 'False');
  });
  expect(written).toEqual(['patch nodes/status']); // the beat itself
});

test('cordon and pressure become NoSchedule taints, those of others stay', async () => {
  const own = { key: 'dedicated', value: 'gpu', effect: 'NoSchedule' as const };
  cluster.api.seed(nodes, { ...readyNode(), spec: { unschedulable: true, taints: [own] } });
  await cluster.start(lifecycle());
  expect(taints('n1')).toEqual(['dedicated:NoSchedule', 'node.kubernetes.io/unschedulable:NoSchedule']);
  await cluster.api.patch(nodes, { name: 'n1' }, { type: 'merge', body: { spec: { unschedulable: null } } });
  await cluster.settle();
  expect(taints('n1')).toEqual(['dedicated:NoSchedule']);
});

// ---- eviction ----

const noExecute = { key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' as const };
const tolerate = (seconds?: number): Toleration => ({
  key: noExecute.key,
  operator: 'Exists',
  effect: 'NoExecute',
  ...(seconds === undefined ? {} : { tolerationSeconds: seconds }),
});
const taint = (list: readonly object[]) =>
  cluster.api.patch(nodes, { name: 'n1' }, { type: 'merge', body: { spec: { taints: list } } });
const left = () =>
  cluster.api
    .all(pods)
    .filter((p) => p.metadata?.deletionTimestamp === undefined)
    .map((p) => p.metadata?.name);

test('pods leave a tainted node when they no longer tolerate it', async () => {
  cluster.api.seed(nodes, readyNode());
  cluster.api.seed(pods, boundPod('none'), boundPod('minute', [tolerate(60)]), boundPod('stays', [tolerate()]));
  await cluster.start(new TaintEvictionController(cluster.ctx));
  await taint([noExecute]);
  await cluster.settle();
  expect(left()).toEqual(['minute', 'stays']);
  expect(named(cluster.api.all(pods), 'none').status?.conditions).toContainEqual(
    expect.objectContaining({ type: 'DisruptionTarget', status: 'True', reason: 'DeletionByTaintManager' }),
  );
  await cluster.pass(59_999);
  expect(left()).toEqual(['minute', 'stays']);
  await cluster.pass(1);
  expect(left()).toEqual(['stays']);
  expect(cluster.events.map((e) => e.message)).toEqual([
    'Marking for deletion Pod default/none',
    'Marking for deletion Pod default/minute',
  ]);
  expect(await cluster.writesDuring(() => cluster.pass(3_600_000))).toEqual([]);
});

test('a taint that goes in time cancels the deletion', async () => {
  cluster.api.seed(nodes, readyNode());
  cluster.api.seed(pods, boundPod('minute', [tolerate(60)]));
  await cluster.start(new TaintEvictionController(cluster.ctx));
  await taint([noExecute]);
  await cluster.pass(30_000);
  await taint([]);
  await cluster.pass(60_000);
  expect(left()).toEqual(['minute']);
  expect(cluster.events).toEqual([
    { about: 'minute', reason: 'TaintManagerEviction', message: 'Cancelling deletion of Pod default/minute' },
  ]);
});

test.each([
  ['not tolerated', [], 'now'],
  ['tolerated for ever', [tolerate()], 'never'],
  ['the shortest of several counts', [tolerate(100), tolerate(10)], Date.UTC(2026, 0, 1) + 10_000],
  ['zero seconds', [tolerate(0)], 'now'],
])('eviction time: %s', (_what, tolerations, when) => {
  const timed = { ...noExecute, timeAdded: '2026-01-01T00:00:00Z' };
  expect(evictionTime(boundPod('p', tolerations as Toleration[]), [timed], 0)).toBe(when);
});
