// What computeActions makes of containers that were given other resources.
import { describe, expect, test } from 'vitest';
import type { Container, Pod, PodSpec, ResourceRequirements } from '../../api/pod.ts';
import type { LinuxContainerResources } from '../../cri/gen/messages.ts';
import { isResizeInProgress } from '../resize/resize-progress.ts';
import { computeActions } from './compute-actions.ts';
import { exited, fakeContainer, fakeStatus, spec } from './fake-pod-status.ts';
import type { RuntimeContainer } from './pod-runtime-status.ts';

const HAS: ResourceRequirements = { requests: { cpu: '1', memory: '1Gi' }, limits: { cpu: '2', memory: '2Gi' } };

/** `HAS` with other requests and limits. */
function giving(requests: object, limits: object = {}): ResourceRequirements {
  return { requests: { ...HAS.requests, ...requests }, limits: { ...HAS.limits, ...limits } };
}

function restarting(...names: string[]): Pick<Container, 'resizePolicy'> {
  return { resizePolicy: names.map((resourceName) => ({ resourceName, restartPolicy: 'RestartContainer' })) };
}

interface Case {
  readonly pod: Partial<PodSpec>;
  readonly running?: readonly RuntimeContainer[];
  /** What each container was made to use; HAS when not said. */
  readonly used?: Readonly<Record<string, ResourceRequirements | undefined>>;
  readonly usedByPod?: ResourceRequirements;
}

/** What happens, in words short enough for a table. */
function act({ pod: more, running, used = {}, usedByPod }: Case) {
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'ns', uid: 'u' },
    spec: { containers: [spec('a')], restartPolicy: 'Always', ...more },
  };
  const all = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  const status = fakeStatus(running ?? all.map((c) => fakeContainer({ name: c.name })));
  const resources = {
    container: (_: string, name: string) => (name in used ? used[name] : HAS),
    pod: () => usedByPod,
  };
  const verdicts = { liveness: () => undefined, startup: () => 'success' as const };
  const a = computeActions({ pod, status, verdicts, resources });
  return {
    resize: a.containersToResize.map((c) => `${c.container.name} ${[...c.changes].flat().join(' ')}`),
    kill: a.containersToKill.map((k) => k.message),
    start: [...a.initContainersToStart, ...a.containersToStart].map((c) => c.name),
    resizePod: a.resizePod,
    inProgress: isResizeInProgress(pod, status, resources),
  };
}

const nothing = { resize: [], kill: [], start: [], resizePod: false, inProgress: false };
const one = (resources: ResourceRequirements, more: Partial<Container> = {}) => ({
  containers: [spec('a', { resources, ...more })],
});
const restarted = {
  ...nothing,
  kill: ['Container a resize requires restart'],
  start: ['a'],
  resizePod: true,
  inProgress: true,
};

describe('a running container', () => {
  test.each<[string, Case, object]>([
    ['what it has', { pod: one(HAS) }, nothing],
    ['what it has, in other words', { pod: one(giving({ cpu: '1000m' }, { memory: '2048Mi' })) }, nothing],
    ['more cpu', { pod: one(giving({ cpu: '1500m' })) }, { ...nothing, resize: ['a cpu more'], inProgress: true }],
    ['less cpu', { pod: one(giving({}, { cpu: '1' })) }, { ...nothing, resize: ['a cpu less'], inProgress: true }],
    [
      'more memory',
      { pod: one(giving({}, { memory: '3Gi' })) },
      { ...nothing, resize: ['a memory more'], inProgress: true },
    ],
    [
      'another memory request alone',
      { pod: one(giving({ memory: '1500Mi' })) },
      { ...nothing, resize: ['a memory more'], inProgress: true },
    ],
    [
      'requests up and limits down: the limit says which way',
      { pod: one(giving({ memory: '1500Mi' }, { memory: '1800Mi' })) },
      { ...nothing, resize: ['a memory less'], inProgress: true },
    ],
    [
      'one up, one down',
      { pod: one(giving({ cpu: '2' }, { memory: '1Gi' })) },
      { ...nothing, resize: ['a memory less cpu more'], inProgress: true },
    ],
    ['another amount of what is not resized', { pod: one(giving({ 'ephemeral-storage': '1Gi' })) }, nothing],
    [
      'a limit where there was none',
      { pod: one(HAS), used: { a: { requests: HAS.requests! } } },
      { ...nothing, resize: ['a memory more cpu more'], inProgress: true },
    ],
    [
      'a restart for another resource',
      { pod: one(giving({ cpu: '2' }), restarting('memory')) },
      { ...nothing, resize: ['a cpu more'], inProgress: true },
    ],
    ['a restart', { pod: one(giving({ cpu: '2' }), restarting('cpu')) }, restarted],
    ['a restart for a request of memory', { pod: one(giving({ memory: '2Gi' }), restarting('memory')) }, restarted],
    ['a restart for one of two', { pod: one(giving({ cpu: '2', memory: '2Gi' }), restarting('memory')) }, restarted],
  ])('is given %s', (_, given, expected) => {
    expect(act(given)).toEqual(expected);
  });
});

