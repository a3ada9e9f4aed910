import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { type ResourceClaim, resourceClaims } from '../../api/resource-claims.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { AgentError } from '../../core/errors.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { CriError } from '../../cri/errors.ts';
import { ClaimCache } from './claim-cache.ts';
import { ClaimManager } from './claim-manager.ts';
import { DeviceHealth } from './device-health.ts';
import { FakeDriver } from './fake-driver.ts';

const signal = new AbortController().signal;
let dir = '';
let clock: FakeClock;
let api: FakeApi;
let drivers: Map<string, FakeDriver>;
let cache: ClaimCache;
let manager: ClaimManager;
let health: DeviceHealth;
let observed: string[];

/** The agent is started (again): what it knows comes from disk. */
function start(): void {
  cache = new ClaimCache(dir);
  manager = new ClaimManager({
    client: api,
    plugins: {
      connect(name) {
        const driver = drivers.get(name);
        if (driver === undefined) throw new AgentError(`DRA driver ${name} is not registered`, { code: 'X' });
        return driver;
      },
    },
    cache,
    health,
    observe: (operation, failed) => observed.push(`${operation}${failed ? ' failed' : ''}`),
    lifetime: () => signal,
    log: silentLog,
  });
}

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'dra-'));
  api = new FakeApi();
  drivers = new Map(['a', 'b'].map((name) => [name, new FakeDriver(name)]));
  observed = [];
  clock = new FakeClock();
  health = new DeviceHealth(clock);
  start();
});
afterEach(async () => {
  await rm(dir, { recursive: true });
});

/** A claim that devices of `of` were given to, reserved for pods of these names. */
function claim(name: string, of: readonly string[], pods: readonly string[], uid = `uid-${name}`): ResourceClaim {
  const results = of.map((driver) => ({ request: 'r', driver, pool: 'pool', device: `dev-${name}` }));
  const reservedFor = pods.map((pod) => ({ resource: 'pods', name: pod, uid: `uid-${pod}` }));
  const object = {
    metadata: { namespace: 'ns', name, uid },
    status: { allocation: { devices: { results } }, reservedFor },
  };
  return api.seed(resourceClaims, object)[0]!;
}

const podWith = (name: string, ...claims: readonly string[]): Pod =>
  ({
    metadata: { namespace: 'ns', name, uid: `uid-${name}` },
    spec: { containers: [], resourceClaims: claims.map((c) => ({ name: `${c}-entry`, resourceClaimName: c })) },
  }) as Pod;

const container = (...used: readonly { name: string; request?: string }[]) =>
  ({ name: 'main', resources: { claims: used } }) as never;

const a = () => drivers.get('a')!;
const b = () => drivers.get('b')!;

test('each driver is asked once for all claims of the pod; containers get the devices of theirs', async () => {
  claim('one', ['a', 'b'], ['web']);
  claim('two', ['a'], ['web']);
  const pod = podWith('web', 'one', 'two');
  await manager.prepare(pod, signal);
  expect([a().calls, b().calls]).toEqual([['prepare one,two'], ['prepare one']]);
  expect(manager.cdiDevices(pod, container({ name: 'one-entry' }))).toEqual(['a/dev=one', 'b/dev=one']);
  expect(manager.cdiDevices(pod, container({ name: 'two-entry', request: 'r' }))).toEqual(['a/dev=two']);
  expect(manager.cdiDevices(pod, container({ name: 'two-entry', request: 'other' }))).toEqual([]);
  // Named twice, e.g. by two requests that one device serves.
  const twice = [{ name: 'two-entry', request: 'r' }, { name: 'two-entry' }];
  expect(manager.cdiDevices(pod, container(...twice))).toEqual(['a/dev=two']);
  expect(manager.cdiDevices(pod, container())).toEqual([]);
  await manager.prepare(pod, signal);
  expect(a().calls).toHaveLength(1);
  expect(observed).toEqual(['PrepareResources', 'PrepareResources']);
});

