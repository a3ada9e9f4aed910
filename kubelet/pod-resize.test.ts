// Resizing as the API sees it: conditions, statuses and Events, over restarts of the agent and the end of other pods.
import { expect, test } from 'vitest';
import type { Container, Pod, ResourceRequirements } from '../api/pod.ts';
import { pods } from '../api/resources.ts';
import { FakeAgent, fakePod } from './fake-agent.ts';

const requesting = (cpu: string): ResourceRequirements => ({ requests: { cpu } });

function podOf(name: string, cpu: string, more: Partial<Container> = {}, generation = 1): Pod {
  const pod = fakePod(name, { containers: [{ name: 'main', image: 'busybox', resources: requesting(cpu), ...more }] });
  return { ...pod, metadata: { ...pod.metadata, generation } };
}

/** Somebody writes other resources into the spec; the API server counts its generation. */
async function wish(agent: FakeAgent, name: string, cpu: string): Promise<void> {
  const body = { spec: { containers: [{ name: 'main', resources: requesting(cpu) }] } };
  await agent.api.patch(pods, { namespace: 'default', name }, { type: 'strategic', body });
}

const conditions = (agent: FakeAgent, name: string) =>
  (agent.stored(name)?.status?.conditions ?? [])
    .filter((c) => c.type.startsWith('PodResize'))
    .map((c) => [c.type, c.status, c.reason, c.observedGeneration]);
const status = (agent: FakeAgent, name: string) => agent.stored(name)?.status?.containerStatuses?.[0];
const uses = (agent: FakeAgent, name: string) => status(agent, name)?.resources?.requests?.cpu;
const resizeEvents = (agent: FakeAgent) => agent.events.reasons().filter((r) => r.startsWith('Resize'));

test('a pod is given what it asks for without a restart, and the API shows it', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, podOf('a', '500m'));
  await agent.untilReady('a');
  expect(status(agent, 'a')).toMatchObject({ allocatedResources: { cpu: '500m' }, resources: requesting('500m') });
  await wish(agent, 'a', '1');
  await agent.until(() => uses(agent, 'a') === '1');
  expect(status(agent, 'a')).toMatchObject({ allocatedResources: { cpu: '1' }, restartCount: 0 });
  expect(agent.stored('a')?.status?.observedGeneration).toBe(2);
  expect(conditions(agent, 'a')).toEqual([]);
  expect(resizeEvents(agent)).toEqual(['ResizeStarted', 'ResizeCompleted']);
  expect(agent.runtime.containersOf('uid-a')).toHaveLength(1);
});

test('what a pod is given is on disk before the runtime is told: the next agent must know that the room is taken', async () => {
  await using agent = new FakeAgent();
  const save = agent.allocations.save.bind(agent.allocations);
  agent.allocations.save = async () => {
    agent.runtime.calls.push('save');
    await save();
  };
  agent.start();
  agent.api.seed(pods, podOf('a', '500m'));
  await agent.untilReady('a');
  await agent.clock.advance(60_000);
  agent.runtime.calls.length = 0;
  await wish(agent, 'a', '1');
  await agent.until(() => agent.runtime.countCalls('syncPod') > 0);
  const [first] = agent.runtime.calls.filter((c) => c === 'save' || c.startsWith('syncPod'));
  expect(first).toBe('save');
});

test('a resize policy has the container started anew, once', async () => {
  await using agent = new FakeAgent();
  agent.start();
  const resizePolicy = [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }];
  agent.api.seed(pods, podOf('a', '500m', { resizePolicy }));
  await agent.untilReady('a');
  await wish(agent, 'a', '1');
  await agent.until(() => uses(agent, 'a') === '1' && status(agent, 'a')?.restartCount === 1);
  await agent.clock.advance(120_000);
  expect(agent.runtime.containersOf('uid-a')).toHaveLength(2);
  expect(conditions(agent, 'a')).toEqual([]);
});

test('what does not fit waits, over a restart of the agent too, until another pod has gone', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, podOf('a', '500m'), podOf('b', '1500m'));
  await agent.untilReady('a');
  await agent.untilReady('b');
  await wish(agent, 'a', '1');
  const deferred = [['PodResizePending', 'True', 'Deferred', 2]];
  await agent.until(() => conditions(agent, 'a').length === 1);
  expect(conditions(agent, 'a')).toEqual(deferred);
  expect(status(agent, 'a')).toMatchObject({ allocatedResources: { cpu: '500m' }, resources: requesting('500m') });
  await agent.stop();
  agent.start();
  await agent.clock.advance(30_000);
  expect(conditions(agent, 'a')).toEqual(deferred);
  expect(resizeEvents(agent)).toEqual(['ResizeDeferred', 'ResizeDeferred']);
  // The pod has been admitted with what it has: what it asks for would not fit.
  expect(agent.stored('a')?.status?.phase).toBe('Running');
  await agent.api.delete(pods, { namespace: 'default', name: 'b' });
  await agent.until(() => uses(agent, 'a') === '1');
  expect(conditions(agent, 'a')).toEqual([]);
});

