import { beforeEach, expect, test } from 'vitest';
import type { Node } from '../api/kinds.ts';
import type { Pod } from '../api/pod.ts';
import { pods as podResource } from '../api/resources.ts';
import { FakeApi } from '../client/fake-client.ts';
import { AgentError } from '../core/errors.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { MirrorPods } from './mirror-pods.ts';
import { PodManager } from './pod-manager.ts';

const { signal } = new AbortController();
const name = { namespace: 'default', name: 'web-node-1' };

let clock: FakeClock;
let api: FakeApi;
let pods: PodManager;
let node: Node | undefined;
let mirrors: MirrorPods;

beforeEach(() => {
  clock = new FakeClock(Date.UTC(2026, 0, 1));
  api = new FakeApi({ now: () => clock.now() });
  pods = new PodManager();
  node = { metadata: { name: 'node-1', uid: 'node-uid' } };
  mirrors = new MirrorPods({ client: api, pods, getNode: () => node, clock, log: silentLog });
});

const staticPod = (hash: string): Pod => ({
  metadata: {
    ...name,
    uid: hash,
    labels: { app: 'web' },
    annotations: { 'kubernetes.io/config.hash': hash, 'kubernetes.io/config.source': 'file' },
  },
  spec: { containers: [] },
});

const stored = () => api.all(podResource) as Pod[];
const verbs = () => api.requests.map((r) => r.verb);

/** What the informer would do. */
function learn(): void {
  for (const mirror of pods.mirrors()) pods.remove(mirror);
  for (const mirror of stored()) pods.set(mirror);
}

test('a mirror shows the pod, says which one, and belongs to the Node', async () => {
  const pod = staticPod('one');
  expect(await mirrors.reconcile(pod, signal)).toBe(true);
  expect(stored()[0]).toMatchObject({
    metadata: {
      ...name,
      labels: { app: 'web' },
      annotations: { 'kubernetes.io/config.hash': 'one', 'kubernetes.io/config.mirror': 'one' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-1', uid: 'node-uid', controller: true }],
    },
    spec: { containers: [] },
  });
  expect(stored()[0]!.metadata!.uid).not.toBe('one');
  learn();
  expect(await mirrors.reconcile(pod, signal)).toBe(true);
  expect(verbs()).toEqual(['create']);
});

test('an answer that was lost does no harm', async () => {
  await mirrors.reconcile(staticPod('one'), signal);
  expect(await mirrors.reconcile(staticPod('one'), signal)).toBe(true); // the informer has not told of it yet
  expect(stored()).toHaveLength(1);
});

test('the mirror of another version is replaced', async () => {
  await mirrors.reconcile(staticPod('one'), signal);
  learn();
  expect(await mirrors.reconcile(staticPod('two'), signal)).toBe(true);
  expect(stored().map((p) => p.metadata!.annotations!['kubernetes.io/config.mirror'])).toEqual(['two']);
});

test('somebody else’s pod of that name is left alone, and it is tried again', async () => {
  await api.create(podResource, name, { metadata: { ...name, uid: 'theirs' }, spec: { containers: [] } } as Pod);
  expect(await mirrors.reconcile(staticPod('one'), signal)).toBe(false);
  expect(stored().map((p) => p.metadata!.uid)).toEqual(['theirs']);
});

test('without a Node, or with one that goes, there is no mirror yet', async () => {
  node = undefined;
  expect(await mirrors.reconcile(staticPod('one'), signal)).toBe(false);
  node = { metadata: { name: 'node-1', uid: 'u', deletionTimestamp: '2026-01-01T00:00:00Z' } };
  expect(await mirrors.reconcile(staticPod('one'), signal)).toBe(false);
  expect(verbs()).toEqual([]);
});

test('an API server that cannot be reached is tried again', async () => {
  api.failNext('create', new AgentError('no route', { code: 'API_UNREACHABLE', retryable: true }));
  expect(await mirrors.reconcile(staticPod('one'), signal)).toBe(false);
  expect(await mirrors.reconcile(staticPod('one'), signal)).toBe(true);
});

test('a mirror goes with its static pod, once that has ended', async () => {
  await mirrors.reconcile(staticPod('one'), signal);
  learn();
  pods.set(staticPod('one'));
  await mirrors.deleteOrphans(() => false, signal);
  expect(stored()).toHaveLength(1);
  pods.remove(staticPod('one'));
  await mirrors.deleteOrphans((fullName) => fullName === 'web-node-1_default', signal);
  expect(stored()).toHaveLength(1);
  await mirrors.deleteOrphans(() => false, signal);
  expect(stored()).toEqual([]);
});

test('a pod that has taken the place of the mirror meanwhile stays', async () => {
  await mirrors.reconcile(staticPod('one'), signal);
  learn();
  await api.delete(podResource, name, { gracePeriodSeconds: 0 });
  await api.create(podResource, name, { metadata: { ...name, uid: 'theirs' }, spec: { containers: [] } } as Pod);
  await mirrors.deleteOrphans(() => false, signal);
  expect(stored().map((p) => p.metadata!.uid)).toEqual(['theirs']);
});

test('what could not be written is written later; a pod that went meanwhile is not shown any more', async () => {
  const stop = new AbortController();
  const ended = mirrors.run(stop.signal);
  for (const hash of ['one', 'two']) {
    api.failNext('create', new AgentError('no answer', { code: 'API_UNREACHABLE' }));
    pods.set(staticPod(hash));
    mirrors.request(staticPod(hash));
    await clock.advance(9_999);
    expect(stored()).toEqual([]);
    if (hash === 'one') pods.remove(staticPod(hash));
    await clock.advance(1);
    expect(stored()).toHaveLength(hash === 'one' ? 0 : 1);
  }
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});