describe('who else is looked at', () => {
  test('what does not run is started with what it was given, in a pod that has room for it', () => {
    const given = { pod: one(giving({ cpu: '2' })), running: [exited('a', 1)] };
    expect(act(given)).toEqual({ ...nothing, start: ['a'], resizePod: true });
  });

  test('what starts for the first time changes nothing', () => {
    expect(act({ pod: one(HAS), running: [], used: { a: undefined } })).toEqual({ ...nothing, start: ['a'] });
  });

  test('a sidecar, and a plain init container while it runs', () => {
    const sidecar = spec('s', { restartPolicy: 'Always', resources: giving({ cpu: '2' }) });
    const pod = { ...one(HAS), initContainers: [sidecar] };
    expect(act({ pod })).toEqual({ ...nothing, resize: ['s cpu more'], inProgress: true });
    const init = { ...one(HAS), initContainers: [spec('i', { resources: giving({ cpu: '2' }) })] };
    const running = [fakeContainer({ name: 'i' })];
    expect(act({ pod: init, running })).toEqual({ ...nothing, resize: ['i cpu more'], inProgress: true });
    expect(act({ pod: init, running: [fakeContainer({ name: 'a' }), exited('i', 0)] })).toEqual(nothing);
  });

  test('a sidecar whose policy says so is started anew', () => {
    const sidecar = spec('s', { restartPolicy: 'Always', resources: giving({ cpu: '2' }), ...restarting('cpu') });
    const expected = { kill: ['Container s resize requires restart'], start: ['s'], resizePod: true };
    expect(act({ pod: { ...one(HAS), initContainers: [sidecar] } })).toMatchObject(expected);
  });

  test('a container that is killed anyway is not resized first', () => {
    const running = [fakeContainer({ name: 'a', image: 'other' })];
    expect(act({ pod: one(giving({ cpu: '2' })), running })).toMatchObject({
      resize: [],
      kill: ['Container a definition changed, will be restarted'],
      resizePod: true,
    });
  });
});

describe('a container of an earlier agent, of which nothing is written down', () => {
  const runningWith = (linux: Partial<LinuxContainerResources>) => {
    const plain = fakeContainer({ name: 'a' });
    return [{ ...plain, cri: { ...plain.cri, resources: { linux: linux as LinuxContainerResources } } }];
  };
  const told = { cpuShares: 1024, cpuQuota: 200_000, cpuPeriod: 100_000, memoryLimitInBytes: 2 * 1024 ** 3 };
  test.each<[string, Partial<LinuxContainerResources> | undefined, string[]]>([
    ['nothing is told', undefined, []],
    ['it has what it was given', told, []],
    ['it has less cpu', { ...told, cpuQuota: 100_000 }, ['a cpu more']],
    ['it has more memory', { ...told, memoryLimitInBytes: 3 * 1024 ** 3 }, ['a memory less']],
    ['it has no limits', { ...told, cpuQuota: 0, memoryLimitInBytes: 0 }, ['a memory more cpu more']],
  ])('%s', (_, linux, resize) => {
    const running = linux === undefined ? [fakeContainer({ name: 'a' })] : runningWith(linux);
    expect(act({ pod: one(HAS), running, used: { a: undefined } }).resize).toEqual(resize);
  });
});

describe('resources of the pod as a whole', () => {
  const pod = (cpu: string, own?: ResourceRequirements) => ({
    resources: { limits: { cpu } },
    containers: [spec('a', own === undefined ? {} : { resources: own })],
  });
  test.each<[string, Case, object]>([
    ['the same', { pod: pod('4', HAS), usedByPod: { limits: { cpu: '4' } } }, nothing],
    [
      'other ones',
      { pod: pod('5', HAS), usedByPod: { limits: { cpu: '4' } } },
      { ...nothing, resizePod: true, inProgress: true },
    ],
    [
      'other ones for a container that has none of its own',
      { pod: pod('5'), used: { a: {} }, usedByPod: { limits: { cpu: '4' } } },
      { ...nothing, resize: ['a cpu more'], resizePod: true, inProgress: true },
    ],
  ])('%s', (_, given, expected) => {
    expect(act(given)).toEqual(expected);
  });

  test('a container that was started with them is not started once more while its pod still waits', () => {
    const plain = fakeContainer({ name: 'a' });
    const linux = { cpuShares: 5120, cpuQuota: 500_000, cpuPeriod: 100_000, memoryLimitInBytes: 0 };
    const running = [{ ...plain, cri: { ...plain.cri, resources: { linux: linux as LinuxContainerResources } } }];
    const containers = [spec('a', restarting('cpu'))];
    const given = { pod: { ...pod('5'), containers }, used: { a: {} }, usedByPod: { limits: { cpu: '4' } } };
    expect(act(given)).toMatchObject({ kill: ['Container a resize requires restart'], start: ['a'] });
    expect(act({ ...given, running })).toEqual({ ...nothing, resizePod: true, inProgress: true });
  });
});
