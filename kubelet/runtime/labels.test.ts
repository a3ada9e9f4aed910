import { expect, test } from 'vitest';
import type { Container, Pod } from '../../api/pod.ts';
import { containerAnnotations, containerLabels, parseContainerMeta, sandboxLabels } from './labels.ts';

const pod: Pod = {
  metadata: {
    name: 'web',
    namespace: 'shop',
    uid: 'u-1',
    labels: { app: 'web', 'io.kubernetes.pod.uid': 'forged' },
    deletionGracePeriodSeconds: 5,
  },
  spec: { containers: [], terminationGracePeriodSeconds: 30 },
};
const container: Container = {
  name: 'c',
  image: 'busybox',
  terminationMessagePolicy: 'FallbackToLogsOnError',
  lifecycle: { preStop: { exec: { command: ['/bin/true'] } } },
  ports: [{ name: 'http', containerPort: 80 }],
};

test('a pod cannot pose as another pod by its labels', () => {
  expect(sandboxLabels(pod)).toEqual({
    app: 'web',
    'io.kubernetes.pod.name': 'web',
    'io.kubernetes.pod.namespace': 'shop',
    'io.kubernetes.pod.uid': 'u-1',
  });
});

test('what is written on a container is read back', () => {
  const meta = parseContainerMeta(containerLabels(pod, 'c'), containerAnnotations(pod, container, 3));
  expect(meta).toEqual({
    podName: 'web',
    podNamespace: 'shop',
    podUid: 'u-1',
    containerName: 'c',
    hash: expect.stringMatching(/^[0-9a-f]{1,8}$/),
    restartCount: 3,
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'FallbackToLogsOnError',
    podDeletionGrace: 5,
    podTerminationGrace: 30,
    preStop: { exec: { command: ['/bin/true'] } },
    ports: [{ name: 'http', containerPort: 80 }],
  });
});

test('annotations for absent things are not written', () => {
  const bare = containerAnnotations({ metadata: { name: 'p' }, spec: { containers: [] } }, { name: 'c' }, 0);
  expect(Object.keys(bare).sort()).toEqual([
    'io.kubernetes.container.hash',
    'io.kubernetes.container.restartCount',
    'io.kubernetes.container.terminationMessagePath',
    'io.kubernetes.container.terminationMessagePolicy',
  ]);
});

test('unreadable annotations count as absent', () => {
  const meta = parseContainerMeta(
    {},
    {
      'io.kubernetes.container.restartCount': 'many',
      'io.kubernetes.pod.deletionGracePeriod': '1e3',
      'io.kubernetes.container.preStopHandler': '{"exec":',
      'io.kubernetes.container.ports': '[null,{"containerPort":1}]',
    },
  );
  expect(meta.restartCount).toBe(0);
  expect(meta.podDeletionGrace).toBeUndefined();
  expect(meta.preStop).toBeUndefined();
  expect(meta.ports).toEqual([{ containerPort: 1 }]);
});