test('a claim is let go with its last pod, once', async () => {
  claim('shared', ['a'], ['one', 'two']);
  const [one, two] = [podWith('one', 'shared'), podWith('two', 'shared')];
  await manager.prepare(one, signal);
  await manager.prepare(two, signal);
  expect(a().calls).toEqual(['prepare shared']);
  await manager.unprepare(one, signal);
  expect(a().calls).toHaveLength(1);
  expect([manager.holds('uid-one'), manager.holds('uid-two')]).toEqual([false, true]);
  await manager.unprepare(two, signal);
  await manager.unprepare(two, signal);
  expect(a().calls).toEqual(['prepare shared', 'unprepare shared']);
  expect(manager.uids().size).toBe(0);
  expect(new ClaimCache(dir).podUids().size).toBe(0);
});

test('a pod that names a claim of another one, and may not have it, does not take it away', async () => {
  claim('c', ['a'], ['owner']);
  await manager.prepare(podWith('owner', 'c'), signal);
  const thief = podWith('thief', 'c');
  await expect(manager.prepare(thief, signal)).rejects.toThrow(
    'prepare dynamic resources: pod thief (uid-thief) is not allowed to use ResourceClaim c (uid-c)',
  );
  await manager.unprepare(thief, signal);
  expect(a().calls).toEqual(['prepare c']);
  expect(observed).toEqual(['PrepareResources', 'PrepareResources failed']);
});

describe('what can go wrong before a driver is asked leaves nothing behind', () => {
  test.each([
    ['no such claim', () => {}, /^prepare dynamic resources: fetch ResourceClaim c: .*"c" not found/],
    ['a driver that is not there', () => claim('c', ['a', 'missing'], ['web']), /DRA driver missing is not registered/],
    [
      'not reserved',
      () => claim('c', ['a'], []),
      /pod web \(uid-web\) is not allowed to use ResourceClaim c \(uid-c\)/,
    ],
  ])('%s', async (_what, arrange, text) => {
    arrange();
    const pod = podWith('web', 'c');
    await expect(manager.prepare(pod, signal)).rejects.toThrow(text);
    expect(manager.holds('uid-web')).toBe(false);
    expect(a().calls).toEqual([]);
    await manager.unprepare(pod, signal); // can be deleted without the driver
  });
});

describe('drivers that fail', () => {
  test.each([
    ['says no', 'no more', 'NodePrepareResources failed for ResourceClaim c: no more'],
    [
      'breaks off',
      new CriError('/m', 'UNAVAILABLE', 'gone'),
      'NodePrepareResources: rpc error: code = Unavailable desc = gone',
    ],
  ])('one that %s is asked again, and must undo what it began', async (_what, fault, text) => {
    claim('c', ['a'], ['web']);
    const pod = podWith('web', 'c');
    a().fault = () => fault;
    await expect(manager.prepare(pod, signal)).rejects.toThrow(`prepare dynamic resources: ${text}`);
    expect(manager.holds('uid-web')).toBe(true);
    expect(manager.takeWaiting()).toEqual(['uid-web']);
    a().fault = () => undefined;
    await manager.prepare(pod, signal);
    a().fault = () => fault;
    const why = text.replace('NodePrepare', 'NodeUnprepare');
    await expect(manager.unprepare(pod, signal)).rejects.toThrow(`unprepare dynamic resources: ${why}`);
    expect(manager.holds('uid-web')).toBe(true);
    a().fault = () => undefined;
    await manager.unprepare(pod, signal);
    expect(a().prepared.size).toBe(0);
    expect(manager.takeWaiting()).toEqual([]);
  });

  test('answers for the wrong claims are not taken', async () => {
    claim('one', ['a'], ['web']);
    claim('two', ['a'], ['web']);
    const pod = podWith('web', 'one', 'two');
    a().skips.add('uid-two');
    await expect(manager.prepare(pod, signal)).rejects.toThrow('NodePrepareResources skipped 1 ResourceClaims');
    a().skips.clear();
    a().extra = { stranger: { devices: [], error: '' } };
    await expect(manager.prepare(pod, signal)).rejects.toThrow(
      'NodePrepareResources returned result for unknown claim UID stranger',
    );
    a().extra = {};
    await manager.prepare(pod, signal);
    a().skips.add('uid-one');
    await expect(manager.unprepare(pod, signal)).rejects.toThrow('NodeUnprepareResources skipped 1 ResourceClaims');
  });

  test('of two drivers the one that went well is asked again, too, and only its last answer counts', async () => {
    claim('c', ['a', 'b'], ['web']);
    const pod = podWith('web', 'c');
    b().fault = () => 'not yet';
    await expect(manager.prepare(pod, signal)).rejects.toThrow('not yet');
    b().fault = () => undefined;
    await manager.prepare(pod, signal);
    expect(a().calls).toEqual(['prepare c', 'prepare c']);
    expect(manager.cdiDevices(pod, container({ name: 'c-entry' }))).toEqual(['a/dev=c', 'b/dev=c']);
  });
});

