import { expect, test } from 'vitest';
import { FakeClock } from '../core/fake-clock.ts';
import { FakeRuntimeManager } from './fake-runtime-manager.ts';
import { PodCache } from './pod-cache.ts';

const POD = {
  metadata: { name: 'p', namespace: 'ns', uid: 'u' },
  spec: { containers: [{ name: 'main', image: 'image' }] },
};
const IDENTITY = { uid: 'u', name: 'p', namespace: 'ns' };

test('a status that comes after a list without the pod does not bring it back', async () => {
  const clock = new FakeClock();
  const runtime = new FakeRuntimeManager(clock);
  const cache = new PodCache({ runtime, clock });
  runtime.adopt(POD, 0);
  cache.markStale('u');
  const gate = Promise.withResolvers<void>();
  runtime.statusGate = gate.promise;
  const reading = cache.fresh(IDENTITY); // asked while the pod is there
  await clock.advance(0);
  await runtime.removePod('u');
  cache.endList(cache.beginList(), new Set());
  gate.resolve();
  expect((await reading).containers).toEqual([]);
  expect(cache.isStale('u')).toBe(false);
});

test('only what is known to be nothing but additions of ours is read as such, once', async () => {
  const clock = new FakeClock();
  const runtime = new FakeRuntimeManager(clock);
  const read: (boolean | undefined)[] = [];
  const cache = new PodCache({
    runtime: {
      getPodStatus: (uid, name, namespace, opts) => {
        read.push(opts?.onlyAdded);
        return runtime.getPodStatus(uid, name, namespace);
      },
    },
    clock,
  });
  cache.endList(cache.beginList(), new Set());
  const onlyAdded = { onlyAdded: true };
  cache.markStale('u', onlyAdded);
  cache.markStale('u', onlyAdded);
  await cache.fresh(IDENTITY);
  cache.markStale('u', onlyAdded);
  cache.markStale('u'); // e.g. an event
  await cache.fresh(IDENTITY);
  cache.markStale('u');
  cache.markStale('u', onlyAdded);
  await cache.fresh(IDENTITY);
  expect(read).toEqual([true, false, false]);
  cache.markStale('u', onlyAdded);
  const gate = Promise.withResolvers<void>();
  runtime.statusGate = gate.promise;
  const reading = cache.fresh(IDENTITY);
  await clock.advance(0);
  cache.endList(cache.beginList(), new Set()); // which did not find it
  gate.resolve();
  await reading;
  expect(read).toEqual([true, false, false, true, false]);
});
