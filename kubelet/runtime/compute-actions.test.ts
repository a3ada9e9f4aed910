import { describe, expect, test } from 'vitest';
import type { Container, Pod, PodSpec } from '../../api/pod.ts';
import type { PodSandboxStatus } from '../../cri/gen/messages.ts';
import { computeActions } from './compute-actions.ts';
import { exited, fakeContainer, fakeSandbox, fakeStatus, spec } from './fake-pod-status.ts';
import type { RuntimeContainer } from './pod-runtime-status.ts';

type Verdict = 'success' | 'failure' | 'unknown';

interface Case {
  readonly pod?: Partial<PodSpec>;
  readonly containers?: readonly RuntimeContainer[];
  readonly sandboxes?: readonly PodSandboxStatus[];
  readonly liveness?: Record<string, Verdict>;
  readonly startup?: Record<string, Verdict>;
  readonly meta?: Pod['metadata'];
  /** Of the pod's condition AllContainersRestarting. */
  readonly restartingAll?: 'True' | 'False';
}

/** What happens, in one line of names: readable in a table. */
function act(c: Case) {
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'ns', uid: 'u', ...c.meta },
    spec: { containers: [spec('a')], restartPolicy: 'Always', ...c.pod },
    ...(c.restartingAll && { status: { conditions: [{ type: 'AllContainersRestarting', status: c.restartingAll }] } }),
  };
  const a = computeActions({
    pod,
    status: fakeStatus(c.containers, c.sandboxes),
    verdicts: { liveness: (id) => c.liveness?.[id], startup: (id) => c.startup?.[id] },
  });
  const names = (list: readonly { name: string }[]) => list.map((x) => x.name).join(' ');
  return {
    killPod: a.killPod,
    create: a.createSandbox,
    start: names(a.containersToStart),
    init: names(a.initContainersToStart),
    ephemeral: names(a.ephemeralContainersToStart),
    kill: a.containersToKill.map((k) => k.message),
    reasons: a.containersToKill.map((k) => k.reason),
    reset: a.containersToReset.map((k) => k.id).join(' '),
    attempt: a.attempt,
    sandboxId: a.sandboxId,
  };
}

