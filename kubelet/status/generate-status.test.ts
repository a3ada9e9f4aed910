import { describe, expect, test } from 'vitest';
import type { ContainerStatus, Pod, PodSpec, PodStatus } from '../../api/pod.ts';
import type { LinuxContainerResources } from '../../cri/gen/messages.ts';
import { exited, fakeContainer, fakeSandbox, fakeStatus } from '../runtime/fake-pod-status.ts';
import { generateStatus, type StatusInput } from './generate-status.ts';

const NOW = Date.UTC(2026, 0, 1, 12);
const MAIN: PodSpec = { containers: [{ name: 'main', image: 'image' }], restartPolicy: 'Always' };

function pod(spec: PodSpec = MAIN, more: Partial<Pod> = {}): Pod {
  return { metadata: { name: 'p', namespace: 'ns', uid: 'u', generation: 3 }, spec, ...more };
}

function generate(more: Partial<StatusInput> = {}): PodStatus {
  return generateStatus({
    pod: pod(),
    runtime: fakeStatus(),
    previous: {},
    isTerminal: false,
    hostIps: ['192.0.2.1'],
    probes: { verdict: () => undefined, hasProbe: () => false },
    startFailure: () => undefined,
    runtimeName: 'containerd',
    agentStartedAtMs: 0,
    nowMs: NOW,
    ...more,
  });
}

function conditionOf(status: PodStatus, type: string): unknown[] {
  const c = status.conditions?.find((x) => x.type === type);
  return [c?.status, c?.reason, c?.message];
}

