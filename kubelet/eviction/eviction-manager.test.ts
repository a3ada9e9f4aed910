import { beforeEach, describe, expect, test } from 'vitest';
import type { Pod, PodSpec, PodStatus } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { FakeEvents } from '../fake-managers.ts';
import { type EvictionDeps, EvictionManager, type EvictionOptions } from './eviction-manager.ts';
import { FakeUsage, fsOf, memoryOf, storageOf } from './fake-usage.ts';
import type { PodEnd } from './pod-evictions.ts';
import { parseThresholds, type ThresholdSettings } from './thresholds.ts';

const GIB = 2 ** 30;
const LOOK_MS = 500;
const NOTHING: ThresholdSettings = { hard: {}, soft: {}, softGraceMs: {}, minReclaim: {}, enforcesPods: false };

let clock: FakeClock;
let usage: FakeUsage;
let events: FakeEvents;
let pods: Pod[];
/** What was done, in order. */
let done: string[];
let ends: Map<string, PodEnd>;
let conditions: string[];
/** Pods that do not end by themselves, to be ended by the test. */
let stubborn: Map<string, PromiseWithResolvers<void>>;

beforeEach(() => {
  clock = new FakeClock();
  usage = new FakeUsage();
  events = new FakeEvents();
  pods = [];
  done = [];
  ends = new Map();
  conditions = [];
  stubborn = new Map();
});

function add(name: string, workingSetBytes: number, more: Partial<PodSpec> = {}): Pod {
  const pod: Pod = { metadata: { name, namespace: 'ns', uid: name }, spec: { containers: [{ name: 'c' }], ...more } };
  pods.push(pod);
  usage.memory.set(name, workingSetBytes);
  return pod;
}

function managerOf(thresholds: Partial<ThresholdSettings>, more: Partial<EvictionOptions & EvictionDeps> = {}) {
  const manager: EvictionManager = new EvictionManager(
    {
      thresholds: parseThresholds({ ...NOTHING, ...thresholds }),
      transitionMs: 300_000,
      maxPodGraceSeconds: 0,
      enforcesLocalLimits: false,
      ...more,
    },
    {
      usage,
      podsKnown: () => true,
      activePods: () => pods,
      endPod: (pod, end) => {
        const name = pod.metadata!.name!;
        done.push(`end ${name} in ${end.graceSeconds}s`);
        ends.set(name, end);
        const ended = stubborn.get(name)?.promise ?? Promise.resolve();
        return { stopped: ended, cleanedUp: ended };
      },
      reclaim: {
        'dead-containers': async () => void done.push('dead containers'),
        'unused-images': async () => void done.push('unused images'),
      },
      onConditions: () => conditions.push(manager.conditions.join()),
      events,
      node: { kind: 'Node', name: 'n1' },
      metrics: { evictions: { inc: (l) => done.push(`count ${JSON.stringify(l)}`) }, statsAge: { observe: () => {} } },
      clock,
      log: silentLog,
      ...more,
    },
  );
  return manager;
}

/** Runs it while the test acts; it must leave no timer behind. */
async function running(manager: EvictionManager, act: () => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const ended = manager.run(stop.signal);
  await clock.advance(0);
  await act();
  stop.abort();
  await clock.advance(0);
  await ended;
  expect(clock.sleeping).toBe(0);
}

const evicted = () => [...ends.keys()];
const HARD = { hard: { 'memory.available': '1Gi' } };

