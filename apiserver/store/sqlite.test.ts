import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { KubeObject } from '../../api/meta.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { SqliteStore } from './sqlite.ts';
import { CompactedError, type StoreEvent } from './store.ts';

const ROOT = '/registry/configmaps/';
let dir: string;
let clock: FakeClock;
let store: SqliteStore;

function open(): SqliteStore {
  return new SqliteStore({ dir, durability: 'normal' }, { clock, log: silentLog });
}

function configMap(name: string, value: string): KubeObject {
  return {
    kind: 'ConfigMap',
    apiVersion: 'v1',
    metadata: { name, namespace: 'default' },
    data: { value },
  } as KubeObject;
}

async function create(key: string, value = ''): Promise<number> {
  const result = await store.put(ROOT, key, configMap(key, value), { expected: 0 });
  if (!result.ok) throw new Error(`${key} exists`);
  return result.item.revision;
}

beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'store-test-'));
  clock = new FakeClock();
  store = open();
});

afterEach(async () => {
  await store.close();
  rmSync(dir, { recursive: true });
});

test('a write is seen by reads with its revision as resourceVersion, and after reopening', async () => {
  const revision = await create('default/a', 'x');
  expect(store.get(ROOT, 'default/a')?.object.metadata?.resourceVersion).toBe(String(revision));
  await store.close();
  store = open();
  expect(store.revision).toBe(revision);
  expect(JSON.parse(store.get(ROOT, 'default/a')!.text)).toEqual({
    ...configMap('default/a', 'x'),
    metadata: { resourceVersion: String(revision), name: 'default/a', namespace: 'default' },
  });
});

test('of two writers with the same expectation one wins and the other sees what is there', async () => {
  const [first, second] = await Promise.all([
    store.put(ROOT, 'a', configMap('a', '1'), { expected: 0 }),
    store.put(ROOT, 'a', configMap('a', '2'), { expected: 0 }),
  ]);
  expect(first.ok).toBe(true);
  expect(second).toMatchObject({ ok: false, current: { key: 'a' } });
});

test('the revision does not go back when the last write was a deletion', async () => {
  const revision = await create('a');
  const deleted = await store.delete(ROOT, 'a', { expected: revision });
  expect(deleted.ok && deleted.item.revision).toBe(revision + 1);
  await store.close();
  store = open();
  expect(store.revision).toBe(revision + 1);
});

test('lists come in the order of keys and only with the prefix', async () => {
  await Promise.all(['b/1', 'a/2', 'a/1', 'ab/1'].map((key) => create(key)));
  expect(store.list(ROOT).map((i) => i.key)).toEqual(['a/1', 'a/2', 'ab/1', 'b/1']);
  expect(store.list(ROOT, 'a/').map((i) => i.key)).toEqual(['a/1', 'a/2']);
});

test('a second process cannot open the same directory', () => {
  expect(() => open()).toThrow(expect.objectContaining({ code: 'STORE_LOCKED' }));
});

test('items with a time to live vanish as ordinary deletions, unless written again', async () => {
  const events: StoreEvent[] = [];
  await store.put(ROOT, 'old', configMap('old', ''), { expected: 0, ttlSeconds: 3600 });
  const kept = await store.put(ROOT, 'kept', configMap('kept', ''), { expected: 0, ttlSeconds: 3600 });
  store.watch(ROOT, store.revision, (e) => events.push(e));
  await clock.advance(3_000_000);
  const expected = kept.ok ? kept.item.revision : 0;
  await store.put(ROOT, 'kept', configMap('kept', 'again'), { expected, ttlSeconds: 3600 });
  await clock.advance(620_000);
  await create('barrier'); // its transaction comes after that of the sweep
  expect(store.get(ROOT, 'old')).toBeUndefined();
  expect(store.get(ROOT, 'kept')).toBeDefined();
  expect(events.map((e) => `${e.type} ${e.item.key}`)).toEqual(['put kept', 'delete old', 'put barrier']);
});

describe('history', () => {
  test('a list of an earlier revision undoes what came after', async () => {
    const first = await create('a', '1');
    const second = await create('b', '1');
    await store.put(ROOT, 'a', configMap('a', '2'), { expected: first });
    await store.delete(ROOT, 'b', { expected: second });
    expect(store.listAt(second, ROOT).map((i) => [i.key, i.revision])).toEqual([
      ['a', first],
      ['b', second],
    ]);
  });

  test('a watch from a compacted revision is refused, from a later one it resumes', async () => {
    const first = await create('a');
    const second = await create('b');
    await create('c');
    store.compact(second);
    expect(() => store.watch(ROOT, first, () => {})).toThrow(CompactedError);
    const keys: string[] = [];
    store.watch(ROOT, second, (e) => keys.push(e.item.key));
    expect(keys).toEqual(['c']);
  });

  test('after reopening, a watcher that saw everything goes on', async () => {
    const last = await create('a');
    await store.close();
    store = open();
    const keys: string[] = [];
    store.watch(ROOT, last, (e) => keys.push(e.item.key));
    await create('b');
    expect(keys).toEqual(['b']);
    expect(() => store.watch(ROOT, last - 1, () => {})).toThrow(CompactedError);
  });
});

test('replaying a watch from any point gives the state of the store', async () => {
  const step = fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), remove: fc.boolean(), value: fc.string() });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.nat(30), async (steps, startAt) => {
      const replay = new Map<string, string>();
      let watching: Disposable | undefined;
      for (const [i, { key, remove, value }] of steps.entries()) {
        if (i === Math.min(startAt, steps.length - 1)) watching = startReplay(replay);
        const expected = store.get(ROOT, key)?.revision ?? 0;
        if (remove && expected > 0) await store.delete(ROOT, key, { expected });
        else await store.put(ROOT, key, configMap(key, value), { expected });
      }
      watching?.[Symbol.dispose]();
      const now = new Map(store.list(ROOT).map((i) => [i.key, i.text]));
      if (watching !== undefined) expect(new Map([...replay].sort())).toEqual(now);
    }),
    { numRuns: 40 },
  );
});

function startReplay(replay: Map<string, string>): Disposable {
  for (const item of store.list(ROOT)) replay.set(item.key, item.text);
  return store.watch(ROOT, store.revision, ({ type, item }) => {
    if (type === 'put') replay.set(item.key, item.text);
    else replay.delete(item.key);
  });
}

test('after kill -9 in a storm of writes every acknowledged revision is there', async () => {
  await store.close();
  const child = spawn(process.execPath, [path.join(import.meta.dirname, 'write-storm.fixture.ts'), dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const acknowledged = await readAcknowledged(child, 500);
  store = open();
  const last = acknowledged.at(-1)!;
  expect(store.revision).toBeGreaterThanOrEqual(last.revision);
  for (const { key, revision } of acknowledged) expect(store.get(ROOT, key)?.revision).toBe(revision);
  expect(await create('after')).toBeGreaterThan(last.revision);
});

/** Kills the child once it has acknowledged `count` writes; returns all it did acknowledge. */
async function readAcknowledged(child: ChildProcess, count: number): Promise<{ key: string; revision: number }[]> {
  const acknowledged: { key: string; revision: number }[] = [];
  const exited = once(child, 'exit');
  for await (const line of createInterface({ input: child.stdout! })) {
    const [key, revision] = line.split(' ');
    acknowledged.push({ key: key!, revision: Number(revision) });
    if (acknowledged.length === count) child.kill('SIGKILL');
  }
  await exited;
  return acknowledged;
}
