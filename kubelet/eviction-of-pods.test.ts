// Eviction seen from outside: what the API server is told of a pod that the node ends, and of one that comes meanwhile.
import { expect, test } from 'vitest';
import { pods } from '../api/resources.ts';
import { endedByNode } from './eviction/evicted-status.ts';
import { FakeAgent, fakePod } from './fake-agent.ts';

test('an evicted pod fails for good, and its containers have ended', async () => {
  await using agent = new FakeAgent();
  const kubelet = agent.start();
  await agent.api.create(pods, { namespace: 'default' }, fakePod('web'));
  await agent.untilReady('web');
  const [web] = kubelet.activePods();
  const stop = new AbortController();
  let [stopped, cleanedUp] = [false, false];
  const end = kubelet.evictPod(
    web!,
    {
      graceSeconds: 0,
      statusOverride: endedByNode(web!, { reason: 'Evicted', message: 'low', disruption: 'low' }, agent.clock.now()),
    },
    stop.signal,
  );
  void end.stopped.then(() => (stopped = true));
  void end.cleanedUp.then(() => (cleanedUp = true));
  await agent.until(() => agent.stored('web')?.status?.phase === 'Failed' && cleanedUp);
  expect(stopped).toBe(true);
  expect(agent.stored('web')?.status).toMatchObject({ reason: 'Evicted', message: 'low' });
  expect(agent.condition('web', 'DisruptionTarget')).toBe('True');
  expect(agent.stored('web')?.status?.containerStatuses?.[0]?.state?.terminated).toBeDefined();
  expect(kubelet.activePods()).toEqual([]);
  await agent.clock.advance(120_000);
  expect(agent.stored('web')?.status?.phase).toBe('Failed');
  stop.abort();
});

test('what is waited for ends with the wait, though the pod does not end', async () => {
  await using agent = new FakeAgent();
  const kubelet = agent.start();
  await agent.api.create(pods, { namespace: 'default' }, fakePod('web'));
  await agent.untilReady('web');
  const stop = new AbortController();
  const end = kubelet.evictPod(kubelet.activePods()[0]!, { graceSeconds: 30, statusOverride: (s) => s }, stop.signal);
  stop.abort();
  await Promise.all([end.stopped, end.cleanedUp]);
});

test('a pod that comes while the disk is full is refused', async () => {
  await using agent = new FakeAgent();
  agent.start({}, { pressure: () => ['DiskPressure', 'MemoryPressure'] });
  await agent.api.create(pods, { namespace: 'default' }, fakePod('late'));
  await agent.until(() => agent.stored('late')?.status?.phase === 'Failed');
  expect(agent.stored('late')?.status).toMatchObject({
    reason: 'Evicted',
    message: 'Pod was rejected: The node had condition: [DiskPressure MemoryPressure]. ',
  });
});
