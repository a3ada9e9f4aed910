import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { pods } from '../../api/resources.ts';
import { silentLog } from '../../core/log.ts';
import { FAKE_NODE, FakeAgent, fakePod } from '../fake-agent.ts';
import { newMetrics } from './fake-machine.ts';
import type { AllocationRefusal, ResourceHints, ResourceManager, TopologyHint } from './hint-provider.ts';
import { PodResources } from './pod-resources.ts';
import { TopologyManager } from './topology-manager.ts';

/** Pods that are called `own-…` want one of two things, which is given when the test says so. */
class SlowManager implements ResourceManager {
  readonly name = 'slow';
  readonly held = new Map<string, TopologyHint>();
  readonly asked: string[] = [];
  hints: ResourceHints = new Map();
  refusal: AllocationRefusal | Error | undefined;
  #waiting: (() => void)[] = [];
  isSlow = false;

  concerns(pod: Pod): boolean {
    return pod.metadata?.name?.startsWith('own-') === true;
  }

  /** What `own-late` waits for before it can be asked about. */
  readonly plugin = Promise.withResolvers<void>();

  awaited(pod: Pod): Promise<void> | undefined {
    return pod.metadata?.name === 'own-late' ? this.plugin.promise : undefined;
  }

  containerHints(): ResourceHints {
    return this.hints;
  }

  podHints(): ResourceHints {
    return this.hints;
  }

  async allocate(pod: Pod, _: unknown, hint: TopologyHint): Promise<AllocationRefusal | undefined> {
    this.asked.push(pod.metadata?.name ?? '');
    if (this.isSlow) await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    if (this.refusal instanceof Error) throw this.refusal;
    if (this.refusal !== undefined) return this.refusal;
    if (this.held.size >= 2 && !this.held.has(pod.metadata?.uid ?? '')) throw new Error('nothing left');
    this.held.set(pod.metadata?.uid ?? '', hint);
    return undefined;
  }

  answer(): void {
    this.#waiting.shift()?.();
  }

  grant(): undefined {}

  uids(): Iterable<string> {
    return this.held.keys();
  }

  forget(podUid: string): void {
    this.held.delete(podUid);
  }
}

function setUp(topology?: TopologyManager) {
  const manager = new SlowManager();
  const resources = new PodResources([manager], { aligner: topology, log: silentLog });
  return { manager, resources };
}

const phase = (agent: FakeAgent, name: string) => agent.stored(name)?.status?.phase;

test('a pod waits for what it is to have for itself, and those that come later wait for their turn', async () => {
  await using agent = new FakeAgent();
  const { manager, resources } = setUp();
  manager.isSlow = true;
  agent.start({}, { resources });
  agent.api.seed(pods, fakePod('own-1'));
  await agent.until(() => manager.asked.length === 1);
  agent.api.seed(pods, fakePod('plain'));
  agent.api.seed(pods, fakePod('own-2'));
  await agent.clock.advance(5000);
  expect(['uid-own-1', 'uid-plain'].filter((uid) => agent.runtime.isKnown(uid))).toEqual([]);
  expect(manager.asked).toEqual(['own-1']);
  manager.answer();
  await agent.untilReady('own-1');
  await agent.untilReady('plain');
  expect(phase(agent, 'own-2')).toBe('Pending');
  manager.answer();
  await agent.untilReady('own-2');
  expect([...manager.held.keys()]).toEqual(['uid-own-1', 'uid-own-2']);
});

test('a pod that waits for a plugin holds up no others, of which one may be the plugin itself', async () => {
  await using agent = new FakeAgent();
  const { manager, resources } = setUp();
  agent.start({}, { resources });
  agent.api.seed(pods, fakePod('own-late'));
  agent.api.seed(pods, fakePod('plain'));
  agent.api.seed(pods, fakePod('own-1'));
  await agent.untilReady('plain');
  await agent.untilReady('own-1');
  expect(manager.asked).toEqual(['own-1']);
  expect(phase(agent, 'own-late')).toBe('Pending');
  manager.plugin.resolve();
  await agent.untilReady('own-late');
});

