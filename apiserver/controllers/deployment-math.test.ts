import { expect, test } from 'vitest';
import type { Deployment, ReplicaSet } from '../../api/apps.ts';
import * as math from './deployment-math.ts';

const deployment = (replicas: number, maxSurge: number | string, maxUnavailable: number | string): Deployment => ({
  metadata: { name: 'd', namespace: 'default' },
  spec: {
    replicas,
    selector: {},
    template: {},
    strategy: {
      type: 'RollingUpdate',
      rollingUpdate: { maxSurge: maxSurge as never, maxUnavailable: maxUnavailable as never },
    },
  },
});
const set = (name: string, replicas: number, available: number, more: Record<string, string> = {}): ReplicaSet => ({
  metadata: { name, creationTimestamp: `2026-01-0${name.length}T00:00:00Z`, annotations: more },
  spec: { replicas, selector: {} },
  status: { replicas, availableReplicas: available },
});

test.each([
  [10, '25%', '25%', 3, 2],
  [1, '25%', '25%', 1, 0],
  [3, 0, 0, 0, 1],
  [4, '0%', '10%', 0, 1],
  [2, 5, 5, 5, 2],
  [0, '25%', '25%', 0, 1],
])('limits of %i replicas, surge %s, unavailable %s', (replicas, surge, unavailable, wantSurge, wantUnavailable) => {
  expect(math.rolloutLimits(deployment(replicas, surge, unavailable).spec)).toEqual({
    surge: wantSurge,
    unavailable: wantUnavailable,
  });
});

test.each([
  // wanted, surge, old, new, result
  [10, 2, 10, 0, 2],
  [10, 0, 10, 0, 0],
  [10, 0, 8, 0, 2],
  [10, 2, 0, 10, 10],
  [10, 2, 0, 12, 10],
  [10, 5, 6, 5, 9],
])('of %i with surge %i, %i old and %i new: the new set gets %i', (wanted, surge, old, current, result) => {
  const newSet = set('nn', current, current);
  expect(math.newSetReplicas(deployment(wanted, surge, 0), [set('o', old, old), newSet], newSet)).toBe(result);
});

test.each([
  // wanted, unavailable, old sets (replicas, available), new (replicas, available), result
  [10, 0, [[10, 10]], [2, 0], [10]],
  [10, 0, [[10, 10]], [2, 2], [8]],
  [10, 2, [[10, 10]], [0, 0], [8]],
  [10, 2, [[10, 8]], [0, 0], [8]], // the broken two go, no ready one
  [
    10,
    2,
    [
      [5, 0],
      [5, 5],
    ],
    [2, 0],
    [3, 5],
  ],
  [4, 1, [[3, 3]], [2, 0], [3]],
])(
  'of %i with %i unavailable, old %j and new %j: old sets get %j',
  (wanted, unavailable, old, [replicas, available], result) => {
    const oldSets = old.map(([r, a], i) => set('o'.repeat(i + 1), r!, a!));
    const next = math.oldSetReplicas(deployment(wanted, 1, unavailable), oldSets, set('new', replicas!, available!));
    expect([...next.values()]).toEqual(result);
  },
);

test.each([
  // sets, their maximum before, wanted now, surge, result by name
  [{ o: 8, nn: 5 }, 13, 20, 3, { o: 14, nn: 9 }],
  [{ o: 5, nn: 5 }, 10, 11, 0, { o: 5, nn: 6 }], // equals: the newest grows
  [{ o: 5, nn: 5 }, 10, 9, 0, { o: 4, nn: 5 }], // and the oldest shrinks
  [{ o: 3, nn: 2 }, 5, 0, 1, { o: 0, nn: 0 }],
  [{ o: 3, nn: 0 }, 3, 3, 0, { o: 3 }],
])('%j that were at most %i become, for %i with surge %i, %j', (sizes, before, wanted, surge, result) => {
  const sets = Object.entries(sizes).map(([name, n]) => set(name, n, n, { [math.MAX_REPLICAS]: String(before) }));
  expect(Object.fromEntries(math.proportionalReplicas(deployment(wanted, surge, 1), sets))).toEqual(result);
});

test('templates are equal whatever the order of keys, the hash label and empty fields', () => {
  const a = { metadata: { labels: { a: '1', b: '2' } }, spec: { containers: [{ name: 'c', image: 'i' }] } };
  const b = {
    spec: { containers: [{ image: 'i', name: 'c' }] },
    metadata: { creationTimestamp: undefined, labels: { b: '2', [math.TEMPLATE_HASH]: 'x', a: '1' } },
  };
  expect(math.sameTemplate(a, b as never)).toBe(true);
  expect(math.sameTemplate(a, { ...a, spec: { containers: [{ name: 'c', image: 'j' }] } })).toBe(false);
  expect(math.templateHash(a, undefined)).toBe(math.templateHash(b as never, undefined));
  expect(math.templateHash(a, 1)).not.toBe(math.templateHash(a, undefined));
  // Written down: another hash in a later release would make new sets for every Deployment that has none reusable.
  expect(math.templateHash(a, undefined)).toMatchInlineSnapshot(`"59875bcfdd"`);
});
