import { expect, test } from 'vitest';
import type { Pod } from '../../../api/pod.ts';
import { humanDuration, selectorText } from './format.ts';
import { podTable } from './pod.ts';

test.each([
  [-5, '<invalid>'],
  [-0.5, '0s'],
  [119, '119s'],
  [120, '2m'],
  [125, '2m5s'],
  [600, '10m'],
  [3 * 3600 + 60, '3h1m'],
  [8 * 3600, '8h'],
  [47 * 3600, '47h'],
  [49 * 3600, '2d1h'],
  [8 * 86_400, '8d'],
  [729 * 86_400, '729d'],
  [731 * 86_400, '2y1d'],
  [9 * 365 * 86_400, '9y'],
])('%d s is %s', (seconds, text) => {
  expect(humanDuration(seconds)).toBe(text);
});

test('selectors print sorted by key', () => {
  const selector = {
    matchLabels: { b: '2' },
    matchExpressions: [
      { key: 'a', operator: 'In', values: ['y', 'x'] },
      { key: 'c', operator: 'DoesNotExist' },
    ],
  };
  expect(selectorText(selector)).toBe('a in (x,y),b=2,!c');
});

const NOW = Date.parse('2026-01-01T00:10:00Z');

function statusCells(status: object, spec: object = {}, meta: object = {}): unknown[] {
  const pod = {
    metadata: { name: 'p', creationTimestamp: '2026-01-01T00:00:00Z', ...meta },
    spec: { containers: [{ name: 'a' }, { name: 'b' }], ...spec },
    status,
  } as unknown as Pod;
  return podTable.cells(pod, NOW).slice(1, 4);
}

const running = { ready: true, restartCount: 0, state: { running: {} } };

test.each<[string, unknown[], unknown[]]>([
  ['pending', statusCells({ phase: 'Pending' }), ['0/2', 'Pending', '0']],
  [
    'running',
    statusCells({ phase: 'Running', containerStatuses: [{ ...running }, { ...running }] }),
    ['2/2', 'Running', '0'],
  ],
  [
    'crash loop with the age of the last end',
    statusCells({
      phase: 'Running',
      containerStatuses: [
        { ...running },
        {
          ready: false,
          restartCount: 3,
          state: { waiting: { reason: 'CrashLoopBackOff' } },
          lastState: { terminated: { exitCode: 1, finishedAt: '2026-01-01T00:09:00Z' } },
        },
      ],
    }),
    ['1/2', 'CrashLoopBackOff', '3 (60s ago)'],
  ],
  [
    'second init container at work',
    statusCells(
      {
        phase: 'Pending',
        initContainerStatuses: [
          { name: 'i', restartCount: 0, state: { terminated: { exitCode: 0 } } },
          { name: 'j', restartCount: 0, state: { running: {} } },
        ],
      },
      { initContainers: [{ name: 'i' }, { name: 'j' }] },
    ),
    ['0/2', 'Init:1/2', '0'],
  ],
  [
    'one completed, one running and the pod ready',
    statusCells({
      phase: 'Running',
      conditions: [{ type: 'Ready', status: 'True' }],
      containerStatuses: [
        { restartCount: 0, ready: false, state: { terminated: { reason: 'Completed', exitCode: 0 } } },
        { ...running },
      ],
    }),
    ['1/2', 'Running', '0'],
  ],
  [
    'killed by a signal',
    statusCells({
      phase: 'Failed',
      containerStatuses: [{ restartCount: 0, state: { terminated: { signal: 9, exitCode: 137 } } }],
    }),
    ['0/2', 'Signal:9', '0'],
  ],
  ['terminating', statusCells({ phase: 'Running' }, {}, { deletionTimestamp: 'x' }), ['0/2', 'Terminating', '0']],
  [
    'done while terminating',
    statusCells({ phase: 'Succeeded' }, {}, { deletionTimestamp: 'x' }),
    ['0/2', 'Succeeded', '0'],
  ],
  ['evicted', statusCells({ phase: 'Failed', reason: 'Evicted' }), ['0/2', 'Evicted', '0']],
])('%s', (_, cells, expected) => {
  expect(cells).toEqual(expected);
});
