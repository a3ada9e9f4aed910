import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { CoreEvent, ObjectReference } from '../api/kinds.ts';
import { events } from '../api/resources.ts';
import { AgentError } from '../core/errors.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { createLogger, silentLog } from '../core/log.ts';
import { Rush } from '../core/rush.ts';
import { ApiEventRecorder } from './event-recorder.ts';
import { FakeApi, failure } from './fake-client.ts';

const web: ObjectReference = { kind: 'Pod', namespace: 'shop', name: 'web', uid: 'u1', apiVersion: 'v1' };
const down = () => new AgentError('no route', { code: 'API_UNREACHABLE', retryable: true });

let clock: FakeClock;
let api: FakeApi;
let recorder: ApiEventRecorder;
let lines: string[];
let stop: AbortController;
let ended: Promise<void>;

beforeEach(() => {
  clock = new FakeClock(Date.UTC(2026, 0, 1));
  api = new FakeApi({ now: () => clock.now() });
  lines = [];
  const log = createLogger({ level: 'warn', destination: { write: (line) => void lines.push(line) } });
  recorder = new ApiEventRecorder(api, { component: 'kubelet', host: 'n1' }, { clock, log, random: () => 0.5 });
  stop = new AbortController();
  ended = recorder.run(stop.signal);
});

afterEach(async () => {
  stop.abort();
  await clock.advance(2_000);
  await ended;
  expect(clock.sleeping).toBe(0);
});

const stored = () => api.all(events) as CoreEvent[];
const verbs = () => api.requests.map((r) => r.verb);

test('an event is stored as the kubelet writes it', async () => {
  recorder.event(web, 'Normal', 'Started', 'Container started');
  await clock.advance(0);
  expect(stored()[0]).toMatchObject({
    metadata: { namespace: 'shop', name: expect.stringMatching(/^web\.[0-9a-f]{14,16}$/) },
    involvedObject: web,
    type: 'Normal',
    reason: 'Started',
    message: 'Container started',
    count: 1,
    firstTimestamp: '2026-01-01T00:00:00Z',
    lastTimestamp: '2026-01-01T00:00:00Z',
    source: { component: 'kubelet', host: 'n1' },
    reportingComponent: 'kubelet',
    reportingInstance: 'n1',
  });
});

test('a pod with the longest possible name has events too', async () => {
  recorder.event({ ...web, name: 'a'.repeat(253) }, 'Normal', 'Started', 'Container started');
  await clock.advance(0);
  expect(stored()[0]?.metadata.name).toMatch(/^[0-9a-f-]{36}$/);
  expect(stored()[0]?.involvedObject.name).toBe('a'.repeat(253));
});

test('another component of the node is told as the source of its own events', async () => {
  const node = { kind: 'Node', name: 'n1', apiVersion: 'v1' };
  recorder.of('kube-proxy').event(node, 'Normal', 'Starting', '');
  recorder.event(node, 'Normal', 'Starting', 'Starting kubelet.');
  await clock.advance(0);
  expect(stored().map((e) => [e.source, e.reportingComponent, e.message])).toEqual([
    [{ component: 'kube-proxy', host: 'n1' }, 'kube-proxy', ''],
    [{ component: 'kubelet', host: 'n1' }, 'kubelet', 'Starting kubelet.'],
  ]);
});

test('events about cluster-scoped objects go to the default namespace', async () => {
  recorder.event({ kind: 'Node', name: 'n1' }, 'Normal', 'NodeReady', 'ready');
  await clock.advance(0);
  expect(stored()[0]?.metadata.namespace).toBe('default');
});

test('a repeat raises the count of the first', async () => {
  for (let i = 0; i < 3; i++) {
    recorder.event(web, 'Warning', 'BackOff', 'restarting');
    await clock.advance(10_000);
  }
  expect(verbs()).toEqual(['create', 'patch', 'patch']);
  expect(stored()).toHaveLength(1);
  expect(stored()[0]).toMatchObject({
    count: 3,
    firstTimestamp: '2026-01-01T00:00:00Z',
    lastTimestamp: '2026-01-01T00:00:20Z',
  });
  expect(api.requests[2]?.body).toEqual({ count: 3, lastTimestamp: '2026-01-01T00:00:20Z', message: 'restarting' });
});

test('each container of a pod has an event of its own, though it says the same', async () => {
  for (const name of ['init', 'main', 'main']) {
    recorder.event({ ...web, fieldPath: `spec.containers{${name}}` }, 'Normal', 'Started', 'Container started');
  }
  await clock.advance(0);
  expect(stored().map((e) => [e.involvedObject.fieldPath, e.count])).toEqual([
    ['spec.containers{init}', 1],
    ['spec.containers{main}', 2],
  ]);
});

test('a repeat of an event that has expired makes it anew with its count', async () => {
  recorder.event(web, 'Warning', 'BackOff', 'restarting');
  await clock.advance(0);
  await api.delete(events, { namespace: 'shop', name: stored()[0]!.metadata.name! });
  recorder.event(web, 'Warning', 'BackOff', 'restarting');
  await clock.advance(0);
  expect(stored()[0]?.count).toBe(2);
});

test('the tenth different message of a reason turns them into one combined event', async () => {
  for (let i = 1; i <= 12; i++) recorder.event(web, 'Warning', 'Failed', `attempt ${i}`);
  await clock.advance(0);
  expect(stored().map((e) => e.message)).toEqual([
    ...Array.from({ length: 9 }, (_, i) => `attempt ${i + 1}`),
    '(combined from similar events): attempt 12',
  ]);
  expect(stored()[9]?.count).toBe(3);
});