describe('the agent is started anew', () => {
  test('containers of a pod that runs get their devices without a driver; a new sandbox asks again', async () => {
    claim('c', ['a'], ['web']);
    const pod = podWith('web', 'c');
    await manager.prepare(pod, signal);
    start();
    expect(manager.isKnown(pod)).toBe(true);
    expect(manager.cdiDevices(pod, container({ name: 'c-entry' }))).toEqual(['a/dev=c']);
    await manager.prepare(pod, signal);
    expect(a().calls).toEqual(['prepare c', 'prepare c']);
    expect(manager.cdiDevices(pod, container({ name: 'c-entry' }))).toEqual(['a/dev=c']);
  });

  test('what it was killed in the middle of is undone, even if no driver ever answered', async () => {
    claim('c', ['a'], ['web']);
    a().fault = () => new Promise(() => {});
    void manager.prepare(podWith('web', 'c'), signal).catch(() => {}); // never ends
    await vi.waitFor(() => expect(a().calls).toEqual(['prepare c']), 60_000);
    start();
    a().fault = () => undefined;
    expect([...manager.uids()]).toEqual(['uid-web']);
    manager.forget('uid-web');
    manager.forget('uid-web');
    await vi.waitFor(() => expect(manager.holds('uid-web')).toBe(false), 60_000);
    expect(a().calls).toEqual(['prepare c', 'unprepare c']);
  });

  test('without its record a pod that runs is prepared again before a container of it starts', () => {
    claim('c', ['a'], ['web']);
    const pod = podWith('web', 'c');
    expect(manager.isKnown(pod)).toBe(false);
    expect(() => manager.cdiDevices(pod, container({ name: 'c-entry' }))).toThrow(
      'unable to get claim info for ResourceClaim c in namespace ns',
    );
  });
});

test('a claim of the same name that is another one waits until the old one has been let go', async () => {
  claim('c', ['a'], ['old'], 'uid-1');
  await manager.prepare(podWith('old', 'c'), signal);
  await api.delete(resourceClaims, { namespace: 'ns', name: 'c' });
  claim('c', ['a'], ['new'], 'uid-2');
  const next = podWith('new', 'c');
  await expect(manager.prepare(next, signal)).rejects.toThrow(
    'old ResourceClaim with same name c and different UID uid-1 still exists (previous pod force-deleted?!)',
  );
  await manager.unprepare(podWith('old', 'c'), signal);
  await manager.prepare(next, signal);
  expect(a().prepared).toEqual(new Set(['uid-2']));
});

test('a pod that starts while the last one lets its claim go gets it prepared anew', async () => {
  claim('c', ['a'], ['first', 'second']);
  await manager.prepare(podWith('first', 'c'), signal);
  const answer = Promise.withResolvers<void>();
  a().fault = (call) => (call === 'unprepare' ? answer.promise : undefined);
  const letGo = manager.unprepare(podWith('first', 'c'), signal);
  await vi.waitFor(() => expect(a().calls.at(-1)).toBe('unprepare c'), 60_000);
  const start2 = manager.prepare(podWith('second', 'c'), signal);
  answer.resolve();
  await Promise.all([letGo, start2]);
  expect(a().calls).toEqual(['prepare c', 'unprepare c', 'prepare c']);
  expect([manager.holds('uid-first'), manager.holds('uid-second')]).toEqual([false, true]);
  expect(a().prepared).toEqual(new Set(['uid-c']));
});