describe('container statuses', () => {
  test('before anything runs', () => {
    const status = generate({ runtime: fakeStatus([], []) });
    expect(status.phase).toBe('Pending');
    expect(status.containerStatuses?.[0]?.state).toEqual({ waiting: { reason: 'ContainerCreating' } });
    expect(conditionOf(status, 'PodReadyToStartContainers')[0]).toBe('False');
    expect(conditionOf(status, 'Ready')).toEqual([
      'False',
      'ContainersNotReady',
      'containers with unready status: [main]',
    ]);
    expect(conditionOf(status, 'Initialized')).toEqual(['True', undefined, undefined]);
    expect(status.observedGeneration).toBe(3);
    expect(status.startTime).toBe('2026-01-01T12:00:00Z');
  });

  test('a pod with init containers waits for them', () => {
    const spec = { ...MAIN, initContainers: [{ name: 'i', image: 'image' }] };
    const status = generate({ pod: pod(spec), runtime: fakeStatus([fakeContainer({ name: 'i' })]) });
    expect(status.phase).toBe('Pending');
    expect(status.containerStatuses?.[0]?.state).toEqual({ waiting: { reason: 'PodInitializing' } });
    expect(status.initContainerStatuses?.[0]).toMatchObject({ started: true, ready: false });
    expect(conditionOf(status, 'Initialized')).toEqual([
      'False',
      'ContainersNotInitialized',
      'containers with incomplete status: [i]',
    ]);
  });

  test('the two newest instances make state and lastState', () => {
    const runtime = fakeStatus([
      fakeContainer({ name: 'main', id: 'new', restartCount: 2 }),
      exited('main', 7, { id: 'old', restartCount: 1 }),
      exited('main', 8, { id: 'oldest' }),
    ]);
    const status = generate({ runtime }).containerStatuses?.[0];
    expect(status).toMatchObject({ restartCount: 2, containerID: 'containerd://new', ready: true, started: true });
    expect(status?.lastState?.terminated).toMatchObject({
      exitCode: 7,
      reason: 'Error',
      containerID: 'containerd://old',
    });
  });

  test('how a container ended before stays known when the runtime has nothing of it any more', () => {
    const before = generate({ runtime: fakeStatus([exited('main', 7, { id: 'old', restartCount: 3 })]) });
    const runtime = fakeStatus([fakeContainer({ name: 'main', id: 'new' })]);
    const restarted = generate({ runtime, previous: before });
    const ended = { restartCount: 3, lastState: { terminated: { exitCode: 7, containerID: 'containerd://old' } } };
    expect(restarted.containerStatuses?.[0]).toMatchObject(ended);
    expect(generate({ runtime, previous: restarted }).containerStatuses?.[0]).toMatchObject(ended);
  });

  test('a start that failed is waiting with its reason, the end before it is the last state', () => {
    const status = generate({
      runtime: fakeStatus([exited('main', 1)]),
      startFailure: () => ({ reason: 'CrashLoopBackOff', message: 'back-off 10s' }),
    });
    expect(status.phase).toBe('Running');
    expect(status.containerStatuses?.[0]).toMatchObject({
      state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 10s' } },
      lastState: { terminated: { exitCode: 1 } },
    });
  });

  test('cut off while it was being started: waiting, since for the API an end under Never is final', () => {
    const message = 'failed to create containerd task: failed to create shim task: context canceled: unknown';
    const runtime = fakeStatus([exited('main', 128, { reason: 'StartError', message })]);
    const spec: PodSpec = { ...MAIN, restartPolicy: 'Never' };
    const status = generate({ pod: pod(spec), runtime });
    expect(status).toMatchObject({
      phase: 'Running',
      containerStatuses: [
        { state: { waiting: { reason: 'ContainerCreating' } }, lastState: { terminated: { reason: 'StartError' } } },
      ],
    });
    expect(status.containerStatuses?.[0]?.state?.terminated).toBeUndefined();
    const deleted = pod(spec, { metadata: { name: 'p', namespace: 'ns', uid: 'u', deletionTimestamp: 'now' } });
    const ended = generate({ pod: deleted, runtime, isTerminal: true });
    expect(ended.containerStatuses?.[0]?.state).toMatchObject({ terminated: { reason: 'StartError' } });
  });

  test('that end with a message show its start, as many bytes as the pod may have', () => {
    const other = (name: string) => [{ name, image: 'image' }];
    const spec = { ...MAIN, initContainers: other('init'), ephemeralContainers: other('debug') };
    const runtime = fakeStatus([exited('main', 1, { message: 'é'.repeat(8000) })]);
    const message = generate({ pod: pod(spec), runtime }).containerStatuses?.[0]?.state?.terminated?.message;
    expect(Buffer.byteLength(message ?? '')).toBe(4096);
  });

  test('are sorted by name, those of init containers stand in the order of the spec', () => {
    const two = (a: string, b: string) => [a, b].map((name) => ({ name, image: 'image' }));
    const spec: PodSpec = {
      ...MAIN,
      containers: two('z', 'a'),
      initContainers: two('z', 'b'),
      ephemeralContainers: two('y', 'c'),
    };
    const status = generate({ pod: pod(spec), runtime: fakeStatus([], []) });
    const names = (list: readonly { name: string }[] = []) => list.map((s) => s.name);
    expect(names(status.containerStatuses)).toEqual(['a', 'z']);
    expect(names(status.initContainerStatuses)).toEqual(['z', 'b']);
    expect(names(status.ephemeralContainerStatuses)).toEqual(['c', 'y']);
  });

  test('name the user, the mounts and the image that the runtime has', () => {
    const mounts = [
      { name: 'v', mountPath: '/v' },
      { name: 'v', mountPath: '/ro', readOnly: true, recursiveReadOnly: 'IfPossible' },
    ];
    const spec = { ...MAIN, containers: [{ name: 'main', image: 'image', volumeMounts: mounts }] };
    const made = fakeContainer({ name: 'main' });
    const mount = {
      containerPath: '/ro',
      hostPath: '',
      readonly: true,
      selinuxRelabel: false,
      recursiveReadOnly: true,
    };
    const cri = {
      ...made.cri,
      imageRef: 'sha256:1',
      user: { linux: { uid: 1000, gid: 3000, supplementalGroups: [3000] } },
      mounts: [
        { ...mount, propagation: 'PROPAGATION_PRIVATE' as const, uidMappings: [], gidMappings: [], imageSubPath: '' },
      ],
    };
    const [status] = generate({ pod: pod(spec), runtime: fakeStatus([{ ...made, cri }]) }).containerStatuses!;
    expect(status).toMatchObject({
      imageID: 'sha256:1',
      user: { linux: { uid: 1000, gid: 3000, supplementalGroups: [3000] } },
      volumeMounts: [
        { name: 'v', mountPath: '/v' },
        { name: 'v', mountPath: '/ro', readOnly: true, recursiveReadOnly: 'Enabled' },
      ],
    });
  });

  test('whose state the runtime has lost have ended, if they were seen to run', () => {
    const running = generate({ runtime: fakeStatus([fakeContainer({ name: 'main', restartCount: 2 })]) });
    const lost = fakeStatus([fakeContainer({ name: 'main', restartCount: 2, state: 'unknown' })]);
    expect(generate({ runtime: lost, previous: running }).containerStatuses?.[0]).toMatchObject({
      restartCount: 3,
      state: {
        terminated: {
          exitCode: 137,
          reason: 'ContainerStatusUnknown',
          message: 'The container could not be located when the pod was terminated',
        },
      },
    });
    expect(generate({ runtime: lost }).containerStatuses?.[0]?.state).toEqual({ waiting: {} });
  });

  test('of an init container that vanished behind a started pod say that it completed', () => {
    const spec = { ...MAIN, initContainers: [{ name: 'i', image: 'image' }] };
    const runtime = fakeStatus([fakeContainer({ name: 'main' })]);
    const [status] = generate({ pod: pod(spec), runtime }).initContainerStatuses!;
    expect(status).toMatchObject({ ready: true, state: { terminated: { exitCode: 0, reason: 'Completed' } } });
  });

  test('of a pod whose containers all start anew keep counts and ends of what was removed, and the pod goes on', () => {
    const exitCodes = { operator: 'In' as const, values: [42] };
    const restartPolicyRules = [{ action: 'RestartAllContainers' as const, exitCodes }];
    const spec: PodSpec = {
      restartPolicy: 'Never',
      containers: [
        { name: 'asks', image: 'image', restartPolicy: 'Never', restartPolicyRules },
        { name: 'main', image: 'image' },
      ],
    };
    const at = (more: Partial<StatusInput>) => generate({ pod: pod(spec), ...more });
    const before = at({ runtime: fakeStatus([exited('asks', 42), fakeContainer({ name: 'main', restartCount: 1 })]) });
    const between = at({ runtime: fakeStatus(), previous: before });
    expect(between.phase).toBe('Running');
    expect(between.containerStatuses).toMatchObject([
      { restartCount: 0, lastState: { terminated: { exitCode: 42 } } },
      {
        restartCount: 1,
        state: { waiting: { reason: 'RestartingAllContainers' } },
        lastState: {
          terminated: {
            exitCode: 137,
            reason: 'RestartingAllContainers',
            message: 'The container is removed because RestartAllContainers in place',
          },
        },
      },
    ]);
    const again = [fakeContainer({ name: 'asks', restartCount: 1 }), fakeContainer({ name: 'main' })];
    const after = at({ runtime: fakeStatus(again), previous: between });
    expect(after.containerStatuses?.[1]).toMatchObject({
      restartCount: 1,
      state: { running: {} },
      lastState: { terminated: { reason: 'RestartingAllContainers' } },
    });
  });

  test('a container that ran and is gone does not put the pod back to Pending', () => {
    const previous = generate({ runtime: fakeStatus([fakeContainer({ name: 'main' })]) });
    const status = generate({ runtime: fakeStatus(), previous });
    expect(status.phase).toBe('Running');
    expect(status.containerStatuses?.[0]).toMatchObject({
      restartCount: 1,
      lastState: { terminated: { reason: 'ContainerStatusUnknown', exitCode: 137 } },
    });
    const deleted = { metadata: { name: 'p', namespace: 'ns', uid: 'u', deletionTimestamp: 'now' } };
    const ending = generate({ pod: pod(MAIN, deleted), runtime: fakeStatus(), previous });
    expect(ending.containerStatuses?.[0]?.restartCount).toBe(0); // nothing follows it
  });
});

