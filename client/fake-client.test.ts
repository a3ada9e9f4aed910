import { expect, test } from 'vitest';
import type { WatchEvent } from '../api/meta.ts';
import type { Pod } from '../api/pod.ts';
import { configMaps, nodes, pods } from '../api/resources.ts';
import type { WatchOptions } from './api-client.ts';
import { isAlreadyExists, isConflict, isInvalid, isNotFound } from './errors.ts';
import { FakeApi, failure } from './fake-client.ts';

const web = { namespace: 'default', name: 'web' };
const pod = (name = 'web', more: Partial<Pod> = {}): Pod => ({
  metadata: { name, namespace: 'default' },
  spec: { containers: [{ name: 'c', image: 'x' }], nodeName: 'n1', terminationGracePeriodSeconds: 30 },
  ...more,
});

/** Reads `count` events, then lets go of the watch. */
async function take(api: FakeApi, count: number, opts: WatchOptions): Promise<WatchEvent<Pod>[]> {
  const events: WatchEvent<Pod>[] = [];
  for await (const event of api.watch(pods, opts)) {
    events.push(event);
    if (events.length === count) break;
  }
  return events;
}

test('writes are refused as the API server refuses them', async () => {
  const api = new FakeApi();
  const created = await api.create(pods, { namespace: 'default' }, pod());
  expect(created.metadata).toMatchObject({ resourceVersion: '1', generation: 1 });
  await expect(api.create(pods, {}, pod())).rejects.toSatisfy(isAlreadyExists);
  await expect(api.get(pods, { namespace: 'other', name: 'web' })).rejects.toSatisfy(isNotFound);
  await api.update(pods, web, { ...created, metadata: { ...created.metadata, labels: { a: 'b' } } });
  await expect(api.update(pods, web, created)).rejects.toSatisfy(isConflict);
  await expect(api.delete(pods, web, { preconditions: { uid: 'other' } })).rejects.toSatisfy(isConflict);
});

test('status and spec are written through their own endpoints', async () => {
  const api = new FakeApi();
  const created = await api.create(pods, {}, pod('web', { status: { phase: 'Running' } }));
  expect(created.status).toBeUndefined();
  const patch = {
    type: 'strategic',
    body: { metadata: { uid: created.metadata!.uid }, status: { phase: 'Running' } },
  } as const;
  const patched = await api.patch(pods, web, patch, { subresource: 'status' });
  expect(patched.status?.phase).toBe('Running');
  expect(patched.metadata?.generation).toBe(1);
  const unchanged = await api.patch(pods, web, patch, { subresource: 'status' });
  expect(unchanged.metadata?.resourceVersion).toBe(patched.metadata?.resourceVersion);
  const viaMain = await api.patch(pods, web, {
    type: 'merge',
    body: { spec: { hostname: 'h' }, status: { phase: 'Failed' } },
  });
  expect([viaMain.status?.phase, viaMain.spec?.hostname, viaMain.metadata?.generation]).toEqual(['Running', 'h', 2]);
  const otherUid = { type: 'strategic', body: { metadata: { uid: 'stranger' } } } as const;
  await expect(api.patch(pods, web, otherUid, { subresource: 'status' })).rejects.toSatisfy(isInvalid);
  await expect(api.patch(pods, web, { type: 'json', body: [{ op: 'remove', path: '/x' }] })).rejects.toThrow(
    'does not exist',
  );
});

