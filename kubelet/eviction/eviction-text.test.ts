import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { evictionText } from './eviction-text.ts';
import { storageOf } from './fake-usage.ts';
import type { Observations } from './observations.ts';
import type { Signal } from './signals.ts';
import { parseThresholds } from './thresholds.ts';

const MIB = 2 ** 20;
const due = parseThresholds({
  hard: { 'memory.available': '10%', 'nodefs.available': '1Gi', 'nodefs.inodesFree': '5', 'pid.available': '20' },
  soft: {},
  softGraceMs: {},
  minReclaim: {},
  enforcesPods: false,
});
const observations: Observations = new Map(
  (['memory.available', 'nodefs.available', 'nodefs.inodesFree', 'pid.available'] as Signal[]).map((signal) => [
    signal,
    { available: 1052 * 1024, capacity: 1000 * MIB },
  ]),
);
const pod: Pod = {
  metadata: { name: 'web' },
  spec: {
    containers: [
      { name: 'big', resources: { requests: { memory: '10Mi' } } },
      { name: 'small', resources: { requests: { memory: '10Mi' } } },
    ],
    initContainers: [{ name: 'side', restartPolicy: 'Always' }],
  },
};

test('memory: the threshold, and each container that uses more than it asked for', () => {
  const containers = new Map([['big', 30 * MIB], ['small', 10 * MIB], ['side', 1234]]); // biome-ignore format: a table
  const text = evictionText(pod, { workingSetBytes: 41 * MIB }, containers, { resource: 'memory', due, observations });
  expect(text.message).toBe(
    'The node was low on resource: memory. Threshold quantity: 100Mi, available: 1052Ki. ' +
      'Container big was using 30Mi, request is 10Mi, has larger consumption of memory. ' +
      'Container side was using 1234, request is 0, has larger consumption of memory. ',
  );
  expect(text.annotations).toEqual({
    offending_containers: 'big,side',
    offending_containers_usage: '30Mi,1234',
    starved_resource: 'memory',
  });
});

test('memory asked for by the pod as a whole is told of the pod', () => {
  const whole: Pod = { ...pod, spec: { ...pod.spec!, resources: { requests: { memory: '20Mi' } } } };
  const { message, annotations } = evictionText(whole, { workingSetBytes: 21 * MIB }, new Map(), {
    resource: 'memory',
    due: [],
    observations,
  });
  expect(message).toBe(
    'The node was low on resource: memory. Pod web was using 21Mi, request is 20Mi, has larger consumption of memory. ',
  );
  expect(annotations).toMatchObject({ offending_pod: 'web', offending_pod_usage: '21Mi', offending_containers: '' });
});

test('disk: layer and logs of a container together; without both nothing is said of it', () => {
  const storage = storageOf({ rootfs: { big: MIB, small: MIB }, logs: { big: MIB } });
  const { message } = evictionText(pod, { storage }, new Map(), { resource: 'ephemeral-storage', due, observations });
  expect(message).toBe(
    'The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 1052Ki. ' +
      'Container big was using 2Mi, request is 0, has larger consumption of ephemeral-storage. ',
  );
});

test.each([
  ['inodes', 'Threshold quantity: 5, available: 1077248. '],
  ['pids', 'Threshold quantity: 20, available: 1077248. '],
] as const)('%s: counts are no bytes', (resource, threshold) => {
  const { message } = evictionText(pod, undefined, new Map(), { resource, due, observations });
  expect(message).toBe(`The node was low on resource: ${resource}. ${threshold}`);
});
