import { expect, test } from 'vitest';
import type { Container, Pod } from '../../api/pod.ts';
import { containerHash } from './container-hash.ts';
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

// As a kubelet left them in containerd 1.6, for the pod below; its JSON has its own order of keys.
const KUBELETS = {
  labels: {
    'io.kubernetes.container.name': 'a',
    'io.kubernetes.pod.name': 'multi',
    'io.kubernetes.pod.namespace': 'na',
    'io.kubernetes.pod.uid': '878ec9ef-ebba-44fa-b552-52068405de80',
  },
  annotations: {
    'io.kubernetes.container.hash': 'a2df488d',
    'io.kubernetes.container.ports': '[{"name":"http","containerPort":8080,"protocol":"TCP"}]',
    'io.kubernetes.container.preStopHandler':
      '{"exec":{"command":["sh","-c","echo bye \\u003e\\u003e /disk/prestop"]}}',
    'io.kubernetes.container.restartCount': '4',
    'io.kubernetes.container.terminationMessagePath': '/dev/termination-log',
    'io.kubernetes.container.terminationMessagePolicy': 'File',
    'io.kubernetes.pod.terminationGracePeriod': '2',
  },
};

test('a container that a kubelet made is taken for the one that we would make, and the other way round', () => {
  const taken: Pod = {
    metadata: { name: 'multi', namespace: 'na', uid: '878ec9ef-ebba-44fa-b552-52068405de80' },
    spec: { containers: [], terminationGracePeriodSeconds: 2 },
  };
  const a: Container = {
    name: 'a',
    image: 'busybox:1.36',
    command: ['httpd', '-f'], // neither this nor probes and limits count
    resources: { limits: { cpu: '200m' } },
    ports: [{ containerPort: 8080, name: 'http', protocol: 'TCP' }],
    lifecycle: { preStop: { exec: { command: ['sh', '-c', 'echo bye >> /disk/prestop'] } } },
  };
  const ours = { labels: containerLabels(taken, 'a'), annotations: containerAnnotations(taken, a, 4) };
  const kubelets = parseContainerMeta(KUBELETS.labels, KUBELETS.annotations);
  expect(parseContainerMeta(ours.labels, ours.annotations)).toEqual(kubelets);
  expect(Object.keys(ours.annotations).sort()).toEqual(Object.keys(KUBELETS.annotations));
  expect(kubelets.hash).toBe(containerHash(a));
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