describe('started and ready', () => {
  const probed: PodSpec = {
    containers: [{ name: 'main', image: 'image', readinessProbe: {}, startupProbe: {} }],
  };
  const runtime = fakeStatus([fakeContainer({ name: 'main', startedAtMs: NOW - 60_000 })]);

  test('wait for the probes of a container of ours', () => {
    const status = generate({ pod: pod(probed), runtime, agentStartedAtMs: NOW - 120_000 });
    expect(status.containerStatuses?.[0]).toMatchObject({ started: false, ready: false });
  });

  test('follow the probes', () => {
    const probes = { verdict: () => 'success' as const, hasProbe: () => true };
    expect(generate({ pod: pod(probed), runtime, probes }).containerStatuses?.[0]).toMatchObject({
      started: true,
      ready: true,
    });
  });

  /** Statuses as the API had them before the agent started. */
  function restarted(ready: string, told: Partial<ContainerStatus>): PodStatus {
    const before = generate({ pod: pod(probed), runtime });
    const statuses = before.containerStatuses!.map((s) => ({ ...s, started: true, ready: true, ...told }));
    const previous = { ...before, containerStatuses: statuses };
    const api = { ...previous, conditions: [{ type: 'Ready', status: ready }] };
    return generate({ pod: pod(probed, { status: api }), runtime, previous, agentStartedAtMs: NOW });
  }

  test.each([
    ['True', true],
    ['False', false],
  ])('are carried over from a pod that was Ready: %s when the agent starts again', (ready, expected) => {
    expect(restarted(ready, {}).containerStatuses?.[0]).toMatchObject({ started: true, ready: expected });
  });

  test('are not taken from a container whose successor the API has not heard of', () => {
    const spec: PodSpec = { containers: [{ name: 'main', image: 'image', readinessProbe: {} }] };
    const status = restarted('True', { containerID: 'containerd://gone' });
    expect(status.containerStatuses?.[0]).toMatchObject({ started: false, ready: false });
    const api = { ...status, conditions: [{ type: 'Ready', status: 'True' }] };
    const again = generate({ pod: pod(spec, { status: api }), runtime, previous: status, agentStartedAtMs: NOW });
    expect(again.containerStatuses?.[0]).toMatchObject({ started: true, ready: false });
  });
});