test('messages far apart in time are not combined', async () => {
  for (let i = 1; i <= 12; i++) {
    recorder.event(web, 'Warning', 'Failed', `attempt ${i}`);
    await clock.advance(600_001);
  }
  expect(stored().every((e) => e.message?.startsWith('attempt'))).toBe(true);
  expect(stored()).toHaveLength(12);
});

test('a source that floods one object is cut off at 25, gets one more in five minutes; others are not affected', async () => {
  for (let i = 0; i < 40; i++) recorder.event(web, 'Warning', 'BackOff', 'restarting');
  recorder.event({ ...web, name: 'other', uid: 'u2' }, 'Normal', 'Started', 'ok');
  await clock.advance(0);
  expect(verbs()).toHaveLength(26);
  await clock.advance(299_000);
  recorder.event(web, 'Warning', 'BackOff', 'restarting');
  await clock.advance(1_000);
  expect(verbs()).toHaveLength(26);
  recorder.event(web, 'Warning', 'BackOff', 'restarting');
  await clock.advance(0);
  expect(verbs()).toHaveLength(27);
  expect(stored()[0]?.count).toBe(42); // the suppressed ones are counted
});

test('a server that cannot be reached is tried again every ten seconds, in order', async () => {
  for (let i = 0; i < 3; i++) api.failNext('create', down());
  recorder.event(web, 'Normal', 'First', 'a');
  recorder.event(web, 'Normal', 'Second', 'b');
  await clock.advance(0);
  expect(verbs()).toHaveLength(1);
  await clock.advance(5_000);
  expect(verbs()).toHaveLength(2);
  await clock.advance(20_000);
  expect(stored().map((e) => e.reason)).toEqual(['First', 'Second']);
});

test('an event that was stored, though its answer was lost, is stored once and not complained of', async () => {
  const create = api.create.bind(api);
  vi.spyOn(api, 'create').mockImplementationOnce(async (...args) => {
    await create(...args);
    throw down();
  });
  recorder.event(web, 'Normal', 'First', 'a');
  await clock.advance(5_000);
  expect(verbs()).toEqual(['create', 'create']);
  expect(stored().map((e) => e.reason)).toEqual(['First']);
  expect(lines).toEqual([]);
});

test.each([403, 500])('an event that is refused, or that the server fails on (%d), holds up no other', async (code) => {
  api.failNext('create', failure(code, 'failed calling webhook'));
  recorder.event(web, 'Normal', 'First', 'a');
  recorder.event(web, 'Normal', 'Second', 'b');
  await clock.advance(0);
  expect(stored().map((e) => e.reason)).toEqual(['Second']);
});

test('the oldest are dropped when a thousand wait', async () => {
  api.failNext('create', down());
  recorder.event(web, 'Normal', 'InFlight', '');
  await clock.advance(0);
  for (let i = 0; i < 1005; i++) recorder.event({ ...web, name: `p${i}` }, 'Normal', 'Started', '');
  await clock.advance(5_000);
  const names = stored().map((e) => e.involvedObject.name);
  expect(names).toHaveLength(1001);
  expect(names.slice(0, 2)).toEqual(['web', 'p5']);
});

test('stopping sends what is queued', async () => {
  recorder.event(web, 'Normal', 'Killing', 'Stopping container');
  recorder.event(web, 'Normal', 'Last', '');
  stop.abort();
  await ended;
  expect(stored()).toHaveLength(2);
});

test('stopping does not wait for a server that hangs', async () => {
  api.create = (_type, _name, _object, opts) =>
    new Promise((_, reject) => opts?.signal?.addEventListener('abort', () => reject(down())));
  recorder.event(web, 'Normal', 'Killing', '');
  await clock.advance(0);
  stop.abort();
  await clock.advance(1_999);
  let isOver = false;
  void ended.then(() => {
    isOver = true;
  });
  await clock.advance(0);
  expect(isOver).toBe(false);
  await clock.advance(1);
  expect(isOver).toBe(true);
});

test('events of one happening are kept back together, and sent at once when the recorder stops', async () => {
  const held = new ApiEventRecorder(api, { component: 'kubelet' }, { clock, log: silentLog, holdMs: 500 });
  const halt = new AbortController();
  const running = held.run(halt.signal);
  await clock.advance(0);
  held.event(web, 'Normal', 'Created', 'Container created');
  await clock.advance(300);
  held.event(web, 'Normal', 'Started', 'Container started');
  await clock.advance(199);
  expect(stored()).toHaveLength(0);
  await clock.advance(1);
  expect(stored().map((e) => e.reason)).toEqual(['Created', 'Started']);
  held.event(web, 'Normal', 'Killing', 'Stopping container web');
  await clock.advance(1);
  halt.abort();
  await clock.advance(0);
  await running;
  expect(stored().map((e) => e.reason)).toEqual(['Created', 'Started', 'Killing']);
});

test('while more urgent work goes on events stand back, for five seconds at most', async () => {
  const rush = new Rush(0, clock);
  const busy = new ApiEventRecorder(api, { component: 'kubelet' }, { clock, log: silentLog, rush });
  const halt = new AbortController();
  const running = busy.run(halt.signal);
  const work = Promise.withResolvers<void>();
  const working = rush.during(() => work.promise);
  busy.event(web, 'Normal', 'Created', 'Container created');
  await clock.advance(4_000);
  busy.event(web, 'Normal', 'Started', 'Container started');
  await clock.advance(1_000);
  expect(stored().map((e) => e.reason)).toEqual(['Created']);
  work.resolve();
  await working;
  await clock.advance(0);
  expect(stored().map((e) => e.reason)).toEqual(['Created', 'Started']);
  halt.abort();
  await clock.advance(2_000);
  await running;
});