const CUT_OFF = 'failed to create containerd task: failed to create shim task: context canceled: unknown';
const idle = { killPod: false, create: false, start: '', init: '', ephemeral: '', kill: [] };
const notReady = (attempt: number) => fakeSandbox({ attempt, state: 'SANDBOX_NOTREADY' });
const hostNetworkSandbox = fakeSandbox({
  linux: { namespaces: { options: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD', targetId: '' } } },
});

describe('sandbox', () => {
  test.each<[string, Case, object]>([
    ['none', { sandboxes: [] }, { create: true, killPod: true, attempt: 0, sandboxId: '', start: 'a' }],
    ['not ready', { sandboxes: [notReady(2)] }, { create: true, attempt: 3, sandboxId: 'sandbox' }],
    [
      'two ready',
      { sandboxes: [fakeSandbox({ attempt: 1 }), fakeSandbox({ id: 'old' })] },
      { create: true, attempt: 2, sandboxId: 'sandbox' },
    ],
    [
      'an old ready one behind a newer that is not',
      { sandboxes: [notReady(1), fakeSandbox({ id: 'old' })] },
      { create: true, attempt: 2 },
    ],
    ['network mode differs', { sandboxes: [hostNetworkSandbox] }, { create: true, attempt: 1, sandboxId: '' }],
    [
      'host network as wanted, with an empty address as containerd tells it',
      { pod: { hostNetwork: true }, sandboxes: [{ ...hostNetworkSandbox, network: { ip: '', additionalIps: [] } }] },
      { create: false, attempt: 0, sandboxId: 'sandbox', start: 'a' },
    ],
    [
      'address lost',
      { sandboxes: [fakeSandbox({ network: { ip: '', additionalIps: [] } })] },
      { create: true, attempt: 1 },
    ],
    ['ready', {}, { create: false, killPod: false, start: 'a' }],
  ])('%s', (_, input, want) => {
    expect(act(input)).toMatchObject(want);
  });

  test.each<[string, Case, object]>([
    [
      'Never and something ran: only kill',
      { pod: { restartPolicy: 'Never' }, sandboxes: [notReady(0)], containers: [exited('a', 1)] },
      { killPod: true, create: false },
    ],
    [
      'Never and nothing ran yet: create',
      { pod: { restartPolicy: 'Never' }, sandboxes: [notReady(0)] },
      { killPod: true, create: true, start: 'a' },
    ],
    [
      'OnFailure: those that succeeded stay down',
      {
        pod: { restartPolicy: 'OnFailure', containers: [spec('a'), spec('b')] },
        sandboxes: [notReady(0)],
        containers: [exited('a', 0), exited('b', 1)],
      },
      { create: true, start: 'b' },
    ],
    [
      'OnFailure and all succeeded: only kill',
      { pod: { restartPolicy: 'OnFailure' }, sandboxes: [notReady(0)], containers: [exited('a', 0)] },
      { killPod: true, create: false, start: '' },
    ],
    [
      'the container-level policy comes first',
      {
        pod: { containers: [spec('a', { restartPolicy: 'OnFailure' })] },
        sandboxes: [notReady(0)],
        containers: [exited('a', 0)],
      },
      { killPod: true, create: false },
    ],
    [
      'with init containers only the first one starts',
      { pod: { initContainers: [spec('i0'), spec('i1')] }, sandboxes: [], containers: [exited('i0', 0)] },
      { create: true, init: 'i0', start: '' },
    ],
  ])('recreate: %s', (_, input, want) => {
    expect(act(input)).toMatchObject(want);
  });
});

describe('regular containers', () => {
  const livenessKill = (policy: string, own?: string): Case => ({
    pod: { restartPolicy: policy, containers: [spec('a', own === undefined ? {} : { restartPolicy: own }), spec('b')] },
    containers: [fakeContainer({ name: 'a' }), fakeContainer({ name: 'b' })],
    liveness: { 'id-a': 'failure' },
  });
  test.each<[string, Case, object]>([
    ['all running', { containers: [fakeContainer({ name: 'a' })] }, idle],
    ['created is started', { containers: [fakeContainer({ name: 'a', state: 'created' })] }, { start: 'a', kill: [] }],
    [
      'unknown is killed first',
      { containers: [fakeContainer({ name: 'a', state: 'unknown' })] },
      { start: 'a', kill: ['Container is in "unknown" state, try killing it before restart'] },
    ],
    [
      'image edited: restarted whatever the policy',
      { pod: { restartPolicy: 'Never' }, containers: [fakeContainer({ name: 'a', image: 'old' })] },
      { start: 'a', kill: ['Container a definition changed, will be restarted'], reasons: ['other'] },
    ],
    ['no stored hash', { containers: [fakeContainer({ name: 'a', hash: '' })] }, { start: 'a' }],
    [
      'liveness under Always',
      livenessKill('Always'),
      { start: 'a', kill: ['Container a failed liveness probe, will be restarted'], reasons: ['liveness-probe'] },
    ],
    ['liveness under Never', livenessKill('Never'), { start: '', kill: ['Container a failed liveness probe'] }],
    ['liveness, own policy Never', livenessKill('Always', 'Never'), { start: '' }],
    ['liveness, own policy OnFailure under Never', livenessKill('Never', 'OnFailure'), { start: 'a' }],
    [
      'startup probe',
      { containers: [fakeContainer({ name: 'a' })], startup: { 'id-a': 'failure' } },
      { start: 'a', kill: ['Container a failed startup probe, will be restarted'], reasons: ['startup-probe'] },
    ],
    [
      'only the newest instance counts',
      { containers: [fakeContainer({ name: 'a', id: 'new' }), exited('a', 1)], liveness: { 'id-a': 'failure' } },
      idle,
    ],
    [
      'a pod being deleted restarts nothing',
      { meta: { deletionTimestamp: '2026-01-01T00:00:00Z' }, containers: [exited('a', 1)] },
      { killPod: true, start: '' },
    ],
  ])('%s', (_, input, want) => {
    expect(act(input)).toMatchObject(want);
  });

  test.each<[string, number, boolean]>([
    ['Always', 0, true],
    ['Always', 1, true],
    ['OnFailure', 0, false],
    ['OnFailure', 1, true],
    ['Never', 0, false],
    ['Never', 1, false],
  ])('%s after exit %d: restart %s', (policy, code, restart) => {
    for (const c of [
      { pod: { restartPolicy: policy } },
      {
        pod: {
          restartPolicy: policy === 'Never' ? 'Always' : 'Never',
          containers: [spec('a', { restartPolicy: policy })],
        },
      },
    ]) {
      expect(act({ ...c, containers: [exited('a', code)] })).toMatchObject({
        start: restart ? 'a' : '',
        killPod: !restart,
      });
    }
  });

  const ruled = (rules: Container['restartPolicyRules'], policy: string | undefined = 'Never') =>
    spec('a', { ...(policy === '' ? {} : { restartPolicy: policy }), restartPolicyRules: rules ?? [] });
  test.each<[string, Container, number, string]>([
    ['In matches', ruled([{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }]), 42, 'a'],
    ['In does not match', ruled([{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }]), 41, ''],
    ['NotIn matches', ruled([{ action: 'Restart', exitCodes: { operator: 'NotIn', values: [42] } }]), 41, 'a'],
    ['NotIn does not', ruled([{ action: 'Restart', exitCodes: { operator: 'NotIn', values: [42] } }]), 42, ''],
    ['restart of all', ruled([{ action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [7] } }]), 7, 'a'],
    ['no rule matches: own policy', ruled([], 'OnFailure'), 1, 'a'],
    [
      'rules without own policy',
      ruled([{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }], ''),
      42,
      '',
    ],
  ])('restart rules: %s', (_, container, code, start) => {
    const pod = { restartPolicy: 'Never', containers: [container, spec('b')] };
    expect(act({ pod, containers: [exited('a', code), fakeContainer({ name: 'b' })] })).toMatchObject({ start });
  });

  test('ephemeral containers start once, even before initialisation is complete', () => {
    const ephemeralContainers = [{ name: 'd1' }, { name: 'd2' }];
    const got = act({
      pod: { ephemeralContainers, initContainers: [spec('i')] },
      containers: [exited('d1', 0), fakeContainer({ name: 'i' })],
    });
    expect(got).toMatchObject({ ephemeral: 'd2', start: '', init: '' });
  });

  test.each<[string, RuntimeContainer, string]>([
    ['that was made and never started is started', fakeContainer({ name: 'd', state: 'created' }), 'd'],
    ['whose start was cut off is started', exited('d', 128, { reason: 'StartError', message: CUT_OFF }), 'd'],
    ['that could not be started is not tried again', exited('d', 128, { reason: 'StartError', message: 'no sh' }), ''],
    ['of which nothing is known may have run', fakeContainer({ name: 'd', state: 'unknown' }), ''],
  ])('an ephemeral container %s', (_, container, ephemeral) => {
    const pod = { ephemeralContainers: [{ name: 'd' }] };
    expect(act({ pod, containers: [container, fakeContainer({ name: 'a' })] })).toMatchObject({ ephemeral });
  });
});

describe('init containers', () => {
  const i0 = spec('i0');
  const i1 = spec('i1');
  test.each<[string, Case, object]>([
    ['none ran', { containers: [] }, { init: 'i0', start: '' }],
    ['first runs', { containers: [fakeContainer({ name: 'i0' })] }, { init: '', start: '' }],
    ['first created', { containers: [fakeContainer({ name: 'i0', state: 'created' })] }, { init: 'i0' }],
    ['first done', { containers: [exited('i0', 0)] }, { init: 'i1', start: '' }],
    ['first failed', { containers: [exited('i0', 1)] }, { init: 'i0', killPod: false }],
    ['OOM kill with code 0 is a failure', { containers: [exited('i0', 0, { reason: 'OOMKilled' })] }, { init: 'i0' }],
    [
      'first failed under Never',
      { pod: { restartPolicy: 'Never' }, containers: [exited('i0', 1)] },
      { killPod: true, create: false, init: '', start: '' },
    ],
    [
      'own policy Never under Always',
      { pod: { initContainers: [spec('i0', { restartPolicy: 'Never' }), i1] }, containers: [exited('i0', 1)] },
      { killPod: true },
    ],
    [
      'a rule restarts it under Never',
      {
        pod: {
          restartPolicy: 'Never',
          initContainers: [
            spec('i0', {
              restartPolicy: 'Never',
              restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [3] } }],
            }),
          ],
        },
        containers: [exited('i0', 3)],
      },
      { killPod: false, init: 'i0' },
    ],
    [
      'unknown',
      { containers: [fakeContainer({ name: 'i0', state: 'unknown' })] },
      { init: 'i0', kill: [expect.stringContaining('Init container is in "unknown" state')] },
    ],
    [
      'unknown under Never',
      { pod: { restartPolicy: 'Never' }, containers: [fakeContainer({ name: 'i0', state: 'unknown' })] },
      { killPod: true },
    ],
    ['last done', { containers: [exited('i1', 0), exited('i0', 0)] }, { init: '', start: 'a' }],
    ['last done, first removed', { containers: [exited('i1', 0)] }, { init: '', start: 'a' }],
    ['regular runs, init containers gone', { containers: [fakeContainer({ name: 'a' })] }, idle],
    [
      'regular created, init containers gone: it is started',
      { containers: [fakeContainer({ name: 'a', state: 'created' })] },
      { init: '', start: 'a' },
    ],
    [
      'a failed one is ignored once regular ones run',
      { containers: [fakeContainer({ name: 'a' }), exited('i0', 1)] },
      idle,
    ],
    [
      'regular containers of an earlier sandbox do not count',
      { containers: [fakeContainer({ name: 'a', sandboxId: 'old' })] },
      { init: 'i0', start: '' },
    ],
    [
      'a regular one that exited does not count, the last init does',
      { containers: [exited('a', 1), exited('i1', 0)] },
      { start: 'a' },
    ],
  ])('%s', (_, input, want) => {
    expect(act({ ...input, pod: { initContainers: [i0, i1], ...input.pod } })).toMatchObject(want);
  });
});

