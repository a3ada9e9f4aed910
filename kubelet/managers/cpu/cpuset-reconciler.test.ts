import { expect, test } from 'vitest';
import { FakeClock } from '../../../core/fake-clock.ts';
import { silentLog } from '../../../core/log.ts';
import { CpusetReconciler, type RunningContainer } from './cpuset-reconciler.ts';

const PERIOD_MS = 10_000;

class Node {
  readonly clock = new FakeClock();
  readonly calls: string[] = [];
  running: RunningContainer[] = [];
  pool = '0-3';
  failing = new Set<string>();
  readonly reconciler = new CpusetReconciler(PERIOD_MS, {
    running: () => this.running,
    cpusetOf: (podUid) => (podUid === 'own' ? '3' : this.pool),
    update: async (id, cpuset) => {
      this.calls.push(`${id}=${cpuset}`);
      if (this.failing.has(id)) throw new Error('not found');
    },
    clock: this.clock,
    log: silentLog,
  });

  /** What was called since the last time. */
  taken(): string[] {
    return this.calls.splice(0);
  }
}

const SIGNAL = new AbortController().signal;

test('only what changed is told', async () => {
  const node = new Node();
  node.running = [
    { podUid: 'a', name: 'main', id: 'a1' },
    { podUid: 'own', name: 'main', id: 'o1' },
  ];
  await node.reconciler.reconcile(SIGNAL); // an earlier agent's: what they have is not known
  expect(node.taken()).toEqual(['a1=0-3', 'o1=3']);
  await node.reconciler.reconcile(SIGNAL);
  expect(node.taken()).toEqual([]);
  node.pool = '0-2';
  await node.reconciler.reconcile(SIGNAL);
  expect(node.taken()).toEqual(['a1=0-2']);
});

test('a container that was made with what it is to have is not told', async () => {
  const node = new Node();
  node.reconciler.granted('a', 'main', '0-3');
  node.running = [{ podUid: 'a', name: 'main', id: 'a1' }];
  await node.reconciler.reconcile(SIGNAL);
  expect(node.taken()).toEqual([]);
  // Its next instance is made while the pool is another, which it is told when it is seen.
  node.reconciler.granted('a', 'main', '0-3');
  node.pool = '0-1';
  node.running = [{ podUid: 'a', name: 'main', id: 'a2' }];
  await node.reconciler.reconcile(SIGNAL);
  expect(node.taken()).toEqual(['a2=0-1']);
});

test('one that cannot be told is told again, and keeps no other from it', async () => {
  const node = new Node();
  node.failing.add('a1');
  node.running = [
    { podUid: 'a', name: 'main', id: 'a1' },
    { podUid: 'b', name: 'main', id: 'b1' },
  ];
  await node.reconciler.reconcile(SIGNAL);
  expect(node.taken()).toEqual(['a1=0-3', 'b1=0-3']);
  node.failing.clear();
  await node.reconciler.reconcile(SIGNAL);
  expect(node.taken()).toEqual(['a1=0-3']);
});

test('where nothing is left to share, containers stay where they are', async () => {
  const node = new Node();
  node.running = [{ podUid: 'a', name: 'main', id: 'a1' }];
  node.pool = '';
  await node.reconciler.reconcile(SIGNAL);
  expect(node.taken()).toEqual([]);
});

test('at once when the pool changed, else once a period, with one timer', async () => {
  const node = new Node();
  const stop = new AbortController();
  const ended = node.reconciler.run(stop.signal);
  await node.clock.advance(0);
  node.running = [{ podUid: 'a', name: 'main', id: 'a1' }];
  await node.clock.advance(PERIOD_MS + 1000);
  expect(node.taken()).toEqual(['a1=0-3']);
  node.pool = '0-1';
  node.reconciler.request();
  await node.clock.advance(1000);
  expect(node.taken()).toEqual(['a1=0-1']);
  expect(node.clock.sleeping).toBe(1);
  stop.abort();
  await ended;
  expect(node.clock.sleeping).toBe(0);
});
