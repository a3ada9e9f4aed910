import { expect, test } from 'vitest';
import type { Pod, PodStatus } from '../../api/pod.ts';
import { finishedStatus } from './finish-status.ts';
import { illegalTransition, isStatusEqual, mergeStatus } from './status-merge.ts';
import { computeStatusPatch } from './status-patch.ts';

const POD: Pod = { spec: { restartPolicy: 'Never', containers: [{ name: 'main' }] } };
const NOW = Date.UTC(2026, 0, 1);
const READY = { type: 'Ready', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' as never };
const main = (state: object) => ({ name: 'main', image: '', imageID: '', ready: true, restartCount: 0, state });

test('a terminal phase is withheld while containers may run', () => {
  const held: PodStatus = { phase: 'Failed', reason: 'Evicted', conditions: [READY] };
  const api: PodStatus = { phase: 'Running' };
  expect(mergeStatus(POD, api, held, true, 0)).toMatchObject({ phase: 'Running' });
  expect(mergeStatus(POD, api, held, true, 0).reason).toBeUndefined();
  expect(mergeStatus(POD, api, held, false, 0)).toMatchObject({ phase: 'Failed', reason: 'Evicted' });
  const told: PodStatus = { ...api, reason: 'Starting', message: 'as told before' };
  expect(mergeStatus(POD, told, held, true, 0)).toMatchObject(told);
});

test('why a pod was disrupted is told together with its end, and not before', () => {
  const disruption = { type: 'DisruptionTarget', status: 'True', reason: 'TerminationByKubelet' };
  const held: PodStatus = { phase: 'Failed', conditions: [{ ...disruption, lastTransitionTime: 'then' as never }] };
  const told = (api: PodStatus, mayHaveRunning: boolean) => mergeStatus(POD, api, held, mayHaveRunning, NOW).conditions;
  expect(told({ phase: 'Running' }, true)).toEqual([]);
  expect(told({ phase: 'Running' }, false)).toEqual([{ ...disruption, lastTransitionTime: '2026-01-01T00:00:00Z' }]);
  const byOthers = { ...disruption, reason: 'EvictionByEvictionAPI' };
  expect(told({ phase: 'Running', conditions: [byOthers] }, true)).toEqual([byOthers]);
});

test.each([
  ['Failed', 'PodFailed', [main({})]],
  ['Succeeded', 'PodCompleted', [main({})]],
  ['Failed', 'UnknownContainerStatuses', []],
] as const)('a pod that is over is written as not ready: %s, %s', (phase, reason, containerStatuses) => {
  const held: PodStatus = { phase, conditions: [READY], containerStatuses: [...containerStatuses] };
  const { conditions } = mergeStatus(POD, {}, held, false, 0);
  expect(conditions).toMatchObject([{ type: 'Ready', status: 'False', reason }]);
});

test("others' conditions are neither counted nor touched", () => {
  const api: PodStatus = { conditions: [{ type: 'example.com/x', status: 'True' }] };
  expect(isStatusEqual(api, { conditions: [] })).toBe(true);
  const merged = mergeStatus(POD, api, { phase: 'Running', conditions: [READY] }, true, 0);
  expect(merged.conditions?.map((c) => c.type)).toEqual(['example.com/x', 'Ready']);
  const patch = computeStatusPatch('u', api, merged) as { status: { conditions: { type: string }[] } };
  expect(patch.status.conditions.map((c) => c.type)).toEqual(['Ready']);
});

test('what a server written in Go gives back in another form is no difference', () => {
  const ended = (more: object) => main({ terminated: { exitCode: 0, reason: 'Completed', ...more } });
  const linux = { uid: 0, gid: 0 };
  const sent = { ...ended({ message: '' }), user: { linux: { ...linux, supplementalGroups: [] } } };
  const back = { ...ended({ startedAt: null, finishedAt: null }), user: { linux } };
  const status = (one: object) => ({ phase: 'Succeeded', containerStatuses: [one] }) as unknown as PodStatus;
  expect(isStatusEqual(status(sent), status(back))).toBe(true);
  expect(isStatusEqual(status(sent), status({ ...back, started: false }))).toBe(false);
  expect(isStatusEqual(status(back), status(ended({ exitCode: 1 })))).toBe(false);
});

test('what the scheduler tells of the pod is no difference', () => {
  const status: PodStatus = { phase: 'Running' };
  const told = { resourceClaimStatuses: [{ name: 'a' }], extendedResourceClaimStatus: { resourceClaimName: 'c' } };
  expect(isStatusEqual({ ...status, ...told, nominatedNodeName: 'n' } as PodStatus, status)).toBe(true);
});

test('a patch always names the uid, and is none when nothing differs', () => {
  expect(computeStatusPatch('u', { phase: 'Pending' }, { phase: 'Running' })).toMatchObject({
    metadata: { uid: 'u' },
    status: { phase: 'Running' },
  });
  expect(computeStatusPatch('u', { phase: 'Running' }, { phase: 'Running' })).toBeUndefined();
  expect(computeStatusPatch('u', { phase: 'Running', nominatedNodeName: 'n' }, { phase: 'Running' })).toBeUndefined();
});

test('a container that ended for good may not run again', () => {
  const before = { containerStatuses: [main({ terminated: { exitCode: 0 } })] };
  const after = { containerStatuses: [main({ running: {} })] };
  expect(illegalTransition(POD, before, after)).toBe('main');
  const always: Pod = { spec: { restartPolicy: 'Always', containers: [{ name: 'main' }] } };
  expect(illegalTransition(always, before, after)).toBeUndefined();
});

test.each([
  ['Never', undefined, 'i'],
  ['Never', 'Always', undefined], // a sidecar
  ['OnFailure', undefined, undefined], // in a new sandbox
  ['Always', undefined, undefined],
])('under %s an init container of policy %s that succeeded may run again, or is named', (policy, own, named) => {
  const spec = { name: 'i', ...(own === undefined ? {} : { restartPolicy: own }) };
  const pod: Pod = { spec: { restartPolicy: policy, initContainers: [spec], containers: [{ name: 'main' }] } };
  const status = (state: object): PodStatus => ({ initContainerStatuses: [{ ...main(state), name: 'i' }] });
  expect(illegalTransition(pod, status({ terminated: { exitCode: 0 } }), status({ running: {} }))).toBe(named);
});

test('an init container that succeeded under OnFailure and runs once more is shown as ended: the rest is told', () => {
  const init = (state: object) => [{ ...main(state), name: 'init' }];
  const ended = { terminated: { exitCode: 0 } };
  const api = { initContainerStatuses: init(ended), containerStatuses: [main({ running: {} })] } as PodStatus;
  const held = { initContainerStatuses: init({ running: {} }), containerStatuses: [main({ waiting: {} })] };
  const told = (policy: string, exitCode = 0, restartPolicy?: string) => {
    const own = restartPolicy === undefined ? {} : { restartPolicy };
    const initContainers = [{ name: 'init', ...own }];
    const pod = { spec: { restartPolicy: policy, initContainers, containers: [{ name: 'main' }] } } as Pod;
    const before = { ...api, initContainerStatuses: init({ terminated: { exitCode } }) } as PodStatus;
    return mergeStatus(pod, before, held as PodStatus, true, 0);
  };
  expect(told('OnFailure').initContainerStatuses).toEqual(init(ended));
  expect(told('OnFailure').containerStatuses).toEqual(held.containerStatuses);
  expect(told('Never').initContainerStatuses).toEqual(init(ended));
  for (const runs of [told('Always'), told('OnFailure', 1), told('Never', 0, 'Always')]) {
    expect(runs.initContainerStatuses).toEqual(held.initContainerStatuses);
  }
});

test('the last status shows nothing that could still run', () => {
  const status = finishedStatus(POD, { phase: 'Pending', containerStatuses: [main({ waiting: {} })] });
  expect(status.phase).toBe('Failed');
  expect(status.containerStatuses?.[0]?.state?.terminated).toMatchObject({
    exitCode: 137,
    reason: 'ContainerStatusUnknown',
    message: 'The container could not be located when the pod was terminated',
  });
});

test('init containers count as ended up to the last one that was tried, at least the first', () => {
  const init = (name: string, state: object) => ({ ...main(state), name });
  const spec = { initContainers: [{ name: 'a' }, { name: 'b' }, { name: 'c' }], containers: [{ name: 'main' }] };
  const lastStatus = (...states: object[]) =>
    finishedStatus(
      { spec },
      {
        initContainerStatuses: states.map((s, i) => init('abc'[i]!, s)),
        containerStatuses: [main({ waiting: { reason: 'PodInitializing' } })],
      },
    );
  const kinds = (status: PodStatus) => status.initContainerStatuses?.map((s) => Object.keys(s.state ?? {})[0]);
  const waiting = { waiting: {} };
  expect(kinds(lastStatus(waiting, waiting, waiting))).toEqual(['terminated', 'waiting', 'waiting']);
  expect(kinds(lastStatus({ terminated: { exitCode: 0 } }, { running: {} }, waiting))).toEqual([
    'terminated',
    'terminated',
    'waiting',
  ]);
  // The regular ones never had a turn.
  expect(lastStatus(waiting, waiting, waiting).containerStatuses?.[0]?.state?.waiting).toBeDefined();
});

test('a static pod that is stopped has not failed', () => {
  const metadata = { annotations: { 'kubernetes.io/config.source': 'file' } };
  expect(finishedStatus({ ...POD, metadata }, { phase: 'Running' }).phase).toBe('Running');
});