describe('sidecars', () => {
  const startupProbe = { exec: { command: ['true'] } };
  const s0 = spec('s0', { restartPolicy: 'Always' });
  const s0Probed = { ...s0, startupProbe, livenessProbe: startupProbe };
  const i1 = spec('i1');
  const running = (name: string) => fakeContainer({ name });
  test.each<[string, Case, object]>([
    ['running without startup probe: next', { containers: [running('s0')] }, { init: 'i1', start: '' }],
    [
      'startup not tried yet: wait',
      { pod: { initContainers: [s0Probed, i1] }, containers: [running('s0')] },
      { init: '' },
    ],
    [
      'startup succeeded: next',
      { pod: { initContainers: [s0Probed, i1] }, containers: [running('s0')], startup: { 'id-s0': 'success' } },
      { init: 'i1' },
    ],
    [
      'startup failed: killed and restarted',
      { pod: { initContainers: [s0Probed, i1] }, containers: [running('s0')], startup: { 'id-s0': 'failure' } },
      { init: 's0', kill: ['Init container s0 failed startup probe'], reasons: ['startup-probe'] },
    ],
    [
      'liveness failed while main runs',
      {
        pod: { initContainers: [s0Probed] },
        containers: [running('s0'), running('a')],
        startup: { 'id-s0': 'success' },
        liveness: { 'id-s0': 'failure' },
      },
      { init: 's0', start: '', kill: ['Init container s0 failed liveness probe'], reasons: ['liveness-probe'] },
    ],
    [
      'definition changed for the first time round: next starts too',
      { containers: [fakeContainer({ name: 's0', image: 'old' })] },
      { init: 's0 i1', kill: ['Init container s0 definition changed'] },
    ],
    [
      'last one running: initialised',
      { pod: { initContainers: [s0] }, containers: [running('s0')] },
      { init: '', start: 'a' },
    ],
    [
      'exited while main runs',
      { containers: [exited('s0', 1), running('a')] },
      { init: 's0', start: '', killPod: false },
    ],
    ['exited with 0 while main runs', { containers: [exited('s0', 0), running('a')] }, { init: 's0' }],
    [
      'exited under Never',
      { pod: { restartPolicy: 'Never' }, containers: [exited('s0', 1), running('a')] },
      { init: 's0' },
    ],
    ['removed while main runs', { containers: [running('a')] }, { init: 's0', start: '' }],
    ['crashed before i1 is done', { containers: [running('i1'), exited('s0', 1)] }, { init: 's0', start: '' }],
    ['missing before i1 is done', { containers: [running('i1')] }, { init: 's0' }],
    [
      'unknown',
      { containers: [fakeContainer({ name: 's0', state: 'unknown' }), running('a')] },
      { init: 's0', kill: [expect.stringContaining('unknown')] },
    ],
    [
      'main is done: no sidecar keeps the pod alive',
      { pod: { restartPolicy: 'Never' }, containers: [exited('a', 0), exited('s0', 1), exited('i1', 0)] },
      { killPod: true, init: '', start: '' },
    ],
  ])('%s', (_, input, want) => {
    expect(act({ ...input, pod: { initContainers: [s0, i1], ...input.pod } })).toMatchObject(want);
  });
});

