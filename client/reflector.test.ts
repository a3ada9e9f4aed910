import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Pod } from '../api/pod.ts';
import { pods } from '../api/resources.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { createLogger, silentLog } from '../core/log.ts';
import { connectionError } from './errors.ts';
import { FakeApi, failure } from './fake-client.ts';
import { Reflector, type ReflectorOptions } from './reflector.ts';
import { Store } from './store.ts';

const pod = (name: string, more: Partial<Pod> = {}): Pod => ({ metadata: { name, namespace: 'default' }, ...more });
const verbs = (api: FakeApi) => api.requests.map((r) => r.verb);

let clock: FakeClock;
let api: FakeApi;
let store: Store<Pod>;
let stop: AbortController;
let ended: Promise<void>;
let seen: string[];

beforeEach(() => {
  clock = new FakeClock();
  api = new FakeApi({ now: () => clock.now() });
  store = new Store();
  stop = new AbortController();
  ended = Promise.resolve();
  seen = [];
  store.subscribe({
    onAdd: (p) => void seen.push(`+${p.metadata?.name}`),
    onUpdate: (_, p) => void seen.push(`~${p.metadata?.name}`),
    onDelete: (p) => void seen.push(`-${p.metadata?.name}`),
  });
});

afterEach(async () => {
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
  expect(api.watching).toBe(0);
});

async function start(opts: ReflectorOptions<Pod> = {}, log = silentLog): Promise<void> {
  const reflector = new Reflector(api, pods, store, opts, { clock, log, random: () => 0 });
  ended = reflector.run(stop.signal);
  await clock.advance(0);
}

/** Every watch that would go on from a version fails, until the returned function is called. */
function refuseVersions(error: Error): () => void {
  const answer = api.watch.bind(api);
  let refusals = 0;
  api.watch = (type, opts) => {
    if (opts.resourceVersion === undefined) return answer(type, opts);
    if (++refusals > 1_000) stop.abort(); // a tight loop would not let the test end
    api.requests.push({ verb: 'watch', plural: type.plural, body: opts });
    throw error;
  };
  return () => {
    api.watch = answer;
  };
}

test('fills the store from one watch where the server serves watch-lists', async () => {
  api.seed(pods, pod('a'), pod('b'));
  await start();
  expect(verbs(api)).toEqual(['watch']);
  expect(store.hasSynced).toBe(true);
  api.seed(pods, pod('c'));
  await api.patch(pods, { namespace: 'default', name: 'a' }, { type: 'merge', body: { spec: {} } });
  await api.delete(pods, { namespace: 'default', name: 'b' });
  await clock.advance(0);
  expect(seen).toEqual(['+a', '+b', '+c', '~a', '~b', '-b']);
});

test('a server that ignores sendInitialEvents is listed after a short silence, and never asked again', async () => {
  api = new FakeApi({ servesWatchList: false });
  api.seed(pods, pod('a'));
  await start();
  expect(store.hasSynced).toBe(false);
  await clock.advance(3_000);
  expect(store.hasSynced).toBe(true);
  expect(verbs(api)).toEqual(['watch', 'list', 'watch']);
  api.compact();
  api.endWatches();
  await clock.advance(60_000);
  expect(api.requests.length).toBeGreaterThan(3);
  expect(api.requests.slice(3).every((r) => !('sendInitialEvents' in (r.body as object)))).toBe(true);
});

test('a server that refuses sendInitialEvents is listed at once', async () => {
  api.failNext('watch', failure(422, 'sendInitialEvents is forbidden'));
  await start();
  expect(verbs(api)).toEqual(['watch', 'list', 'watch']);
  expect(store.hasSynced).toBe(true);
});

test('lists come page by page; a token that expired makes it one piece', async () => {
  api.seed(pods, ...Array.from({ length: 1200 }, (_, i) => pod(`p${i}`)));
  await start({ watchList: false });
  expect(store.size).toBe(1200);
  expect(verbs(api)).toEqual(['list', 'list', 'list', 'watch']);
});

test('a continue token that expired falls back to a list in one piece', async () => {
  api.seed(pods, ...Array.from({ length: 600 }, (_, i) => pod(`p${i}`)));
  const list = api.list.bind(api);
  api.list = async (type, opts = {}) => {
    if (opts.continue !== undefined) throw failure(410, 'too old', undefined, undefined, 'Expired');
    return list(type, opts);
  };
  await start({ watchList: false });
  expect(store.size).toBe(600);
});

test('a clean end is followed at once by a watch from the last version', async () => {
  api.seed(pods, pod('a'));
  await start();
  await clock.advance(300_000);
  api.endWatches();
  await clock.advance(0);
  expect(verbs(api)).toEqual(['watch', 'watch']);
  expect(api.requests[1]?.body).toMatchObject({ resourceVersion: '1' });
  expect(seen).toEqual(['+a']);
});

