import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { endedWithNode, graceSecondsOf, groupPods, totalSeconds } from './shutdown-groups.ts';

const pod = (name: string, priority?: number, terminationGracePeriodSeconds?: number): Pod => ({
  metadata: { name },
  spec: {
    containers: [],
    ...(priority === undefined ? {} : { priority }),
    ...(terminationGracePeriodSeconds === undefined ? {} : { terminationGracePeriodSeconds }),
  },
});

test('each pod goes with the group of the largest priority that is not above its own, the lowest first', () => {
  const groups = [
    { priority: 0, seconds: 10 },
    { priority: 1000, seconds: 20 },
    { priority: 2_000_000_000, seconds: 30 },
  ];
  const pods = [pod('none'), pod('below', -7), pod('most', 999), pod('some', 1000), pod('static', 2_000_001_000)];
  const named = groupPods(pods, groups).map((g) => [g.seconds, g.pods.map((p) => p.metadata?.name)]);
  expect(named).toEqual([
    [10, ['none', 'below', 'most']],
    [20, ['some']],
    [30, ['static']],
  ]);
  expect(groupPods([pod('some', 5000)], groups)).toHaveLength(1); // empty groups take no time
  expect(totalSeconds(groups)).toBe(60);
});

test("a pod gets its own time, or the group's when that is shorter or it has none", () => {
  expect([
    graceSecondsOf(pod('a', 0, 5), 10),
    graceSecondsOf(pod('a', 0, 50), 10),
    graceSecondsOf(pod('a'), 10),
  ]).toEqual([5, 10, 10]);
});

test('the status says why, and that the pod itself is not to blame', () => {
  const override = endedWithNode(pod('a'), Date.parse('2026-11-21T12:00:00Z'));
  const message = 'Pod was terminated in response to imminent node shutdown.';
  expect(override({ phase: 'Running' })).toEqual({
    phase: 'Failed',
    reason: 'Terminated',
    message,
    conditions: [
      {
        type: 'DisruptionTarget',
        status: 'True',
        reason: 'TerminationByKubelet',
        message,
        lastTransitionTime: '2026-11-21T12:00:00Z',
      },
    ],
  });
  expect(override({ phase: 'Succeeded' })).toMatchObject({ phase: 'Succeeded', reason: 'Terminated' });
});