test('a pod that ends while a driver hangs gives up at once and has the driver undo it', async () => {
  claim('c', ['a'], ['web']);
  const stop = new AbortController();
  const stopped = new Promise<void>((_, reject) => {
    stop.signal.addEventListener('abort', () => reject(new CriError('/m', 'CANCELLED', 'context canceled')));
  });
  stopped.catch(() => {});
  a().fault = (call) => (call === 'prepare' ? stopped : undefined);
  const preparing = manager.prepare(podWith('web', 'c'), stop.signal);
  await vi.waitFor(() => expect(a().calls).toEqual(['prepare c']), 60_000);
  stop.abort();
  await expect(preparing).rejects.toThrow('NodePrepareResources: rpc error: code = Canceled desc = context canceled');
  await manager.unprepare(podWith('web', 'c'), signal);
  expect(a().calls).toEqual(['prepare c', 'unprepare c']);
});

test('a record that cannot be written keeps the driver from being asked, and the pod from being over', async () => {
  claim('c', ['a'], ['web']);
  const pod = podWith('web', 'c');
  await rm(dir, { recursive: true });
  await expect(manager.prepare(pod, signal)).rejects.toThrow(/checkpoint ResourceClaim state: ENOENT/);
  expect(a().calls).toEqual([]);
  await mkdir(dir);
  await manager.prepare(pod, signal);
  await rm(dir, { recursive: true });
  await expect(manager.unprepare(pod, signal)).rejects.toThrow(/checkpoint ResourceClaim state: ENOENT/);
  await expect(manager.unprepare(pod, signal)).rejects.toThrow(/ENOENT/); // the driver has let go, the record has not
  await mkdir(dir);
  await manager.unprepare(pod, signal);
  expect(a().calls).toEqual(['prepare c', 'unprepare c']);
});

test('a container shows how well the devices of its claims are, as long as their driver says so', async () => {
  claim('one', ['a', 'b'], ['web']);
  const uses = [{ name: 'one-entry' }, { name: 'one-entry', request: 'r' }, { name: 'one-entry', request: 'other' }];
  const plain = podWith('web', 'one');
  const containers = [{ name: 'main', resources: { claims: uses } }, { name: 'plain' }];
  const pod = { ...plain, spec: { ...plain.spec, containers } } as Pod;
  expect(manager.health(pod, 'main')).toBeUndefined();
  await manager.prepare(pod, signal);
  const say = (driver: string, state: number, message = '', timeoutSeconds = 0) =>
    health.update(driver, [
      {
        device: { poolName: 'pool', deviceName: 'dev-one' },
        health: state,
        lastUpdatedTime: 0,
        healthCheckTimeoutSeconds: timeoutSeconds,
        message,
      },
    ]);
  expect([say('a', 1), say('a', 1), say('b', 2, 'hot', 60)]).toEqual([true, false, true]);
  const resources = [
    { resourceID: 'a/dev=one', health: 'Healthy' },
    { resourceID: 'b/dev=one', health: 'Unhealthy', message: 'hot' },
  ];
  expect(manager.health(pod, 'main')).toEqual([
    { name: 'claim:one-entry', resources },
    { name: 'claim:one-entry/r', resources },
  ]);
  expect([manager.health(pod, 'plain'), manager.health(pod, 'gone')]).toEqual([undefined, undefined]);
  expect(manager.usersOf('a')).toEqual(new Set(['uid-web']));
  const states = () => manager.health(pod, 'main')![0]!.resources!.map((r) => r.health);
  await clock.advance(30_001);
  expect(states()).toEqual(['Unknown', 'Unhealthy']);
  expect([health.clear('b'), health.clear('b')]).toEqual([true, false]);
  expect(states()).toEqual(['Unknown', 'Unknown']);
  say('a', 7, 'x'.repeat(2000));
  expect(manager.health(pod, 'main')![0]!.resources![0]).toEqual({
    resourceID: 'a/dev=one',
    health: 'Unknown',
    message: `${'x'.repeat(1021)}...`,
  });
});