test('a bookmark moves the place to resume from', async () => {
  await start({ fieldSelector: 'spec.nodeName=n1' });
  api.seed(pods, pod('elsewhere'));
  api.bookmark(pods);
  await clock.advance(1_000);
  api.compact(); // version 0 is gone now, the bookmark's is not
  api.endWatches();
  await clock.advance(0);
  expect(api.requests.at(-1)?.body).toMatchObject({ resourceVersion: '1' });
  expect(verbs(api)).toEqual(['watch', 'watch']);
});

test('a version too old means a new list, and what vanished meanwhile is deleted', async () => {
  api.seed(pods, pod('a'), pod('b'));
  await start({ watchList: false });
  const cut = new Error('connection lost');
  api.endWatches(cut);
  await clock.advance(0);
  await api.delete(pods, { namespace: 'default', name: 'a' });
  api.compact();
  await clock.advance(800);
  expect(verbs(api)).toEqual(['list', 'watch', 'delete', 'watch', 'list', 'watch']);
  expect(seen).toEqual(['+a', '+b', '-a']);
});

test('failures back off from 0.8 s up to 30 s and start anew after a success', async () => {
  for (let i = 0; i < 8; i++) api.failNext('list', failure(503, 'down'));
  await start({ watchList: false });
  const waits: number[] = [];
  let lastMs = 0;
  for (let count = 1; count < 8; ) {
    await clock.advance(100);
    if (verbs(api).length === count) continue;
    waits.push(clock.monotonicMs() - lastMs);
    lastMs = clock.monotonicMs();
    count = verbs(api).length;
  }
  expect(waits).toEqual([800, 1600, 3200, 6400, 12_800, 25_600, 30_000]);
  await clock.advance(30_000);
  expect(store.hasSynced).toBe(true);
  api.seed(pods, pod('a')); // an event: the connection works
  await clock.advance(0);
  const before = verbs(api).length;
  api.endWatches(new Error('cut'));
  await clock.advance(799);
  expect(verbs(api).length).toBe(before);
  await clock.advance(1);
  expect(verbs(api).length).toBe(before + 1);
});

test('a server that ends every watch at once is not asked in a tight loop', async () => {
  await start({ watchList: false });
  api.endWatches();
  await clock.advance(799);
  expect(verbs(api)).toEqual(['list', 'watch']);
  await clock.advance(1);
  expect(verbs(api)).toEqual(['list', 'watch', 'watch']);
});

test('a server that tells the same again and again is not asked in a tight loop', async () => {
  await start({ watchList: false });
  await clock.advance(60_000);
  const tellAndEnd = async () => {
    api.bookmark(pods); // of the version that is known
    api.endWatches();
    await clock.advance(0);
  };
  await tellAndEnd();
  expect(verbs(api)).toEqual(['list', 'watch', 'watch']); // it had stood for a while
  await tellAndEnd();
  expect(verbs(api)).toEqual(['list', 'watch', 'watch']);
  await clock.advance(800);
  expect(verbs(api)).toEqual(['list', 'watch', 'watch', 'watch']);
});

test('a server whose versions are too old as soon as it has given them is listed less and less often', async () => {
  refuseVersions(failure(410, 'too old', undefined, undefined, 'Expired'));
  await start({ watchList: false });
  await clock.advance(60_000);
  expect(verbs(api).filter((v) => v === 'list')).toHaveLength(8);
});

test.each([400, 500, 504])(
  'a server that keeps refusing a version with %d, as one with another history may, is listed anew',
  async (code) => {
    api.seed(pods, pod('a'));
    await start();
    api.endWatches(new Error('it restarts'));
    const allow = refuseVersions(failure(code, 'Too large resource version: 1000, current: 2'));
    await clock.advance(800);
    await api.delete(pods, { namespace: 'default', name: 'a' });
    api.seed(pods, pod('b'));
    await clock.advance(10_000);
    expect(seen).toEqual(['+a', '-a', '+b']);
    allow();
  },
);

test('a server that is merely busy is asked to go on where it was', async () => {
  await start();
  api.endWatches(new Error('it restarts'));
  refuseVersions(failure(429, 'busy'));
  await clock.advance(60_000);
  expect(api.requests.slice(1).every((r) => 'resourceVersion' in (r.body as object))).toBe(true);
});

test('a server that takes its time to answer is not held for one without watch-lists', async () => {
  const answer = api.watch.bind(api);
  api.watch = async function* (type, opts) {
    await clock.sleep(20_000, opts.signal);
    yield* answer(type, opts);
  };
  api.seed(pods, pod('a'));
  await start();
  await clock.advance(20_000);
  expect(verbs(api)).toEqual(['watch']);
  expect(seen).toEqual(['+a']);
});

