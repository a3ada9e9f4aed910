import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Pod, PodStatus } from '../../api/pod.ts';
import { pods } from '../../api/resources.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { Rush } from '../../core/rush.ts';
import { StatusWriter } from './status-writer.ts';

const name = { namespace: 'shop', name: 'web' };
const pending: PodStatus = { phase: 'Pending', startTime: '2026-01-01T00:00:00Z' };
const ready: PodStatus = { ...pending, phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] };

let clock: FakeClock;
let api: FakeApi;
let rush: Rush;
let writer: StatusWriter;
let pod: Pod;
let stop: AbortController;
let ended: Promise<void>;

beforeEach(async () => {
  clock = new FakeClock(Date.UTC(2026, 0, 1));
  api = new FakeApi({ now: () => clock.now() });
  rush = new Rush(0, clock);
  pod = await api.create(pods, name, { metadata: { ...name, uid: 'u1' }, spec: { containers: [] } } as Pod);
  writer = new StatusWriter({
    client: api,
    getPod: () => pod,
    mayBeRunning: () => true,
    isTerminationRequested: () => false,
    rush,
    clock,
    log: silentLog,
  });
  stop = new AbortController();
  ended = writer.run(stop.signal);
});

afterEach(async () => {
  stop.abort();
  await clock.advance(0);
  await ended;
  expect(clock.sleeping).toBe(0);
});

const written = () => (api.all(pods)[0] as Pod).status?.phase;

/** Urgent work that goes on until it is ended. */
function startWork(): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  void rush.during(() => promise);
  return resolve;
}

test('changes on the way are folded, readiness is written at once', async () => {
  writer.set(pod, pending);
  await clock.advance(199);
  expect(written()).toBeUndefined();
  writer.set(pod, ready);
  await clock.advance(0);
  expect(written()).toBe('Running');
  await clock.advance(60_000);
  expect(api.requests.filter((r) => r.verb === 'patch')).toHaveLength(1);
});

test('in a rush changes on the way wait until it is over, readiness does not', async () => {
  const endWork = startWork();
  writer.set(pod, pending);
  await clock.advance(2_000);
  expect(written()).toBeUndefined();
  endWork();
  await clock.advance(200);
  expect(written()).toBe('Pending');
  const endMore = startWork();
  writer.set(pod, ready);
  await clock.advance(0);
  expect(written()).toBe('Running');
  endMore();
});

test('a rush that does not end keeps no status back for more than three seconds', async () => {
  const endWork = startWork();
  writer.set(pod, pending);
  await clock.advance(2_999);
  expect(written()).toBeUndefined();
  await clock.advance(1);
  expect(written()).toBe('Pending');
  endWork();
});