describe('eviction', () => {
  test('one pod at a time, the greediest first, until there is enough again', async () => {
    for (const [name, used] of [['a', 1], ['b', 3], ['c', 2]] as const) add(name, used * GIB); // biome-ignore format: a table
    stubborn.set('b', Promise.withResolvers());
    await running(managerOf(HARD), async () => {
      usage.availableBytes = GIB / 2;
      await clock.advance(LOOK_MS);
      expect(evicted()).toEqual(['b']);
      await clock.advance(5 * LOOK_MS);
      expect(evicted()).toEqual(['b']); // it ends still
      stubborn.get('b')?.resolve();
      pods = pods.filter((p) => p.metadata?.name !== 'b');
      await clock.advance(LOOK_MS);
      expect(evicted()).toEqual(['b', 'c']);
      usage.availableBytes = 2 * GIB;
      pods = pods.filter((p) => p.metadata?.name !== 'c');
      await clock.advance(20 * LOOK_MS);
      expect(evicted()).toEqual(['b', 'c']);
    });
    expect(done).toEqual([
      'end b in 1s',
      'count {"eviction_signal":"memory.available"}',
      'end c in 1s',
      'count {"eviction_signal":"memory.available"}',
    ]);
    expect(events.reasons()).toEqual(['EvictionThresholdMet', 'Evicted', 'EvictionThresholdMet', 'Evicted']);
    expect(events.events[0]?.message).toBe('Attempting to reclaim memory');
  });

  test('its status says why, and that the pod is not to blame', async () => {
    add('a', GIB);
    usage.availableBytes = GIB / 2;
    usage.containers.set('a', new Map([['c', GIB]]));
    await managerOf(HARD).look(new AbortController().signal);
    const before: PodStatus = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] };
    const message =
      'The node was low on resource: memory. Threshold quantity: 1Gi, available: 512Mi. ' +
      'Container c was using 1Gi, request is 0, has larger consumption of memory. ';
    expect(ends.get('a')?.statusOverride(before)).toMatchObject({
      phase: 'Failed',
      reason: 'Evicted',
      message,
      conditions: [
        { type: 'Ready' },
        { type: 'DisruptionTarget', status: 'True', reason: 'TerminationByKubelet', message },
      ],
    });
    expect(events.events.at(-1)).toMatchObject({ type: 'Warning', reason: 'Evicted', message });
  });

  test('what all pods together may use runs out before the kernel kills there', async () => {
    add('a', GIB);
    usage.allPods = memoryOf(3.5 * GIB, 4 * GIB);
    await managerOf({ ...HARD, enforcesPods: true }).look(new AbortController().signal);
    expect(done).toContain('count {"eviction_signal":"allocatableMemory.available"}');
  });

  test('critical pods stay, and the next is tried', async () => {
    add('critical', 5 * GIB, { priority: 2_000_000_000 });
    const file = add('static', 4 * GIB);
    file.metadata!.annotations = { 'kubernetes.io/config.source': 'file' };
    add('plain', GIB, { priority: 1_999_999_999 });
    usage.availableBytes = 0;
    await managerOf(HARD).look(new AbortController().signal);
    expect(evicted()).toEqual(['plain']);
  });

  test('with nobody to evict it is tried again after ten seconds, not at every look', async () => {
    add('critical', 5 * GIB, { priority: 2_000_000_000 });
    usage.availableBytes = 0;
    await running(managerOf(HARD), async () => {
      await clock.advance(9_999);
      expect(events.reasons()).toEqual(['EvictionThresholdMet']);
      await clock.advance(1_001);
      expect(events.reasons()).toEqual(['EvictionThresholdMet', 'EvictionThresholdMet']);
    });
  });

  test.each([
    ['the configured maximum', 30, { terminationGracePeriodSeconds: 60 }, 30],
    ['its own when that is shorter', 30, { terminationGracePeriodSeconds: 5 }, 5],
    ['none by default', 0, { terminationGracePeriodSeconds: 60 }, 0],
  ])('a soft threshold waits; the pod then gets %s', async (_, maxPodGraceSeconds, spec, grace) => {
    add('a', GIB, spec);
    const soft = { soft: { 'memory.available': '1Gi' }, softGraceMs: { 'memory.available': 10_000 } };
    await running(managerOf(soft, { maxPodGraceSeconds }), async () => {
      usage.availableBytes = 0;
      await clock.advance(10_000);
      expect(conditions).toEqual(['MemoryPressure']);
      expect(evicted()).toEqual([]);
      await clock.advance(LOOK_MS);
      expect(done[0]).toBe(`end a in ${grace}s`);
    });
  });

  test('a hard threshold does not wait for a pod with time to end, and takes that time away', async () => {
    add('a', 2 * GIB);
    stubborn.set('a', Promise.withResolvers());
    const both = { ...HARD, soft: { 'memory.available': '2Gi' }, softGraceMs: { 'memory.available': 0 } };
    await running(managerOf(both, { maxPodGraceSeconds: 60 }), async () => {
      usage.availableBytes = 1.5 * GIB;
      await clock.advance(LOOK_MS);
      usage.availableBytes = GIB / 2;
      await clock.advance(LOOK_MS);
      expect(done.filter((d) => d.startsWith('end'))).toEqual(['end a in 60s', 'end a in 1s']);
    });
  });

  test('one that does not end is told of, and after half a minute more the next goes', async () => {
    add('a', 2 * GIB);
    add('b', GIB);
    stubborn.set('a', Promise.withResolvers());
    usage.availableBytes = 0;
    await running(managerOf(HARD), async () => {
      await clock.advance(9_000);
      expect(events.reasons()).not.toContain('ExceededGracePeriod');
      await clock.advance(2_000);
      expect(events.events.at(-1)).toMatchObject({
        reason: 'ExceededGracePeriod',
        message: 'Container runtime did not kill the pod within specified grace period.',
      });
      pods = pods.filter((p) => p.metadata?.name !== 'a');
      await clock.advance(28_000);
      expect(evicted()).toEqual(['a']);
      await clock.advance(3_000);
      expect(evicted()).toEqual(['a', 'b']);
    });
  });

  test('disk: first what the node can give up; when that is enough no pod goes', async () => {
    add('a', 0);
    usage.storage.set('a', storageOf({ logs: { c: GIB } }));
    usage.node = fsOf(GIB / 2);
    const manager = managerOf(
      { hard: { 'nodefs.available': '1Gi' } },
      {
        reclaim: {
          'dead-containers': async () => void done.push('dead containers'),
          'unused-images': async () => {
            usage.node = fsOf(2 * GIB);
          },
        },
      },
    );
    await manager.look(new AbortController().signal);
    expect(done).toEqual(['dead containers']);
    expect(manager.conditions).toEqual(['DiskPressure']);
  });

  test('disk: otherwise the pod with most of it; a way that fails does not keep the others from being tried', async () => {
    for (const [name, bytes] of [
      ['a', 1],
      ['b', 2],
    ] as const) {
      // biome-ignore format: a table
      add(name, 0);
      usage.storage.set(name, storageOf({ logs: { c: bytes } }));
    }
    usage.node = fsOf(8 * GIB, { inodesFree: 10 });
    const manager = managerOf(
      { hard: { 'nodefs.inodesFree': '5%' } },
      {
        reclaim: {
          'dead-containers': () => Promise.reject(new Error('the runtime is away')),
          'unused-images': async () => void done.push('unused images'),
        },
      },
    );
    await manager.look(new AbortController().signal);
    expect(done.slice(0, 2)).toEqual(['unused images', 'end b in 1s']);
    expect(events.events[0]?.message).toBe('Attempting to reclaim inodes');
  });

  test('images on a disk of their own: nothing but pods frees that of the node', async () => {
    usage.images = { fs: fsOf(GIB / 2), isDedicated: true };
    usage.node = fsOf(GIB / 2);
    add('a', 0);
    await managerOf({ hard: { 'nodefs.available': '1Gi' } }).look(new AbortController().signal);
    expect(done).toEqual(['end a in 1s', 'count {"eviction_signal":"nodefs.available"}']);
    await managerOf({ hard: { 'imagefs.available': '1Gi' } }).look(new AbortController().signal);
    expect(done.slice(2, 4)).toEqual(['dead containers', 'unused images']);
  });

  test('processes', async () => {
    add('few', 0);
    add('many', 0);
    usage.processesOf.set('few', 2).set('many', 500);
    usage.processes = { max: 1000, current: 990 };
    const manager = managerOf({ hard: { 'pid.available': '5%' } });
    await manager.look(new AbortController().signal);
    expect(evicted()).toEqual(['many']);
    expect(manager.conditions).toEqual(['PIDPressure']);
  });

  test('a condition is told when it comes and when it goes', async () => {
    await running(managerOf(HARD, { transitionMs: 60_000 }), async () => {
      usage.availableBytes = 0;
      await clock.advance(LOOK_MS);
      usage.availableBytes = 4 * GIB;
      await clock.advance(59_000);
      expect(conditions).toEqual(['MemoryPressure']);
      await clock.advance(2_000);
      expect(conditions).toEqual(['MemoryPressure', '']);
    });
  });

  test('what cannot be read does not keep the rest from being watched', async () => {
    add('a', GIB);
    usage.failing.set('imageFs', new Error('the runtime is away')).set('nodeFs', new Error('stale handle'));
    usage.availableBytes = 0;
    await managerOf({ hard: { ...HARD.hard, 'nodefs.available': '1Gi', 'imagefs.available': '1Gi' } }).look(
      new AbortController().signal,
    );
    expect(evicted()).toEqual(['a']);
  });

  test('pods beyond their own limits go all together; the node is not to blame', async () => {
    for (const name of ['a', 'b', 'c']) {
      add(name, 0, { volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Mi' } }] });
      usage.storage.set(name, storageOf({ volumes: { v: name === 'c' ? 1 : 2 ** 21 } }));
    }
    add('critical', 0, { priority: 2_000_000_000, volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Mi' } }] });
    usage.storage.set('critical', storageOf({ volumes: { v: 2 ** 21 } }));
    const manager = managerOf({}, { enforcesLocalLimits: true });
    await manager.look(new AbortController().signal);
    expect(evicted()).toEqual(['a', 'b']);
    expect(done).toContain('count {"eviction_signal":"emptydirfs.limit"}');
    const status = ends.get('a')?.statusOverride({ phase: 'Running' });
    expect(status).toEqual({
      phase: 'Failed',
      reason: 'Evicted',
      message: 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
    });
    expect(manager.conditions).toEqual([]);
  });

  describe('while sizes of directories are being found out', () => {
    let walk: PromiseWithResolvers<Awaited<ReturnType<FakeUsage['podStorage']>>>;
    let walks: number;

    beforeEach(() => {
      walk = Promise.withResolvers();
      walks = 0;
      usage.podStorage = () => {
        walks++;
        return walk.promise;
      };
      for (const name of ['a', 'b']) add(name, 0, { volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Mi' } }] });
      add('greedy', 4 * GIB);
    });

    const big = () => new Map(['a', 'b'].map((name) => [name, storageOf({ volumes: { v: 2 ** 21 } })]));

    test('for limits, memory is watched; who has gone meanwhile is not evicted', async () => {
      await running(managerOf(HARD, { enforcesLocalLimits: true }), async () => {
        await clock.advance(30_000);
        usage.availableBytes = 0;
        await clock.advance(2 * LOOK_MS);
        expect(evicted()).toEqual(['greedy']);
        pods = pods.filter((p) => p.metadata?.name === 'b');
        usage.availableBytes = 4 * GIB;
        expect(walks).toBe(1);
        walk.resolve(big());
        await clock.advance(0);
        expect(evicted()).toEqual(['greedy', 'b']);
      });
    });

    test('for a full disk, memory is watched; nobody goes for the disk when it is not full any more', async () => {
      await running(managerOf({ hard: { ...HARD.hard, 'nodefs.available': '1Gi' } }), async () => {
        usage.node = fsOf(GIB / 2);
        await clock.advance(30_000);
        usage.availableBytes = 0;
        await clock.advance(2 * LOOK_MS);
        expect(evicted()).toEqual(['greedy']);
        usage.availableBytes = 4 * GIB;
        usage.node = fsOf(4 * GIB);
        await clock.advance(2 * LOOK_MS);
        expect(walks).toBe(1);
        walk.resolve(big());
        await clock.advance(2 * LOOK_MS);
        expect(evicted()).toEqual(['greedy']);
      });
    });

    test('a failure is tried again', async () => {
      await running(managerOf({}, { enforcesLocalLimits: true }), async () => {
        await clock.advance(2_000);
        walk.reject(new Error('no du'));
        await clock.advance(0);
        walk = Promise.withResolvers();
        walk.resolve(big());
        await clock.advance(10_000);
        expect(evicted()).toEqual(['a', 'b']);
      });
    });
  });

  test('nothing is done before it is known which pods there are; what is short is told', async () => {
    let podsKnown = false;
    add('a', GIB);
    usage.availableBytes = 0;
    await running(managerOf(HARD, { podsKnown: () => podsKnown }), async () => {
      await clock.advance(5_000);
      expect([conditions, evicted()]).toEqual([['MemoryPressure'], []]);
      podsKnown = true;
      await clock.advance(LOOK_MS);
      expect(evicted()).toEqual(['a']);
    });
  });

  test('with nothing to watch nothing is looked at', async () => {
    usage.failing.set('nodeMemory', new Error('looked'));
    await running(managerOf({}), async () => {
      expect(clock.sleeping).toBe(0);
    });
  });
});