test('a pod on a node is deleted in two steps, others at once', async () => {
  const nowMs = Date.UTC(2026, 0, 1);
  const api = new FakeApi({ now: () => nowMs });
  api.seed(pods, pod(), pod('unscheduled', { spec: { containers: [] } }));
  await api.delete(pods, web);
  expect((await api.get(pods, web)).metadata).toMatchObject({
    deletionTimestamp: '2026-01-01T00:00:30Z',
    deletionGracePeriodSeconds: 30,
  });
  await api.delete(pods, web, { gracePeriodSeconds: 60 });
  expect((await api.get(pods, web)).metadata?.deletionGracePeriodSeconds).toBe(30);
  await api.delete(pods, web, { gracePeriodSeconds: 5 });
  expect((await api.get(pods, web)).metadata?.deletionTimestamp).toBe('2026-01-01T00:00:05Z');
  await api.delete(pods, web, { gracePeriodSeconds: 0 });
  await api.delete(pods, { ...web, name: 'unscheduled' });
  expect(api.all(pods)).toEqual([]);
});

test('finalizers keep an object until the last one goes', async () => {
  const api = new FakeApi();
  api.seed(configMaps, { metadata: { name: 'c', namespace: 'default', finalizers: ['f'] } });
  const name = { namespace: 'default', name: 'c' };
  await api.delete(configMaps, name);
  await api.delete(configMaps, name);
  expect(api.all(configMaps)[0]?.metadata?.deletionTimestamp).toBeDefined();
  await api.patch(configMaps, name, { type: 'merge', body: { metadata: { finalizers: null } } });
  expect(api.all(configMaps)).toEqual([]);
});

test('watches follow the selection: entering is ADDED, leaving is DELETED', async () => {
  const api = new FakeApi();
  const [stored] = api.seed(pods, pod('web', { spec: { containers: [] } }));
  const events = take(api, 2, { fieldSelector: 'spec.nodeName=n1', resourceVersion: api.revision });
  await api.patch(pods, web, { type: 'merge', body: { spec: { nodeName: 'n1' } } });
  await api.patch(pods, web, { type: 'merge', body: { spec: { nodeName: 'n2' } } });
  const seen = await events;
  expect(seen.map((e) => e.type)).toEqual(['ADDED', 'DELETED']);
  expect((seen[1]!.object as Pod).spec?.nodeName).toBe('n1');
  expect(stored?.metadata?.resourceVersion).toBe('1');
  expect(api.watching).toBe(0);
});

test('a watch resumes from its version and is told when that is too old', async () => {
  const api = new FakeApi();
  api.seed(pods, pod('a'), pod('b'));
  expect((await take(api, 1, { resourceVersion: '1' }))[0]?.object).toMatchObject({ metadata: { name: 'b' } });
  api.compact();
  const expired = await take(api, 2, { resourceVersion: '1' });
  expect(expired).toMatchObject([{ type: 'ERROR', object: { code: 410, reason: 'Expired' } }]);
});

test('watch-list ends its initial events with a marked bookmark', async () => {
  const api = new FakeApi();
  api.seed(pods, pod('a'));
  const events = await take(api, 2, { sendInitialEvents: true, allowWatchBookmarks: true });
  expect(events.map((e) => e.type)).toEqual(['ADDED', 'BOOKMARK']);
  expect((events[1]!.object as Pod).metadata?.annotations).toEqual({ 'k8s.io/initial-events-end': 'true' });
});

test('lists come in pages', async () => {
  const api = new FakeApi();
  api.seed(nodes, ...['c', 'a', 'b'].map((name) => ({ metadata: { name } })));
  const first = await api.list(nodes, { limit: 2 });
  expect(first.items.map((n) => n.metadata?.name)).toEqual(['a', 'b']);
  const second = await api.list(nodes, { limit: 2, continue: first.metadata.continue! });
  expect(second.items.map((n) => n.metadata?.name)).toEqual(['c']);
  expect(second.metadata.continue).toBeUndefined();
});

test('injected failures hit once, and requests are recorded', async () => {
  const api = new FakeApi();
  api.failNext('create', failure(503, 'down'), 'pods');
  await expect(api.create(pods, {}, pod())).rejects.toMatchObject({ httpStatus: 503, retryable: true });
  await api.create(pods, {}, pod());
  expect(api.requests.map((r) => `${r.verb} ${r.plural}`)).toEqual(['create pods', 'create pods']);
});