describe('worked examples', () => {
  test('Never, one container exits 1: nothing restarts, the pod is stopped', () => {
    const got = act({ pod: { restartPolicy: 'Never' }, containers: [exited('a', 1)] });
    expect(got).toMatchObject({ ...idle, killPod: true });
  });

  describe('Never, and the start failed', () => {
    const start = (message: string) => exited('a', 128, { reason: 'StartError', message });
    const pod = { restartPolicy: 'Never' };

    test.each([
      CUT_OFF,
      'failed to create containerd task: failed to start shim: start failed: : signal: killed: unknown',
      'failed to create containerd task: failed to get task pid: context canceled: unknown',
      `failed to create containerd task: task ${'e5'.repeat(32)}: already exists`,
    ])(
      'since the agent was killed meanwhile, or the runtime, so that nothing ever ran: started again (%s)',
      (message) => {
        expect(act({ pod, containers: [start(message)] })).toMatchObject({ killPod: false, start: 'a' });
        const initPod = { ...pod, initContainers: [spec('i0')] };
        expect(act({ pod: initPod, containers: [{ ...start(message), name: 'i0' }] })).toMatchObject({ init: 'i0' });
      },
    );

    test.each([
      'failed to create containerd task: failed to create shim task: OCI runtime create failed: no such file',
      'failed to start containerd task "a": context canceled: unknown', // by then something may have run
    ])('for any other reason: the pod is over (%s)', (message) => {
      expect(act({ pod, containers: [start(message)] })).toMatchObject({ ...idle, killPod: true });
    });
  });

  test('OnFailure, a exits 0 and b exits 1: only b restarts', () => {
    const pod = { restartPolicy: 'OnFailure', containers: [spec('a'), spec('b')] };
    const got = act({ pod, containers: [exited('a', 0), exited('b', 1)] });
    expect(got).toMatchObject({ killPod: false, start: 'b' });
  });

  test('Always, the first of two init containers fails: it alone is tried again', () => {
    const got = act({ pod: { initContainers: [spec('i0'), spec('i1')] }, containers: [exited('i0', 1)] });
    expect(got).toMatchObject({ ...idle, init: 'i0' });
  });

  test('Never, an init container fails: the pod is over, and no regular container ever starts', () => {
    const pod = { restartPolicy: 'Never', initContainers: [spec('i0')] };
    expect(act({ pod, containers: [exited('i0', 1)] })).toMatchObject({ ...idle, killPod: true });
  });

  test('Never, the main container is done: its sidecar is stopped and does not come back', () => {
    const sidecar = spec('s', { restartPolicy: 'Always' });
    const pod = { restartPolicy: 'Never', initContainers: [sidecar] };
    const containers = [exited('a', 0), fakeContainer({ name: 's' })];
    expect(act({ pod, containers })).toMatchObject({ ...idle, killPod: true });
  });

  test('a sidecar crashes while main runs: it alone is restarted', () => {
    const pod = { initContainers: [spec('s', { restartPolicy: 'Always' })] };
    const containers = [exited('s', 1), fakeContainer({ name: 'a' })];
    expect(act({ pod, containers })).toMatchObject({ ...idle, init: 's' });
  });

  test('liveness fails under Never: the container is stopped for good, and with it a pod in which nothing else runs', () => {
    const liveness = { 'id-a': 'failure' as const };
    const alone = { restartPolicy: 'Never' };
    expect(act({ pod: alone, containers: [fakeContainer({ name: 'a' })], liveness })).toMatchObject({
      killPod: true,
      start: '',
    });
    const pair = { restartPolicy: 'Never', containers: [spec('a'), spec('b')] };
    const containers = [fakeContainer({ name: 'a' }), fakeContainer({ name: 'b' })];
    expect(act({ pod: pair, containers, liveness })).toMatchObject({
      ...idle,
      kill: ['Container a failed liveness probe'],
    });
  });

  test('the image is edited: killed and restarted in the same sandbox', () => {
    const got = act({ containers: [fakeContainer({ name: 'a', image: 'old' })] });
    expect(got).toMatchObject({ killPod: false, create: false, start: 'a', attempt: 0, sandboxId: 'sandbox' });
  });

  test('restart of all containers: regular before init, those that asked for it last', () => {
    const rule = { action: 'RestartAllContainers' as const, exitCodes: { operator: 'In' as const, values: [9] } };
    const got = act({
      restartingAll: 'True',
      pod: {
        containers: [spec('a', { restartPolicy: 'Never', restartPolicyRules: [rule] }), spec('b')],
        initContainers: [spec('i')],
      },
      containers: [exited('a', 9), fakeContainer({ name: 'b' }), exited('b', 1, { id: 'id-b-old' }), exited('i', 0)],
    });
    expect(got).toMatchObject({ ...idle, reset: 'id-b id-b-old id-i id-a' });
  });

  test('the containers of a pod that have all been restarted stay', () => {
    expect(act({ restartingAll: 'False', containers: [fakeContainer({ name: 'a' })] })).toMatchObject({
      ...idle,
      reset: '',
    });
  });
});