describe('the pod', () => {
  test('keeps its address when its sandbox is gone', () => {
    const previous = generate({ runtime: fakeStatus([fakeContainer({ name: 'main' })]) });
    expect(previous.podIP).toBe('10.0.0.1');
    const gone = { ...fakeStatus([exited('main', 0)], [fakeSandbox({ state: 'SANDBOX_NOTREADY' })]), ips: [] };
    expect(generate({ runtime: gone, previous }).podIP).toBe('10.0.0.1');
  });

  test('on the host network has the addresses of the node', () => {
    const status = generate({ pod: pod({ ...MAIN, hostNetwork: true }), hostIps: ['192.0.2.1', '2001:db8::1'] });
    expect(status).toMatchObject({ podIP: '192.0.2.1', podIPs: [{ ip: '192.0.2.1' }, { ip: '2001:db8::1' }] });
  });

  test('on the host network keeps its address, and gets one of the other family when the node does', () => {
    const hosted = pod({ ...MAIN, hostNetwork: true });
    const previous = generate({ pod: hosted, hostIps: ['192.0.2.1'] });
    const status = generate({ pod: hosted, previous, hostIps: ['192.0.2.9', '2001:db8::1'] });
    expect(status.podIPs).toEqual([{ ip: '192.0.2.1' }, { ip: '2001:db8::1' }]);
    expect(status.hostIPs).toEqual([{ ip: '192.0.2.9' }, { ip: '2001:db8::1' }]);
  });

  test('has its conditions in order, each of its generation', () => {
    const api = { conditions: [{ type: 'example.com/x', status: 'True' }] };
    const previous: PodStatus = { conditions: [{ type: 'DisruptionTarget', status: 'True' }] };
    const { conditions } = generate({ pod: pod(MAIN, { status: api }), previous });
    expect(conditions?.map((c) => c.type)).toEqual([
      'example.com/x',
      'DisruptionTarget',
      'PodReadyToStartContainers',
      'Initialized',
      'Ready',
      'ContainersReady',
      'PodScheduled',
    ]);
    const owned = conditions?.slice(2) as { observedGeneration?: number }[];
    expect(new Set(owned.map((c) => c.observedGeneration))).toEqual(new Set([3]));
  });

  test('never tells of an older generation than it has told of', () => {
    expect(generate({ previous: { observedGeneration: 5 } }).observedGeneration).toBe(5);
    expect(generate({ previous: { observedGeneration: 2 } }).observedGeneration).toBe(3);
  });

  test('never leaves a terminal phase', () => {
    const status = generate({
      runtime: fakeStatus([fakeContainer({ name: 'main' })]),
      previous: { phase: 'Failed', reason: 'Evicted' },
    });
    expect(status).toMatchObject({ phase: 'Failed', reason: 'Evicted' });
  });

  test('past its deadline has failed', () => {
    const spec = { ...MAIN, activeDeadlineSeconds: 60 };
    const previous = { startTime: '2026-01-01T11:59:00Z' as never };
    expect(generate({ pod: pod(spec), previous })).toMatchObject({ phase: 'Failed', reason: 'DeadlineExceeded' });
  });

  test('that completed is not ready, with the reason', () => {
    const status = generate({
      pod: pod({ ...MAIN, restartPolicy: 'Never' }),
      runtime: fakeStatus([exited('main', 0)]),
    });
    expect(status.phase).toBe('Succeeded');
    expect(conditionOf(status, 'Ready')).toEqual(['False', 'PodCompleted', undefined]);
    expect(conditionOf(status, 'Initialized')).toEqual(['True', 'PodCompleted', undefined]);
  });

  test('waits for its readiness gates', () => {
    const spec = { ...MAIN, readinessGates: [{ conditionType: 'example.com/lb' }] };
    const runtime = fakeStatus([fakeContainer({ name: 'main' })]);
    expect(conditionOf(generate({ pod: pod(spec), runtime }), 'Ready')).toEqual([
      'False',
      'ReadinessGatesNotReady',
      'corresponding condition of pod readiness gate "example.com/lb" does not exist.',
    ]);
    const gated = pod(spec, { status: { conditions: [{ type: 'example.com/lb', status: 'True' }] } });
    const status = generate({ pod: gated, runtime });
    expect(conditionOf(status, 'Ready')[0]).toBe('True');
    expect(conditionOf(status, 'example.com/lb')[0]).toBe('True'); // others' conditions stay
  });

  test('keeps the time of a condition that did not change', () => {
    const previous = generate();
    const later = generate({ previous, nowMs: NOW + 60_000, runtime: fakeStatus([fakeContainer({ name: 'main' })]) });
    const time = (s: PodStatus, type: string) => s.conditions?.find((c) => c.type === type)?.lastTransitionTime;
    expect(time(later, 'PodScheduled')).toBe('2026-01-01T12:00:00Z');
    expect(time(later, 'Ready')).toBe('2026-01-01T12:01:00Z');
  });
});