test('a list whose pages repeat for ever is given up', async () => {
  const list = api.list.bind(api);
  api.list = async (type, opts = {}) => {
    const page = await list(type, opts);
    if (verbs(api).length > 100) stop.abort(); // or the test would not end
    opts.signal?.throwIfAborted();
    return { ...page, metadata: { ...page.metadata, continue: 'again' } };
  };
  await start({ watchList: false });
  expect(verbs(api)).toEqual(['list', 'list']);
  expect(store.hasSynced).toBe(false);
});

test('the wait that the server asks for is kept', async () => {
  const busy = failure(429, 'busy');
  Object.assign(busy, { retryAfterSeconds: 7 });
  api.failNext('watch', busy);
  await start();
  await clock.advance(6_999);
  expect(store.hasSynced).toBe(false);
  await clock.advance(1);
  expect(store.hasSynced).toBe(true);
});

test('a server that asks for hours is asked again after the longest back-off', async () => {
  const busy = failure(503, 'go away');
  Object.assign(busy, { retryAfterSeconds: 86_400 });
  api.failNext('watch', busy);
  await start();
  await clock.advance(30_000);
  expect(store.hasSynced).toBe(true);
});

test('objects of another kind, and such without a name, change nothing', async () => {
  api.seed(pods, pod('a'));
  await start();
  const strange = { kind: 'Node', metadata: { name: 'a', namespace: 'default', resourceVersion: '999999' } };
  for (const type of ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK'] as const) {
    api.inject(pods, { type, object: strange as Pod });
  }
  api.inject(pods, { type: 'ADDED', object: {} as Pod });
  for (const type of ['ADDED', 'BOOKMARK'] as const) {
    api.inject(pods, { type, object: { metadata: { namespace: 'default', resourceVersion: '999999' } } as Pod });
  }
  api.seed(pods, pod('b'));
  await clock.advance(0);
  expect(seen).toEqual(['+a', '+b']);
  api.endWatches();
  api.seed(pods, pod('c'));
  await clock.advance(30_000);
  expect(seen).toEqual(['+a', '+b', '+c']); // the next watch goes on where this one was
});

test.each([true, false])(
  'objects that nobody could use are left out, their removal is not (watch-list: %s)',
  async (watchList) => {
    const isUsable = (p: Pod) => p.spec !== undefined;
    api.seed(pods, pod('good', { spec: { containers: [] } }), pod('bad'));
    await start({ isUsable, watchList });
    api.seed(pods, pod('worse'));
    api.inject(pods, { type: 'MODIFIED', object: pod('good') });
    const { metadata } = api.all(pods).find((p) => p.metadata?.name === 'good')!;
    api.inject(pods, { type: 'DELETED', object: { metadata: { ...metadata!, resourceVersion: '9' } } });
    await clock.advance(0);
    expect(seen).toEqual(['+good', '-good']);
  },
);

test('doubled and late events change nothing', async () => {
  const [old] = api.seed(pods, pod('a'));
  await start();
  await api.patch(pods, { namespace: 'default', name: 'a' }, { type: 'merge', body: { spec: { hostname: 'new' } } });
  await clock.advance(0);
  const current = api.all(pods)[0]!;
  api.inject(pods, { type: 'MODIFIED', object: current });
  api.inject(pods, { type: 'ADDED', object: old! });
  api.inject(pods, { type: 'DELETED', object: old! });
  api.inject(pods, { type: 'DELETED', object: { ...current, metadata: { ...current.metadata!, uid: 'earlier' } } });
  api.inject(pods, { type: 'DELETED', object: pod('stranger') });
  await clock.advance(0);
  expect(seen).toEqual(['+a', '~a']);
  expect(store.get('default/a')?.spec?.hostname).toBe('new');
});

test('an object deleted and made again is a removal and an addition', async () => {
  api.seed(pods, pod('a'));
  await start();
  await api.delete(pods, { namespace: 'default', name: 'a' });
  api.seed(pods, pod('a'));
  await clock.advance(0);
  expect(seen).toEqual(['+a', '~a', '-a', '+a']);
});

test('selectors and namespace are passed on, and objects are transformed before they are stored', async () => {
  api.seed(pods, pod('a', { spec: { nodeName: 'n1', containers: [] } }), pod('b'));
  await start({
    namespace: 'default',
    fieldSelector: 'spec.nodeName=n1',
    transform: (p) => ({ metadata: p.metadata! }),
  });
  expect(store.list().map((p) => [p.metadata?.name, p.spec])).toEqual([['a', undefined]]);
});