test('a pod that is deleted while it waits never runs, and holds nothing', async () => {
  await using agent = new FakeAgent();
  const { manager, resources } = setUp();
  manager.isSlow = true;
  agent.start({}, { resources });
  agent.api.seed(pods, fakePod('own-1'));
  await agent.until(() => manager.asked.length === 1);
  await agent.api.delete(pods, { namespace: 'default', name: 'own-1' });
  await agent.clock.advance(100);
  manager.answer();
  await agent.until(() => agent.stored('own-1') === undefined);
  await agent.clock.advance(1000);
  expect(manager.held.size).toBe(0);
  expect(agent.runtime.isKnown('uid-own-1')).toBe(false);
});

test('a pod that comes to ask for something else meanwhile has what was allocated for it', async () => {
  await using agent = new FakeAgent();
  const { manager, resources } = setUp();
  manager.isSlow = true;
  agent.start({}, { resources, resizeRefusal: () => ({ reason: 'Infeasible', message: 'tied' }) });
  const containers = (cpu: string) => [{ name: 'main', image: 'busybox', resources: { requests: { cpu } } }];
  agent.api.seed(pods, fakePod('own-1', { containers: containers('1') }));
  await agent.until(() => manager.asked.length === 1);
  const body = { spec: { containers: [{ name: 'main', resources: { requests: { cpu: '500m' } } }] } };
  await agent.api.patch(pods, { namespace: 'default', name: 'own-1' }, { type: 'strategic', body });
  await agent.clock.advance(100);
  manager.answer();
  await agent.untilReady('own-1');
  expect(agent.stored('own-1')?.status?.containerStatuses?.[0]?.allocatedResources).toEqual({ cpu: '1' });
});

test.each<[string, AllocationRefusal | Error, string, string]>([
  [
    'a failure',
    new Error('nothing left'),
    'UnexpectedAdmissionError',
    'Pod was rejected: Allocate failed due to nothing left, which is unexpected',
  ],
  [
    'a refusal',
    { reason: 'SMTAlignmentError', message: 'SMT Alignment Error: odd' },
    'SMTAlignmentError',
    'Pod was rejected: SMT Alignment Error: odd',
  ],
])('%s of a manager fails the pod', async (_, refusal, reason, message) => {
  await using agent = new FakeAgent();
  const { manager, resources } = setUp();
  manager.refusal = refusal;
  agent.start({}, { resources });
  agent.api.seed(pods, fakePod('own-1'));
  await agent.until(() => phase(agent, 'own-1') === 'Failed');
  expect(agent.stored('own-1')?.status).toMatchObject({ reason, message });
  expect(manager.held.size).toBe(0);
});

test('what one manager gave is given back when the next one refuses', async () => {
  const { manager, resources } = setUp();
  const next = new SlowManager();
  next.refusal = { reason: 'SMTAlignmentError', message: 'odd' };
  const both = new PodResources([manager, next], { log: silentLog });
  expect(await resources.admit(fakePod('own-1'))).toBeUndefined();
  expect([...manager.held.keys()]).toEqual(['uid-own-1']);
  expect(await both.admit(fakePod('own-2'))).toEqual(next.refusal);
  expect(manager.asked).toEqual(['own-1', 'own-2']);
  expect([...manager.held.keys()]).toEqual(['uid-own-1']);
});

test('what does not fit the node otherwise gives back what it was given', async () => {
  await using agent = new FakeAgent();
  const { manager, resources } = setUp();
  agent.start({}, { resources });
  agent.api.seed(pods, fakePod('own-1', { nodeSelector: { no: 'such' } }));
  await agent.until(() => phase(agent, 'own-1') === 'Failed');
  expect(agent.stored('own-1')?.status?.reason).toBe('NodeAffinity');
  expect(manager.asked.length).toBeGreaterThan(0);
  expect(manager.held.size).toBe(0);
});

