import { describe, expect, test } from 'vitest';
import type { Pod } from '../api/pod.ts';
import { afterWork, applyUpdate, effectiveGrace, startWorker, type WorkerState } from './pod-worker-state.ts';

function pod(metadata: Pod['metadata'] = {}, more: Partial<Pod> = {}): Pod {
  return {
    metadata: { name: 'p', namespace: 'ns', uid: 'u', ...metadata },
    spec: { containers: [], terminationGracePeriodSeconds: 30 },
    ...more,
  };
}

const deleted = (seconds: number) => pod({ deletionTimestamp: 't' as never, deletionGracePeriodSeconds: seconds });
const syncing: WorkerState = startWorker({ type: 'create', pod: pod() }, true).state;

describe('effective grace', () => {
  test.each<[string, number, Pod | undefined, number | undefined, number]>([
    ['the deletion says', 0, deleted(7), undefined, 7],
    ['the spec says', 0, pod(), undefined, 30],
    ['the override says', 0, pod(), 5, 5],
    ['the shorter of both', 0, deleted(3), 5, 3],
    ['it only shrinks', 5, deleted(30), undefined, 5],
    ['it shrinks', 30, deleted(2), undefined, 2],
    ['zero is one', 0, deleted(0), undefined, 1],
    ['orphan', 0, undefined, 1, 1],
  ])('%s', (_, current, p, override, expected) => expect(effectiveGrace(current, p, override)).toBe(expected));
});

describe('worker', () => {
  test('starts in sync', () => {
    expect(syncing.phase).toBe('sync');
  });

  test('a pod that is over and has nothing running starts with its final clean-up', () => {
    const over = pod({}, { status: { phase: 'Succeeded' } });
    expect(startWorker({ type: 'create', pod: over }, true).state.phase).toBe('terminated');
    expect(startWorker({ type: 'create', pod: over }, false).state.phase).toBe('terminating');
  });

  test('a deletion ends the pod and cancels what runs', () => {
    const { state, cancel, work } = applyUpdate(syncing, { type: 'update', pod: deleted(9) });
    expect(state).toMatchObject({ phase: 'terminating', deleted: true, graceSeconds: 9 });
    expect([cancel, work]).toEqual([true, true]);
  });

  test('a shorter grace cancels the running kill, a repeated or longer one does not', () => {
    const terminating = applyUpdate(syncing, { type: 'update', pod: deleted(9) }).state;
    expect(applyUpdate(terminating, { type: 'update', pod: deleted(9) }).cancel).toBe(false);
    expect(applyUpdate(terminating, { type: 'update', pod: deleted(20) }).cancel).toBe(false);
    const shorter = applyUpdate(terminating, { type: 'update', pod: deleted(2) });
    expect(shorter.cancel).toBe(true);
    expect(shorter.state.graceSeconds).toBe(2);
  });

  test('no later update brings a terminating pod back', () => {
    const terminating = applyUpdate(syncing, { type: 'kill', pod: pod() }).state;
    expect(applyUpdate(terminating, { type: 'update', pod: pod() }).state.phase).toBe('terminating');
    const again = applyUpdate(terminating, { type: 'create', pod: pod() });
    expect(again.state).toMatchObject({ phase: 'terminating', restartRequested: true });
    expect(again.work).toBe(false);
  });

  test('a finished worker ignores updates', () => {
    const finished: WorkerState = { ...syncing, phase: 'finished' };
    expect(applyUpdate(finished, { type: 'update', pod: deleted(1) })).toMatchObject({ state: finished, work: false });
  });

  test('a pod that somebody asks for is no orphan, whatever an older list of the runtime says', () => {
    const identity = { uid: 'u', name: 'p', namespace: 'ns' };
    const orphan = { type: 'orphan', identity, kill: { graceOverrideSeconds: 1 } } as const;
    expect(applyUpdate(syncing, orphan)).toEqual({ state: syncing, work: false, cancel: false });
    const ending = applyUpdate(syncing, { type: 'update', pod: deleted(9) }).state;
    expect(applyUpdate(ending, orphan).state.graceSeconds).toBe(9);
  });

  test('an orphan ends after its kill, without clean-up or status', () => {
    const identity = { uid: 'u', name: 'p', namespace: 'ns' };
    const { state } = startWorker({ type: 'orphan', identity, kill: { graceOverrideSeconds: 1 } }, false);
    expect(state).toMatchObject({ phase: 'terminating', graceSeconds: 1, deleted: true });
    expect(afterWork(state, 'terminating', { ok: true }).phase).toBe('finished');
  });

  test('a pod that turns out to be over is stopped with its own grace', () => {
    expect(afterWork(syncing, 'sync', { ok: true, podIsOver: true })).toMatchObject({
      phase: 'terminating',
      graceSeconds: 30,
      deleted: false,
    });
  });

  test('work of a state that has been left moves nothing on', () => {
    const terminating = applyUpdate(syncing, { type: 'update', pod: deleted(9) }).state;
    expect(afterWork(terminating, 'sync', { ok: true }).phase).toBe('terminating');
    expect(afterWork(terminating, 'terminating', { ok: false }).phase).toBe('terminating');
    expect(afterWork(terminating, 'terminating', { ok: true }).phase).toBe('terminated');
  });

  test('an eviction keeps its mark and its words', () => {
    const statusOverride = (s: object) => ({ ...s, phase: 'Failed', reason: 'Evicted' });
    const evicted = applyUpdate(syncing, { type: 'kill', pod: pod(), kill: { evict: true, statusOverride } }).state;
    const later = applyUpdate(evicted, { type: 'update', pod: deleted(3) }).state;
    expect(later).toMatchObject({ evicted: true, deleted: true, graceSeconds: 3 });
    expect(later.statusOverride).toBe(statusOverride);
  });
});