test('unauthorized is retried: credentials may be renewed', async () => {
  api.failNext('watch', failure(401, 'Unauthorized'));
  await start();
  expect(store.hasSynced).toBe(false);
  await clock.advance(800);
  expect(store.hasSynced).toBe(true);
});

test('a watch that falls silent after bookmarks is opened anew, from where it was', async () => {
  api.seed(pods, pod('a'));
  await start();
  await clock.advance(60_000);
  api.seed(pods, pod('b'));
  api.bookmark(pods);
  await clock.advance(149_000);
  api.bookmark(pods); // late, but there
  await clock.advance(149_000);
  expect(verbs(api)).toEqual(['watch']);
  await clock.advance(1_000);
  expect(verbs(api)).toEqual(['watch', 'watch']);
  expect(api.requests[1]?.body).toMatchObject({ resourceVersion: api.revision });
  expect(api.watching).toBe(1);
  expect(seen).toEqual(['+a', '+b']);
});

test('a server that sends no bookmarks may be silent', async () => {
  api.seed(pods, pod('a'));
  await start();
  api.seed(pods, pod('b'));
  await clock.advance(3_600_000);
  expect(verbs(api)).toEqual(['watch']);
});

test('a watch that is cut off after it stood for a while is followed at once by another', async () => {
  api.seed(pods, pod('a'));
  await start();
  const cut = connectionError(Object.assign(new Error('aborted'), { code: 'ECONNRESET' }), 'WATCH /api/v1/pods');
  await clock.advance(50_000);
  api.endWatches(cut);
  await clock.advance(0);
  expect(verbs(api)).toEqual(['watch', 'watch']);
  expect(api.requests[1]?.body).toMatchObject({ resourceVersion: '1' });
  api.endWatches(cut); // soon this time: the server may be going away
  await clock.advance(0);
  expect(verbs(api)).toEqual(['watch', 'watch']);
  await clock.advance(800);
  expect(verbs(api)).toEqual(['watch', 'watch', 'watch']);
});

test.each([
  [false, ['list and watch failed, will retry', 'list and watch failed, will retry']],
  [true, ['list and watch failed, will retry']],
])(
  'one of many watches (%s) tells what concerns itself, and leaves an outage to the others',
  async (isOneOfMany, told) => {
    const lines: string[] = [];
    const log = createLogger({
      level: 'info',
      destination: { write: (line) => void lines.push(JSON.parse(line).msg) },
    });
    api.failNext('watch', connectionError(new Error('connection refused'), 'WATCH /api/v1/pods'));
    api.failNext('watch', failure(403, 'no'));
    await start({ isOneOfMany }, log);
    await clock.advance(10_000);
    expect(store.hasSynced).toBe(true);
    expect(lines).toEqual(told);
  },
);

test('a handler that throws is told of with its object; nobody else misses anything, and the watch stands', async () => {
  const lines: string[] = [];
  const log = createLogger({ level: 'error', destination: { write: (line) => void lines.push(line) } });
  const clumsy = (p: Pod) => {
    if (p.metadata?.name === 'bad') throw new Error('cannot take it');
  };
  const handlers = { onAdd: clumsy, onUpdate: (_: Pod, p: Pod) => clumsy(p), onDelete: clumsy };
  store = new Store();
  store.subscribe(handlers);
  store.subscribe({
    onAdd: (p) => void seen.push(`+${p.metadata?.name}`),
    onUpdate: (_, p) => void seen.push(`~${p.metadata?.name}`),
    onDelete: (p) => void seen.push(`-${p.metadata?.name}`),
  });
  api.seed(pods, pod('bad'), pod('good'));
  await start({}, log);
  expect(store.hasSynced).toBe(true);
  const labels = { x: 'y' };
  await api.patch(pods, { namespace: 'default', name: 'bad' }, { type: 'merge', body: { metadata: { labels } } });
  await api.delete(pods, { namespace: 'default', name: 'bad' });
  api.seed(pods, pod('later'));
  await clock.advance(0);
  expect(seen).toEqual(['+bad', '+good', '~bad', '~bad', '-bad', '+later']);
  expect(verbs(api)).toEqual(['watch', 'patch', 'delete']);
  expect(lines.map((line) => JSON.parse(line))).toEqual(
    Array.from({ length: 4 }, () =>
      expect.objectContaining({
        msg: 'a change was not handled',
        resource: 'pods',
        object: 'default/bad',
        err: expect.objectContaining({ message: 'cannot take it' }),
      }),
    ),
  );
  store.set(pod('bad'));
  store.subscribe(handlers);
  store.subscribe({ onAdd: (p) => void seen.push(`again +${p.metadata?.name}`) });
  expect(seen.slice(-4)).toEqual(['+bad', 'again +good', 'again +later', 'again +bad']);
  expect(lines).toHaveLength(6); // one of each of the two that cannot
});