describe('resources', () => {
  const resources = (cpu: string, memory = '64Mi') => ({ requests: { cpu, memory }, limits: { cpu, memory } });
  const using = (given: object): PodSpec => ({ ...MAIN, containers: [{ ...MAIN.containers[0]!, resources: given }] });
  const told = (linux: Partial<LinuxContainerResources>) => {
    const plain = fakeContainer({ name: 'main' });
    return fakeStatus([{ ...plain, cri: { ...plain.cri, resources: { linux: linux as LinuxContainerResources } } }]);
  };

  test.each<[string, Partial<StatusInput>, object]>([
    ['before it runs: what it is to have', { runtime: fakeStatus([]) }, resources('1')],
    ['of what ended: what it is to have', { runtime: fakeStatus([exited('main', 1)]) }, resources('1')],
    ['of what runs: what it was made to use', { actuated: () => resources('500m', '32Mi') }, resources('500m', '32Mi')],
    ['of which nothing is known: what it is to have', {}, resources('1')],
    [
      'by the word of the runtime; a request of memory only the agent knows',
      {
        actuated: () => resources('500m', '32Mi'),
        runtime: told({ cpuShares: 256, cpuQuota: 25_000, cpuPeriod: 100_000, memoryLimitInBytes: 48 << 20 }),
      },
      { requests: { cpu: '250m', memory: '32Mi' }, limits: { cpu: '250m', memory: '48Mi' } },
    ],
  ])('%s', (_, more, expected) => {
    const runtime = fakeStatus([fakeContainer({ name: 'main' })]);
    const [status] = generate({ pod: pod(using(resources('1'))), runtime, ...more }).containerStatuses ?? [];
    expect(status).toMatchObject({ allocatedResources: { cpu: '1', memory: '64Mi' } });
    expect(status?.resources).toEqual(expected);
  });

  test('of the pod as a whole: its own, else those of its containers together', () => {
    const bare = generate();
    expect([bare.allocatedResources, bare.resources]).toEqual([undefined, undefined]);
    const spec: PodSpec = { ...MAIN, resources: resources('2') };
    expect(generate({ pod: pod(spec), actuatedPod: resources('1') })).toMatchObject({
      allocatedResources: { cpu: '2', memory: '64Mi' },
      resources: resources('1'),
    });
    const main = { ...MAIN.containers[0]!, resources: resources('1') };
    const side = {
      name: 'side',
      image: 'busybox',
      resources: { requests: { cpu: '500m' }, limits: { memory: '16Mi' } },
    };
    // The one that runs still uses less than it was given; the limit of CPU is not one of the pod.
    const both = generate({
      pod: pod({ ...MAIN, containers: [main, side] }),
      runtime: fakeStatus([fakeContainer({ name: 'main' })]),
      actuated: (name) => (name === 'main' ? resources('250m', '32Mi') : undefined),
    });
    expect(both.allocatedResources).toEqual({ cpu: '1500m', memory: '64Mi' });
    expect(both.resources).toEqual({ requests: { cpu: '750m', memory: '32Mi' }, limits: { memory: '48Mi' } });
  });

  test('conditions of a resize are shown, and go', () => {
    const pending = { type: 'PodResizePending', status: 'True', reason: 'Deferred', observedGeneration: 2 } as const;
    const status = generate({ resizeConditions: [pending] });
    expect(status.conditions).toContainEqual(pending);
    expect(conditionOf(generate({ previous: status }), 'PodResizePending')[0]).toBeUndefined();
  });
});
