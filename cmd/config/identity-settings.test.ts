import { expect, test } from 'vitest';
import { settle } from './field.ts';
import { shutdownGroups } from './identity-settings.ts';
import { kubeletFields } from './kubelet-fields.ts';

const groups = (config: object, gates: Record<string, boolean> = {}) =>
  shutdownGroups(settle(kubeletFields, config as Record<string, unknown>), new Map(Object.entries(gates)));

test.each<[string, object, Record<string, boolean>, [number, number][]]>([
  ['nothing set', {}, {}, []],
  [
    'one period for all',
    { shutdownGracePeriod: 30_000 },
    {},
    [
      [0, 30],
      [2_000_000_000, 0],
    ],
  ],
  [
    'a part of it for critical pods',
    { shutdownGracePeriod: 30_900, shutdownGracePeriodCriticalPods: 10_500 },
    {},
    [
      [0, 20],
      [2_000_000_000, 10],
    ],
  ],
  [
    'by priority, sorted',
    {
      shutdownGracePeriodByPodPriority: [
        { priority: 1000, shutdownGracePeriodSeconds: 5 },
        { priority: -5, shutdownGracePeriodSeconds: 7 },
      ],
    },
    {},
    [
      [-5, 7],
      [1000, 5],
    ],
  ],
  ['the gate is off', { shutdownGracePeriod: 30_000 }, { GracefulNodeShutdown: false }, []],
  [
    'by priority, its gate is off',
    { shutdownGracePeriodByPodPriority: [{ priority: 0, shutdownGracePeriodSeconds: 5 }] },
    { GracefulNodeShutdownBasedOnPodPriority: false },
    [],
  ],
])('pods end in groups: %s', (_what, config, gates, expected) => {
  expect(groups(config, gates).map((g) => [g.priority, g.seconds])).toEqual(expected);
});
