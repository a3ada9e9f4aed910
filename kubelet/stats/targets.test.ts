import { expect, test } from 'vitest';
import type { PodRuntimeStatus, RuntimeContainer } from '../runtime/pod-runtime-status.ts';
import { containerCgroups, podTargets } from './targets.ts';

const sandbox = (id: string, state: string) => ({ id, state, createdAt: 5_000_000n });
const container = (id: string, name: string, state: RuntimeContainer['state'], sandboxId = 's1') =>
  ({
    id,
    name,
    state,
    sandboxId,
    createdAtMs: 7,
    cri: { image: { image: 'busybox' }, imageRef: 'sha' },
  }) as RuntimeContainer;

function statusOf(sandboxes: readonly object[], containers: readonly RuntimeContainer[]): PodRuntimeStatus {
  return { uid: 'u', name: 'p', namespace: 'n', ips: [], sandboxes, containers, observedAtMs: 0 } as never;
}

test('running containers of the ready sandbox have figures, the newest of each name', () => {
  const status = statusOf(
    [sandbox('s1', 'SANDBOX_READY'), sandbox('s0', 'SANDBOX_NOTREADY')],
    [
      container('c2', 'c', 'running'),
      container('c1', 'c', 'running'),
      container('d1', 'd', 'exited'),
      container('e1', 'e', 'running', 's0'),
    ],
  );
  const [target] = podTargets([{ pod: {}, status }], () => '/kubepods/podu');
  expect(target).toMatchObject({ uid: 'u', cgroup: '/kubepods/podu', sandbox: { id: 's1', createdAtMs: 5 } });
  expect(target!.containers).toMatchObject([{ id: 'c2', name: 'c', image: 'busybox', createdAtMs: 7 }]);
});

test('a pod without a ready sandbox has none', () => {
  const status = statusOf([sandbox('s0', 'SANDBOX_NOTREADY')], [container('c', 'c', 'running', 's0')]);
  expect(podTargets([{ pod: {}, status }], () => '')).toEqual([]);
});

test('names of the cgroup of a container', () => {
  expect(containerCgroups('/a/pod1', 'x')).toEqual([
    '/a/pod1/x',
    '/a/pod1/cri-containerd-x.scope',
    '/a/pod1/crio-x.scope',
  ]);
  expect(containerCgroups('/', 'x')[0]).toBe('/x');
  expect(containerCgroups('', 'x')[0]).toBe('/k8s.io/x');
});
