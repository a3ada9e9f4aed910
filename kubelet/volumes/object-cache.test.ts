import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ConfigMap } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { configMaps } from '../../api/resources.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { ObjectCache } from './object-cache.ts';

let clock: FakeClock;
let api: FakeApi;
let cache: ObjectCache;
let changed: string[];

beforeEach(() => {
  clock = new FakeClock();
  api = new FakeApi();
  cache = new ObjectCache({ client: api, clock, log: silentLog });
  changed = [];
  cache.onChange((uid) => void changed.push(uid));
});
afterEach(async () => {
  cache[Symbol.dispose]();
  await clock.advance(0);
});

function podOf(uid: string, name = 'cm'): Pod {
  const env = [{ name: 'X', valueFrom: { configMapKeyRef: { name, key: 'k' } } }];
  return { metadata: { namespace: 'ns', name: uid, uid }, spec: { containers: [{ name: 'c', env }] } };
}
const configMap = (k: string, more: Partial<ConfigMap> = {}): ConfigMap => ({
  metadata: { namespace: 'ns', name: 'cm' },
  data: { k },
  ...more,
});
const at = { namespace: 'ns', name: 'cm' };

test('two pods share one watch of the single object, as the Node authorizer allows it', async () => {
  await api.create(configMaps, { namespace: 'ns' }, configMap('1'));
  cache.registerPod(podOf('a'));
  cache.registerPod(podOf('b'));
  cache.registerPod(podOf('b'));
  expect((await cache.getConfigMap('ns', 'cm'))?.data).toEqual({ k: '1' });
  await clock.advance(0);
  const reads = api.requests.filter((r) => r.verb !== 'create');
  expect(reads.filter((r) => r.verb === 'watch')).toHaveLength(1);
  for (const r of reads) expect(r.body).toMatchObject({ fieldSelector: 'metadata.name=cm' });
  expect(changed).toEqual([]); // the first list is no news

  await api.patch(configMaps, at, { type: 'merge', body: { data: { k: '2' } } });
  await clock.advance(0);
  expect(changed.sort()).toEqual(['a', 'b']);
  expect((await cache.getConfigMap('ns', 'cm'))?.data).toEqual({ k: '2' });
  cache.forgetPod('a');
  expect(cache.size).toBe(1);
  cache.forgetPod('b');
  cache.forgetPod('b');
  await expect(cache.getConfigMap('ns', 'cm')).rejects.toThrow(/not registered/);
  await clock.advance(30_000);
  expect(cache.size).toBe(0);
});

test('a pod that follows soon finds the watch of the one before, and what it has seen since', async () => {
  await api.create(configMaps, { namespace: 'ns' }, configMap('1'));
  cache.registerPod(podOf('a'));
  await cache.getConfigMap('ns', 'cm');
  cache.forgetPod('a');
  await api.patch(configMaps, at, { type: 'merge', body: { data: { k: '2' } } });
  await clock.advance(29_000);
  cache.registerPod(podOf('b'));
  await clock.advance(29_000);
  expect((await cache.getConfigMap('ns', 'cm'))?.data).toEqual({ k: '2' });
  expect(api.requests.filter((r) => r.verb === 'watch')).toHaveLength(1);
  expect(changed).toEqual([]);
});

test('a pod that follows is given what the server has, however far behind the watch is', async () => {
  await api.create(configMaps, { namespace: 'ns' }, configMap('1'));
  cache.registerPod(podOf('a'));
  await cache.getConfigMap('ns', 'cm');
  await clock.advance(0);
  cache.forgetPod('a');
  await api.patch(configMaps, at, { type: 'merge', body: { data: { k: '2' } } });
  cache.registerPod(podOf('b')); // nothing has reached the watch yet
  expect((await cache.getConfigMap('ns', 'cm'))?.data).toEqual({ k: '2' });
  await api.patch(configMaps, at, { type: 'merge', body: { data: { k: '3' } } });
  await clock.advance(0);
  expect((await cache.getConfigMap('ns', 'cm'))?.data).toEqual({ k: '3' });
  expect(changed).toContain('b');
});

test('an immutable object that was made anew is not taken for the one before', async () => {
  await api.create(configMaps, { namespace: 'ns' }, configMap('1', { immutable: true }));
  cache.registerPod(podOf('a'));
  await cache.getConfigMap('ns', 'cm');
  cache.forgetPod('a');
  await api.delete(configMaps, at);
  await api.create(configMaps, { namespace: 'ns' }, configMap('2', { immutable: true }));
  cache.registerPod(podOf('b'));
  expect((await cache.getConfigMap('ns', 'cm'))?.data).toEqual({ k: '2' });
});

test('an object that no pod refers to is refused; one that is missing is undefined', async () => {
  await expect(cache.getSecret('ns', 'x')).rejects.toThrow('object "ns"/"x" not registered');
  cache.registerPod(podOf('a'));
  expect(await cache.getConfigMap('ns', 'cm')).toBeUndefined();
  await api.create(configMaps, { namespace: 'ns' }, configMap('1'));
  await clock.advance(0);
  expect(changed).toEqual(['a']);
});

test('a pod that did not get its object in time hears of it when the first list comes', async () => {
  await api.create(configMaps, { namespace: 'ns' }, configMap('1'));
  for (const verb of ['list', 'list', 'watch', 'watch', 'get'] as const) api.failNext(verb, new Error('no route'));
  cache.registerPod(podOf('a'));
  const read = cache.getConfigMap('ns', 'cm').catch((err: Error) => err.message);
  await clock.advance(1000);
  expect(await read).toBe('failed to sync configmap cache: timed out waiting for the condition');
  expect(changed).toEqual([]);
  await clock.advance(30_000);
  expect(changed).toEqual(['a']);
  expect((await cache.getConfigMap('ns', 'cm'))?.data).toEqual({ k: '1' });
});

test('a changed pod lets go of what it no longer names', async () => {
  cache.registerPod(podOf('a', 'one'));
  cache.registerPod(podOf('a', 'two'));
  expect(cache.size).toBe(1);
  await expect(cache.getConfigMap('ns', 'one')).rejects.toThrow(/not registered/);
});

test('an immutable object is read once and not watched', async () => {
  await api.create(configMaps, { namespace: 'ns' }, configMap('1', { immutable: true }));
  cache.registerPod(podOf('a'));
  expect((await cache.getConfigMap('ns', 'cm'))?.data).toEqual({ k: '1' });
  await clock.advance(0);
  await api.patch(configMaps, at, { type: 'merge', body: { data: { k: '2' } } });
  await clock.advance(60_000);
  expect(changed).toEqual([]);
  expect((await cache.getConfigMap('ns', 'cm'))?.data).toEqual({ k: '1' });
});

test('an object that becomes immutable is told of, and not watched any more', async () => {
  await api.create(configMaps, { namespace: 'ns' }, configMap('1'));
  cache.registerPod(podOf('a'));
  await cache.getConfigMap('ns', 'cm');
  await clock.advance(0);
  await api.patch(configMaps, at, { type: 'merge', body: { data: { k: '2' }, immutable: true } });
  await clock.advance(0);
  await api.patch(configMaps, at, { type: 'merge', body: { data: { k: '3' } } });
  await clock.advance(60_000);
  expect(changed).toEqual(['a']);
  expect((await cache.getConfigMap('ns', 'cm'))?.data).toEqual({ k: '2' });
});
