import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { aborted } from '../core/abort.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { CriError } from '../cri/errors.ts';
import { FakeRuntimeManager } from './fake-runtime-manager.ts';
import { Pleg } from './pleg.ts';
import { PodCache } from './pod-cache.ts';

const POD = {
  metadata: { name: 'p', namespace: 'ns', uid: 'u' },
  spec: { containers: [{ name: 'main', image: 'image' }] },
};
/** After the stream began: from now on the runtime is listed once a minute. */
const SETTLED_MS = 2_000;
const IDENTITY = { uid: 'u', name: 'p', namespace: 'ns' };

let clock: FakeClock;
let runtime: FakeRuntimeManager;
let cache: PodCache;
let pleg: Pleg;
let changed: string[];
let stop: AbortController;
let ended: Promise<void>;

type Listing = ConstructorParameters<typeof Pleg>[0]['runtime'];

function start(events: ConstructorParameters<typeof Pleg>[0]['events'] = runtime, listing: Listing = runtime): void {
  const onPodChanged = (uid: string) => changed.push(uid);
  pleg = new Pleg({ runtime: listing, events, cache, clock, log: silentLog, onPodChanged });
  ended = pleg.run(stop.signal);
}

beforeEach(() => {
  clock = new FakeClock();
  runtime = new FakeRuntimeManager(clock);
  cache = new PodCache({ runtime, clock });
  changed = [];
  stop = new AbortController();
});

afterEach(async () => {
  stop.abort();
  await clock.advance(0);
  await ended;
  expect(clock.sleeping).toBe(0);
});

async function adoptAndRead(): Promise<void> {
  runtime.adopt(POD, 0);
  start();
  await clock.advance(0);
  await cache.fresh(IDENTITY);
  changed = [];
}

test('an exit marks the pod at once, and the same event again does not', async () => {
  await adoptAndRead();
  runtime.exit('u', 'main', 1);
  await clock.advance(0);
  expect(changed).toEqual(['u']);
  const status = await cache.fresh(IDENTITY);
  expect(status.containers[0]?.state).toBe('exited');
  runtime.emit({ type: 'stopped', containerId: status.containers[0]!.id });
  runtime.emit({ type: 'started', containerId: status.containers[0]!.id }); // late
  await clock.advance(0);
  expect(changed).toEqual(['u']);
  expect(cache.isStale('u')).toBe(false);
});

test('that memory ran out counts when it is told after the end, which may have told less', async () => {
  await adoptAndRead();
  const id = (await cache.fresh(IDENTITY)).containers[0]!.id;
  runtime.emit({ type: 'oom', containerId: id });
  await clock.advance(0);
  expect(changed).toEqual([]); // the end follows
  runtime.exit('u', 'main', 137);
  await clock.advance(0);
  await cache.fresh(IDENTITY);
  changed = [];
  runtime.emit({ type: 'oom', containerId: id });
  await clock.advance(0);
  expect(changed).toEqual(['u']);
  expect(cache.isStale('u')).toBe(true);
});

describe('a container that is killed', () => {
  const containerId = () => runtime.containersOf('u')[0]!.id;

  test('is told of a moment later when nobody says that memory ran out', async () => {
    await adoptAndRead();
    runtime.exit('u', 'main', 137);
    await clock.advance(199);
    expect(changed).toEqual([]);
    await clock.advance(1);
    expect(changed).toEqual(['u']);
    expect((await cache.fresh(IDENTITY)).containers[0]?.state).toBe('exited');
    await clock.advance(1000);
    expect(changed).toEqual(['u']);
  });

  test('is told of at once when the notice comes before its end, or right after it', async () => {
    await adoptAndRead();
    runtime.emit({ type: 'oom', containerId: containerId() });
    await clock.advance(10_000);
    expect(changed).toEqual([]); // one of its processes may have been killed, and it may run on
    runtime.exit('u', 'main', 137);
    await clock.advance(0);
    expect(changed).toEqual(['u']);

    runtime.adopt({ ...POD, metadata: { ...POD.metadata, uid: 'v' } }, 0);
    cache.markStale('v');
    const { id } = (await cache.fresh({ ...IDENTITY, uid: 'v' })).containers[0]!;
    runtime.exit('v', 'main', 137);
    await clock.advance(50);
    expect(changed).toEqual(['u']);
    runtime.emit({ type: 'oom', containerId: id });
    await clock.advance(0);
    expect(changed).toEqual(['u', 'v']);
    await clock.advance(1000);
    expect(changed).toEqual(['u', 'v']);
    expect(runtime.calls.filter((call) => call.startsWith('memoryRanOut'))).toHaveLength(2);
  });

  test('is read again when the notice comes while its end is being read, whatever it ended with', async () => {
    await adoptAndRead();
    const id = containerId();
    runtime.exit('u', 'main', 1);
    await clock.advance(0);
    expect(changed).toEqual(['u']);
    const gate = Promise.withResolvers<void>();
    runtime.statusGate = gate.promise;
    const reading = cache.fresh(IDENTITY);
    runtime.emit({ type: 'oom', containerId: id });
    await clock.advance(0);
    expect(changed).toEqual(['u', 'u']);
    gate.resolve();
    const reads = runtime.countCalls('getPodStatus');
    await reading;
    expect(runtime.countCalls('getPodStatus')).toBe(reads + 1);
  });

  test('needs no notice when its own worker has read of its end', async () => {
    await adoptAndRead();
    runtime.exit('u', 'main', 137);
    await clock.advance(0);
    cache.markStale('u'); // as after a StopContainer of ours
    await cache.fresh(IDENTITY);
    await clock.advance(1000);
    expect(changed).toEqual([]);
  });
});

