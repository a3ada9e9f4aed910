import { beforeEach, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { ResizeConditions } from './resize-conditions.ts';

const HOUR_MS = 3_600_000;
const pod: Pod = {
  metadata: { name: 'p', namespace: 'ns', uid: 'u', generation: 4 },
  spec: { containers: [{ name: 'c' }] },
};

let clock: FakeClock;
let took: string[];
let counts: object;
let reasons: string[];
let conditions: ResizeConditions;

beforeEach(() => {
  clock = new FakeClock(Date.UTC(2026, 0, 1));
  took = [];
  reasons = [];
  conditions = new ResizeConditions({
    events: { event: (_pod, type, reason) => void reasons.push(`${type} ${reason}`) },
    resizes: {
      resizeCounts: (now) => {
        counts = now;
      },
      resizeInfeasible: () => {},
      deferredResizeAccepted: () => {},
      resizeMade: (ms, ok) => void took.push(`${ms} ms, ${ok}`),
      resourcesAsked: () => {},
    },
    clock,
  });
});

test.each([HOUR_MS, -HOUR_MS])(
  'how long a resize took is told although the clock was set by %d ms meanwhile',
  async (ms) => {
    conditions.started(pod);
    await clock.advance(200);
    clock.stepWall(ms);
    conditions.failed(pod, 'no room');
    await clock.advance(300);
    conditions.observe(pod, false);
    expect(took).toEqual(['200 ms, false', '500 ms, true']);
    expect(reasons).toEqual(['Normal ResizeStarted', 'Warning ResizeError', 'Normal ResizeCompleted']);
  },
);

test('a wish that waits is told since when, and once; another wish of the pod does not wait anew', async () => {
  expect(conditions.setPending(pod, 'Deferred', 'no cpu')).toBe(true);
  await clock.advance(5_000);
  expect(conditions.setPending(pod, 'Deferred', 'no cpu')).toBe(false);
  expect(conditions.setPending(pod, 'Infeasible', 'too much')).toBe(true);
  expect(counts).toEqual({ deferred: 0, infeasible: 1, inProgress: 0 });
  expect(conditions.of('u')).toEqual([
    {
      type: 'PodResizePending',
      status: 'True',
      observedGeneration: 4,
      lastProbeTime: '2026-01-01T00:00:00Z',
      lastTransitionTime: '2026-01-01T00:00:00Z',
      reason: 'Infeasible',
      message: 'too much',
    },
  ]);
  expect(conditions.clearPending('u')).toBe(true);
  expect(conditions.clearPending('u')).toBe(false);
  expect(conditions.of('u')).toEqual([]);
});
