import { afterEach, beforeEach, expect, test } from 'vitest';
import { pods } from '../api/resources.ts';
import { FakeAgent, fakePod } from './fake-agent.ts';

let agent: FakeAgent;
beforeEach(() => {
  agent = new FakeAgent();
});
afterEach(() => agent[Symbol.asyncDispose]());

const containers = ['quick', 'slow', 'slower'].map((name) => ({ name, image: 'busybox' }));
const statuses = () =>
  agent.stored('web')?.status?.containerStatuses?.map((s) => `${s.name} ${Object.keys(s.state ?? {})} ${s.ready}`);
const remove = () => agent.api.delete(pods, { namespace: 'default', name: 'web' });

async function endingPod(): Promise<void> {
  agent.start();
  agent.api.seed(pods, fakePod('web', { containers }));
  await agent.untilReady('web');
  agent.runtime.killGate = new Promise(() => {});
  await remove();
  await agent.until(() => agent.runtime.kills.length === 1);
}

test('containers that end before the others of an ending pod are told not to be ready', async () => {
  await endingPod();
  agent.runtime.exit('uid-web', 'quick', 0);
  await agent.until(() => agent.condition('web', 'Ready') === 'False');
  expect(statuses()).toEqual(['quick terminated false', 'slow running true', 'slower running true']);
  agent.runtime.exit('uid-web', 'slow', 3);
  await agent.until(() => statuses()?.[1] === 'slow terminated false');
  expect(agent.stored('web')?.status?.phase).toBe('Running');
});

test('a pod that ends at once is not told of container by container', async () => {
  let open = () => {};
  await endingPod();
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  agent.runtime.killGate = gate;
  await agent.api.delete(pods, { namespace: 'default', name: 'web' }, { gracePeriodSeconds: 2 });
  await agent.until(() => agent.runtime.kills.length === 2);
  const before = agent.runtime.countCalls('getPodStatus');
  agent.runtime.exit('uid-web', 'quick', 0);
  await agent.clock.advance(500);
  expect(agent.runtime.countCalls('getPodStatus')).toBe(before);
  open();
  await agent.until(() => agent.stored('web') === undefined);
});