test('a mark that comes while the status is being read makes it be read again', async () => {
  await adoptAndRead();
  cache.markStale('u');
  const reading = cache.fresh(IDENTITY); // asks now and sees the container running
  runtime.exit('u', 'main', 1);
  cache.markStale('u');
  expect((await reading).containers[0]?.state).toBe('exited');
});

test('events of a container that nobody knows lead to a relist', async () => {
  start();
  await clock.advance(SETTLED_MS);
  const lists = runtime.countCalls('listPods');
  runtime.adopt(POD, 0); // made by somebody else
  await clock.advance(500);
  expect(runtime.countCalls('listPods')).toBe(lists);
  await clock.advance(600);
  expect(runtime.countCalls('listPods')).toBe(lists + 1);
  expect(changed).toEqual(['u']);
});

test('an event that comes while a list is on its way is not answered by it', async () => {
  let gate: Promise<void> | undefined;
  start(runtime, {
    memoryRanOut: (id) => runtime.memoryRanOut(id),
    listPods: async () => {
      const pods = await runtime.listPods();
      await gate;
      return pods;
    },
  });
  await clock.advance(0);
  const { promise, resolve } = Promise.withResolvers<void>();
  gate = promise;
  pleg.requestRelist();
  await clock.advance(0);
  runtime.adopt(POD, 0); // made by somebody else, too late for the list
  await clock.advance(0);
  resolve();
  await clock.advance(0);
  expect(changed).toEqual([]);
  await clock.advance(1100);
  expect(changed).toEqual(['u']);
});

test('a list that fails is tried again after a second, with an event stream too', async () => {
  start();
  await clock.advance(0);
  const lists = runtime.countCalls('listPods');
  runtime.failNext('listPods', new Error('unavailable'));
  pleg.requestRelist();
  await clock.advance(0);
  expect(pleg.current).toBeUndefined();
  await clock.advance(1000);
  expect(pleg.current).toEqual([]);
  expect(runtime.countCalls('listPods')).toBe(lists + 2);
});

test('events that have not waited long lead to no relist, whatever waited before them', async () => {
  start();
  await clock.advance(SETTLED_MS);
  const lists = runtime.countCalls('listPods');
  runtime.emit({ type: 'started', containerId: 'first' });
  runtime.emit({ type: 'deleted', containerId: 'first' });
  await clock.advance(900);
  runtime.emit({ type: 'started', containerId: 'second' });
  await clock.advance(900);
  expect(runtime.countCalls('listPods')).toBe(lists);
  await clock.advance(200);
  expect(runtime.countCalls('listPods')).toBe(lists + 1);
});

test('without an event stream the runtime is listed every second', async () => {
  const unimplemented = {
    // biome-ignore lint/correctness/useYield: fails before its first event
    async *events(): AsyncGenerator<never> {
      throw new CriError('GetContainerEvents', 'UNIMPLEMENTED', 'unknown method');
    },
  };
  start(unimplemented);
  await clock.advance(10_000);
  expect(runtime.countCalls('listPods')).toBeGreaterThanOrEqual(10);
});

test('a pod without anything in the runtime needs no question', async () => {
  start();
  await clock.advance(0);
  expect((await cache.fresh({ ...IDENTITY, uid: 'new' })).sandboxes).toEqual([]);
  expect(runtime.countCalls('getPodStatus')).toBe(0);
});

test('what a list shows only a moment after its event, which came before the stream, is not waited for a minute', async () => {
  await adoptAndRead();
  await runtime.removePod('u'); // no event
  await clock.advance(SETTLED_MS);
  expect(changed).toEqual(['u']);
});

test('a pod that vanished from the runtime is noticed', async () => {
  await adoptAndRead();
  await clock.advance(SETTLED_MS);
  await runtime.removePod('u'); // no event
  await clock.advance(60_000);
  expect(changed).toEqual(['u']);
  expect((await cache.fresh(IDENTITY)).containers).toEqual([]);
});

test('a runtime that does not answer makes PLEG unhealthy after three minutes', async () => {
  const silent = {
    // biome-ignore lint/correctness/useYield: a stream without events
    async *events(signal: AbortSignal): AsyncGenerator<never> {
      await aborted(signal);
    },
  };
  start(silent);
  await clock.advance(1000);
  expect(pleg.healthError()).toBeUndefined();
  expect(pleg.current).toEqual([]);
  for (let i = 0; i < 400; i++) runtime.failNext('listPods', new Error('unavailable'));
  await clock.advance(200_000);
  expect(pleg.current).toBeUndefined();
  expect(pleg.healthError()).toMatch(
    /^PLEG is not healthy: pleg was last seen active 3m\d+(\.\d+)?s ago; threshold is 3m0s$/,
  );
});
