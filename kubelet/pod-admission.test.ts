// Admission as the API sees it: who is refused, who takes whose place, and what a place is.
import { expect, test } from 'vitest';
import type { Pod } from '../api/pod.ts';
import { nodes, pods } from '../api/resources.ts';
import { Registry } from '../core/metrics.ts';
import { FAKE_NODE, FakeAgent, fakePod } from './fake-agent.ts';
import { KubeletMetrics } from './metrics/kubelet-metrics.ts';

const CRITICAL = 2_000_000_000;

function wanting(name: string, cpu: string, spec: Partial<NonNullable<Pod['spec']>> = {}): Pod {
  return fakePod(name, { containers: [{ name: 'main', image: 'busybox', resources: { requests: { cpu } } }], ...spec });
}

test('a critical pod takes the place of another, which ends with its grace and is told why', async () => {
  await using agent = new FakeAgent();
  const registry = new Registry();
  agent.start({}, { observer: new KubeletMetrics(registry, agent.clock) });
  agent.api.seed(pods, wanting('small', '500m'), wanting('big', '1500m', { terminationGracePeriodSeconds: 7 }));
  await agent.untilReady('small');
  await agent.untilReady('big');
  agent.runtime.killGate = new Promise(() => {}); // for as long as the victim needs
  agent.api.seed(pods, wanting('critical', '1', { priority: CRITICAL }));
  await agent.until(() => agent.runtime.kills.length === 1);
  expect(agent.runtime.kills).toEqual([{ uid: 'uid-big', graceSeconds: 7 }]);
  expect(agent.events.events).toContainEqual({
    type: 'Warning',
    reason: 'Preempting',
    message: 'Preempted in order to admit critical pod',
  });
  await agent.clock.advance(5000);
  expect(agent.runtime.isKnown('uid-critical')).toBe(false);
  expect(await registry.metrics()).toContain('kubelet_preemptions{preemption_signal="cpu"} 1');
});

test('the pod that lost its place is Failed for that reason, also when all is over; the critical one runs', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, wanting('big', '1500m'));
  await agent.untilReady('big');
  agent.api.seed(pods, wanting('critical', '1', { priority: CRITICAL }));
  await agent.untilReady('critical');
  await agent.clock.advance(60_000);
  expect(agent.stored('big')?.status).toMatchObject({
    phase: 'Failed',
    reason: 'Preempting',
    message: 'Preempted in order to admit critical pod',
  });
  expect(agent.stored('big')?.status?.conditions).toContainEqual(
    expect.objectContaining({
      type: 'DisruptionTarget',
      status: 'True',
      reason: 'TerminationByKubelet',
      message: 'Pod was preempted by Kubelet to accommodate a critical pod.',
    }),
  );
  expect(agent.runtime.containersOf('uid-big').some((c) => c.state === 'running')).toBe(false);
});

test('the place that is being made for a critical pod is nobody else’s', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, wanting('big', '1500m'));
  await agent.untilReady('big');
  agent.runtime.killGate = new Promise(() => {});
  agent.api.seed(pods, wanting('critical', '2', { priority: CRITICAL }));
  await agent.until(() => agent.runtime.kills.length === 1);
  agent.api.seed(pods, wanting('late', '100m'));
  await agent.until(() => agent.stored('late')?.status?.phase === 'Failed');
  expect(agent.stored('late')?.status?.reason).toBe('OutOfcpu');
});

test('a critical pod that is deleted while it waits for its place ends without ever having run', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, wanting('big', '1500m'));
  await agent.untilReady('big');
  const { promise, resolve } = Promise.withResolvers<void>();
  agent.runtime.killGate = promise;
  agent.api.seed(pods, wanting('critical', '1', { priority: CRITICAL }));
  await agent.until(() => agent.runtime.kills.length === 1);
  await agent.api.delete(pods, { namespace: 'default', name: 'critical' }, { gracePeriodSeconds: 5 });
  resolve();
  await agent.until(() => agent.stored('critical') === undefined);
  await agent.until(() => agent.stored('big')?.status?.phase === 'Failed');
  await agent.clock.advance(5000);
  expect(agent.runtime.isKnown('uid-critical')).toBe(false);
});

