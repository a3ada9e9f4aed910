// What the claims of pods have to do with the rest of their lives: a driver that holds on keeps a pod from being over, and
// what nobody's pod holds is let go.
import { expect, test } from 'vitest';
import type { Pod } from '../api/pod.ts';
import { claimsOfPod } from '../api/resource-claims.ts';
import { pods } from '../api/resources.ts';
import type { PodClaims } from './dra/pod-claims.ts';
import { FakeAgent, fakePod } from './fake-agent.ts';

/** Holds what it is told to hold until a driver, which may take its time, lets go. */
class FakeClaims implements PodClaims {
  readonly held = new Set<string>();
  readonly forgotten: string[] = [];
  readonly unprepared: string[] = [];
  letGo: () => Promise<void> = async () => {};

  async prepare(): Promise<void> {}

  isKnown(): boolean {
    return true;
  }

  async unprepare(pod: Pod): Promise<void> {
    const uid = pod.metadata?.uid ?? '';
    if (!this.held.has(uid)) return;
    this.unprepared.push(uid);
    await this.letGo();
    this.held.delete(uid);
  }

  cdiDevices(): readonly string[] {
    return [];
  }

  usedBy(): readonly [] {
    return [];
  }

  holds(podUid: string): boolean {
    return this.held.has(podUid);
  }

  uids(): Iterable<string> {
    return [...this.held];
  }

  forget(podUid: string): void {
    this.forgotten.push(podUid);
    this.held.delete(podUid);
  }
}

test('a pod whose containers have ended is over once its driver has let go, and not before', async () => {
  await using agent = new FakeAgent();
  const claims = new FakeClaims();
  const gate = Promise.withResolvers<void>();
  claims.letGo = () => gate.promise;
  agent.start({}, { claims });
  agent.api.seed(pods, fakePod('job', { restartPolicy: 'Never' }));
  await agent.untilReady('job');
  claims.held.add('uid-job');
  agent.runtime.exit('uid-job', 'main', 0);
  await agent.until(() => claims.unprepared.length === 1);
  await agent.clock.advance(60_000);
  expect(agent.stored('job')?.status?.phase).toBe('Running');
  gate.resolve();
  await agent.until(() => agent.stored('job')?.status?.phase === 'Succeeded');
  expect(claims.unprepared).toEqual(['uid-job']);
});

test('a driver that refuses to let go is asked again; until then the object of a deleted pod stays', async () => {
  await using agent = new FakeAgent();
  const claims = new FakeClaims();
  let isStubborn = true;
  claims.letGo = async () => {
    if (isStubborn) throw new Error('no');
  };
  agent.start({}, { claims });
  agent.api.seed(pods, fakePod('web'));
  await agent.untilReady('web');
  claims.held.add('uid-web');
  await agent.api.delete(pods, { namespace: 'default', name: 'web' });
  await agent.until(() => claims.unprepared.length > 1, 1000);
  expect(agent.runtime.containersOf('uid-web').some((c) => c.state === 'running')).toBe(false);
  expect(agent.stored('web')).toBeDefined();
  isStubborn = false;
  await agent.until(() => agent.stored('web') === undefined, 1000);
});

test('an agent that finds a pod over whose claims were not let go does that first', async () => {
  await using agent = new FakeAgent();
  const claims = new FakeClaims();
  claims.held.add('uid-job');
  const over = fakePod('job', { restartPolicy: 'Never' });
  agent.api.seed(pods, { ...over, status: { phase: 'Succeeded' } });
  agent.start({}, { claims });
  await agent.until(() => claims.unprepared.length === 1);
  expect(claims.held.size).toBe(0);
});

test('claims of pods that nobody knows, and of one that may not run here, are let go in the background', async () => {
  await using agent = new FakeAgent();
  const claims = new FakeClaims();
  for (const uid of ['uid-gone', 'uid-refused', 'uid-runs']) claims.held.add(uid);
  const refused = fakePod('refused', { nodeSelector: { 'kubernetes.io/os': 'other' } });
  agent.api.seed(pods, refused, fakePod('runs'));
  agent.start({}, { claims });
  await agent.untilReady('runs');
  await agent.until(() => claims.forgotten.length === 2, 1000, 100);
  expect(claims.forgotten.sort()).toEqual(['uid-gone', 'uid-refused']);
});

test('a claim that is made for a pod while it waits is known at its next try', async () => {
  await using agent = new FakeAgent();
  const seen: unknown[] = [];
  const syncPod = agent.runtime.syncPod.bind(agent.runtime);
  agent.runtime.syncPod = async (input) => {
    const { statuses } = claimsOfPod(input.pod);
    seen.push(statuses);
    if (statuses.length > 0) return await syncPod(input);
    return { changed: false, onlyAdded: false, started: [], failures: [], error: new Error('not created yet') };
  };
  agent.start({}, { claims: new FakeClaims() });
  const resourceClaims = [{ name: 'gpu', resourceClaimTemplateName: 't' }] as never;
  agent.api.seed(pods, fakePod('web', { resourceClaims }));
  await agent.until(() => seen.length > 0);
  const resourceClaimStatuses = [{ name: 'gpu', resourceClaimName: 'web-gpu' }];
  const body = { status: { resourceClaimStatuses } };
  await agent.api.patch(
    pods,
    { namespace: 'default', name: 'web' },
    { type: 'merge', body },
    { subresource: 'status' },
  );
  await agent.untilReady('web');
  expect(seen.at(-1)).toEqual(resourceClaimStatuses);
});