test('what a pod had is free when it has ended, before its object is gone', async () => {
  await using agent = new FakeAgent();
  const { manager, resources } = setUp();
  agent.start({}, { resources });
  for (const name of ['own-1', 'own-2']) agent.api.seed(pods, fakePod(name, { restartPolicy: 'Never' }));
  await agent.untilReady('own-2');
  agent.runtime.exit('uid-own-1', 'main', 0);
  await agent.until(() => phase(agent, 'own-1') === 'Succeeded');
  await agent.until(() => !manager.held.has('uid-own-1'));
  agent.api.seed(pods, fakePod('own-3'));
  await agent.untilReady('own-3');
  expect([...manager.held.keys()].sort()).toEqual(['uid-own-2', 'uid-own-3']);
});

test('another agent asks again for pods that run, and frees what is held for pods that are gone', async () => {
  await using agent = new FakeAgent();
  const { manager, resources } = setUp();
  agent.start({}, { resources });
  agent.api.seed(pods, fakePod('own-1'));
  await agent.untilReady('own-1');
  await agent.stop();
  manager.held.set('uid-of-a-pod-that-is-gone', { nodes: undefined, preferred: false });
  agent.start({}, { resources });
  agent.api.seed(pods, fakePod('own-2'));
  await agent.untilReady('own-2');
  expect([...manager.held.keys()]).toEqual(['uid-own-1', 'uid-own-2']);
  expect(phase(agent, 'own-1')).toBe('Running');
});

test.each(['container', 'pod'] as const)('by NUMA node (scope %s): aligned, or refused', async (scope) => {
  await using agent = new FakeAgent();
  const nodes = [0, 1].map((id) => ({ id, distances: [10, 20] }));
  const { metrics } = newMetrics();
  metrics.showTopology();
  const opts = { policy: 'restricted' as const, scope, nodes, preferClosest: false };
  const { manager, resources } = setUp(new TopologyManager(opts, { metrics, clock: agent.clock }));
  agent.start({}, { resources });
  manager.hints = new Map([['x', [{ nodes: 2n, preferred: true }]]]);
  agent.api.seed(pods, fakePod('own-1'));
  await agent.untilReady('own-1');
  expect(manager.held.get('uid-own-1')).toEqual({ nodes: 2n, preferred: true });
  manager.hints = new Map([['x', []]]);
  agent.api.seed(pods, fakePod('own-2'));
  await agent.until(() => phase(agent, 'own-2') === 'Failed');
  expect(agent.stored('own-2')?.status).toMatchObject({
    reason: 'TopologyAffinityError',
    message: 'Pod was rejected: Resources cannot be allocated with Topology locality',
  });
});

test('a pod is never given other resources beside a static manager, when it is one that is refused', async () => {
  await using agent = new FakeAgent();
  const amounts = { cpu: '1', memory: '64Mi' };
  const resources = { requests: amounts, limits: amounts };
  agent.start({}, { resizeRefusal: () => ({ reason: 'Infeasible', message: 'no resize here' }) });
  agent.api.seed(pods, fakePod('web', { containers: [{ name: 'main', image: 'busybox', resources }] }));
  await agent.untilReady('web');
  const body = { spec: { containers: [{ name: 'main', resources: { requests: { cpu: '500m' } } }] } };
  await agent.api.patch(pods, { namespace: 'default', name: 'web' }, { type: 'strategic', body });
  const pending = () => agent.stored('web')?.status?.conditions?.find((c) => c.type === 'PodResizePending');
  await agent.until(() => pending() !== undefined);
  expect(pending()).toMatchObject({ status: 'True', reason: 'Infeasible', message: 'no resize here' });
});

test('a node is taken to have what its pods hold', async () => {
  const { withHeldAmounts } = await import('./held-amounts.ts');
  const node = withHeldAmounts(FAKE_NODE, new Map([['example.com/gpu', 2]]));
  expect(node?.status?.allocatable).toMatchObject({ cpu: '2', 'example.com/gpu': '2' });
  expect(withHeldAmounts(node, new Map([['example.com/gpu', 1]]))?.status?.allocatable).toMatchObject({
    'example.com/gpu': '2',
  });
  expect(withHeldAmounts(FAKE_NODE, new Map())).toBe(FAKE_NODE);
});