test('a pod past its deadline holds its place until it has been stopped', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, wanting('old', '1500m', { activeDeadlineSeconds: 10 }));
  await agent.untilReady('old');
  agent.runtime.killGate = new Promise(() => {});
  await agent.until(() => agent.runtime.kills.length === 1, 1000);
  expect(agent.events.reasons()).toContain('DeadlineExceeded');
  agent.api.seed(pods, wanting('new', '1'));
  await agent.until(() => agent.stored('new')?.status?.phase === 'Failed');
  expect(agent.stored('new')?.status?.message).toContain('requested: 1000, used: 1500, capacity: 2000');
});

test('a pod for a label that the agent has not heard of yet: the node is read once more', async () => {
  await using agent = new FakeAgent();
  const labels = { ...FAKE_NODE.metadata?.labels, 'example.com/disk': 'fast' };
  agent.api.seed(nodes, { ...FAKE_NODE, metadata: { ...FAKE_NODE.metadata, labels } });
  agent.start();
  agent.api.seed(
    pods,
    fakePod('fits', { nodeSelector: { 'example.com/disk': 'fast' } }),
    fakePod('fits-not', { nodeSelector: { 'example.com/disk': 'slow' } }),
  );
  await agent.untilReady('fits');
  await agent.until(() => agent.stored('fits-not')?.status?.phase === 'Failed');
  expect(agent.stored('fits-not')?.status).toMatchObject({
    reason: 'NodeAffinity',
    message: "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
  });
  const reads = agent.api.requests.filter((r) => r.verb === 'get');
  expect(reads).toHaveLength(2); // one for each pod
});

test('a node that cannot be read once more: the pod is refused as it was', async () => {
  await using agent = new FakeAgent(); // the API has no such node
  agent.start();
  agent.api.seed(pods, fakePod('web', { nodeSelector: { 'example.com/disk': 'fast' } }));
  await agent.until(() => agent.stored('web')?.status?.reason === 'NodeAffinity');
});

test('of one snapshot the oldest pods get the places', async () => {
  await using agent = new FakeAgent();
  const created = (pod: Pod, at: string): Pod => ({ ...pod, metadata: { ...pod.metadata, creationTimestamp: at } });
  agent.api.seed(
    pods,
    created(wanting('young', '1500m'), '2026-01-01T00:00:02Z'),
    created(wanting('old', '1500m'), '2026-01-01T00:00:01Z'),
  );
  agent.start();
  await agent.untilReady('old');
  await agent.until(() => agent.stored('young')?.status?.reason === 'OutOfcpu');
});

test('a pod that a restarted agent finds running and refuses is stopped, and holds what it has until then', async () => {
  await using agent = new FakeAgent();
  const running = wanting('web', '1500m', { nodeSelector: { 'example.com/disk': 'fast' } });
  agent.runtime.adopt(running, agent.clock.now());
  agent.runtime.killGate = new Promise(() => {});
  agent.api.seed(pods, { ...running, status: { phase: 'Running' } });
  agent.api.seed(nodes, FAKE_NODE);
  const forgotten: string[] = [];
  const resources = {
    concerns: () => true,
    admit: async () => undefined,
    forget: (uid: string) => void forgotten.push(uid),
    retain: () => {},
    heldAmounts: () => new Map(),
  };
  agent.start({}, { resources });
  await agent.until(() => agent.runtime.kills.length === 1);
  expect(agent.runtime.kills).toEqual([{ uid: 'uid-web', graceSeconds: 1 }]);
  agent.api.seed(pods, wanting('other', '1'));
  await agent.until(() => agent.stored('other')?.status?.reason === 'OutOfcpu');
  expect(agent.stored('web')?.status?.phase).toBe('Running');
  expect(forgotten).toEqual(['uid-other']);
});

test('such a pod is Failed once it has been stopped, and goes when it is deleted', async () => {
  await using agent = new FakeAgent();
  const running = wanting('web', '1', { nodeSelector: { 'example.com/disk': 'fast' } });
  agent.runtime.adopt(running, agent.clock.now());
  agent.api.seed(pods, { ...running, status: { phase: 'Running' } });
  agent.api.seed(nodes, FAKE_NODE);
  agent.start();
  await agent.until(() => agent.stored('web')?.status?.phase === 'Failed');
  expect(agent.runtime.containersOf('uid-web')[0]?.state).toBe('exited');
  expect(agent.stored('web')?.status).toMatchObject({
    reason: 'NodeAffinity',
    message: "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
  });
  await agent.api.delete(pods, { namespace: 'default', name: 'web' });
  await agent.until(() => agent.stored('web') === undefined);
});