test('an agent that lost its files does not take a pod for what it asks for', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, podOf('a', '500m'), podOf('b', '1500m'));
  await agent.untilReady('a');
  await agent.untilReady('b');
  await agent.stop();
  await wish(agent, 'a', '1'); // and nobody sees it
  for (const uid of agent.allocations.uids()) agent.allocations.forget(uid);
  agent.start();
  await agent.until(() => conditions(agent, 'a')[0]?.[2] === 'Deferred');
  expect(agent.stored('a')?.status?.phase).toBe('Running');
  expect(status(agent, 'a')).toMatchObject({ restartCount: 0, allocatedResources: { cpu: '500m' } });
});

test('a pod that ends makes room, before its object is gone', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, podOf('a', '500m'), fakePodThatEnds('b', '1500m'));
  await agent.untilReady('a');
  await agent.untilReady('b');
  await wish(agent, 'a', '1');
  await agent.until(() => conditions(agent, 'a').length === 1);
  agent.runtime.exit('uid-b', 'main', 0);
  await agent.until(() => uses(agent, 'a') === '1');
  expect(agent.stored('b')?.status?.phase).toBe('Succeeded');
});

test('a wish that is taken back leaves nothing', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, podOf('a', '500m'));
  await agent.untilReady('a');
  await wish(agent, 'a', '5');
  await agent.until(() => conditions(agent, 'a')[0]?.[2] === 'Infeasible');
  await wish(agent, 'a', '500m');
  await agent.until(() => conditions(agent, 'a').length === 0);
  expect(agent.stored('a')?.status?.observedGeneration).toBe(3);
  expect(resizeEvents(agent)).toEqual(['ResizeInfeasible']);
});

test('a pod that is over waits for nothing', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, fakePodThatEnds('a', '500m'));
  await agent.untilReady('a');
  await wish(agent, 'a', '5');
  await agent.until(() => conditions(agent, 'a')[0]?.[2] === 'Infeasible');
  agent.runtime.exit('uid-a', 'main', 0);
  await agent.until(() => agent.stored('a')?.status?.phase === 'Succeeded');
  expect(conditions(agent, 'a')).toEqual([]);
  expect(resizeEvents(agent)).toEqual(['ResizeInfeasible']);
});

test('what the runtime refuses is told once, tried again, and forgotten with the next wish', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, podOf('a', '500m'));
  await agent.untilReady('a');
  agent.runtime.resizeError = 'the runtime is not up to it';
  await wish(agent, 'a', '1');
  await agent.until(() => conditions(agent, 'a')[0]?.[2] === 'Error');
  expect(status(agent, 'a')).toMatchObject({ allocatedResources: { cpu: '1' }, resources: requesting('500m') });
  await agent.clock.advance(60_000);
  expect(resizeEvents(agent)).toEqual(['ResizeStarted', 'ResizeError']);
  agent.runtime.resizeError = undefined;
  await agent.until(() => conditions(agent, 'a').length === 0, 1000);
  expect(uses(agent, 'a')).toBe('1');
  expect(resizeEvents(agent)).toEqual(['ResizeStarted', 'ResizeError', 'ResizeCompleted']);
});

test('the room that a wish has been given is not given to a new pod', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, podOf('a', '500m'));
  await agent.untilReady('a');
  await wish(agent, 'a', '1500m');
  await agent.until(() => uses(agent, 'a') === '1500m');
  agent.api.seed(pods, podOf('late', '1'));
  await agent.until(() => agent.stored('late')?.status?.phase === 'Failed');
  expect(agent.stored('late')?.status?.reason).toBe('OutOfcpu');
});

test('a pod that waits for more holds only what it has', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, podOf('a', '500m'), podOf('b', '1'));
  await agent.untilReady('a');
  await agent.untilReady('b');
  await wish(agent, 'a', '1800m');
  await agent.until(() => conditions(agent, 'a').length === 1);
  agent.api.seed(pods, podOf('small', '500m'));
  await agent.untilReady('small');
});

test('of a pod that is gone nothing is kept', async () => {
  await using agent = new FakeAgent();
  agent.start();
  agent.api.seed(pods, podOf('a', '500m'));
  await agent.untilReady('a');
  expect(agent.allocations.uids()).toEqual(['uid-a']);
  await agent.api.delete(pods, { namespace: 'default', name: 'a' });
  await agent.until(() => agent.allocations.uids().length === 0);
});

function fakePodThatEnds(name: string, cpu: string): Pod {
  const pod = podOf(name, cpu);
  return { ...pod, spec: { ...pod.spec!, restartPolicy: 'Never' } };
}
