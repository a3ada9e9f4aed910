import { describe, expect, test } from 'vitest';
import type { ContainerStatus, Pod, PodCondition, PodPhase, PodSpec } from '../../api/pod.ts';
import { exited, fakeContainer, fakeStatus } from '../runtime/fake-pod-status.ts';
import type { PodRuntimeStatus } from '../runtime/pod-runtime-status.ts';
import { computeConditions, readinessGatesDiffer } from './conditions.ts';

const NOW = Date.UTC(2026, 0, 1);
const running = { running: { startedAt: '2026-01-01T00:00:00Z' } };
const waiting = { waiting: {} };
const ended = { terminated: { exitCode: 0 } };
const status = (name: string, state: object, more: Partial<ContainerStatus> = {}): ContainerStatus => ({
  name,
  image: '',
  imageID: '',
  restartCount: 0,
  ready: false,
  state,
  ...more,
});
const containers = (...names: string[]) => names.map((name) => ({ name, image: 'i' }));
const SIDECAR: PodSpec = {
  initContainers: [{ name: 'once' }, { name: 'side', restartPolicy: 'Always' }],
  containers: containers('b', 'a'),
};
const DONE = status('once', ended, { ready: true });

interface Given {
  readonly spec?: PodSpec;
  readonly phase?: PodPhase;
  readonly init?: readonly ContainerStatus[];
  readonly regular?: readonly ContainerStatus[];
  readonly previous?: readonly PodCondition[];
  /** Written by others. */
  readonly foreign?: readonly PodCondition[];
  readonly runtime?: PodRuntimeStatus;
}

function told(type: string, given: Given): string {
  const pod: Pod = { spec: given.spec ?? { containers: containers('a') } };
  const conditions = computeConditions({
    pod,
    runtime: given.runtime ?? fakeStatus(),
    phase: given.phase ?? 'Running',
    init: given.init ?? [],
    regular: given.regular ?? [],
    previous: given.previous ?? [],
    foreign: given.foreign ?? [],
    nowMs: NOW,
  });
  const c = conditions.find((x) => x.type === type);
  return [c?.status, c?.reason, c?.message].filter((x) => x !== undefined).join(' | ');
}

describe('Initialized', () => {
  test.each<[string, Given, string]>([
    ['nothing known of init containers', { spec: SIDECAR }, 'False | UnknownContainerStatuses'],
    [
      'one done, the sidecar not started',
      { spec: SIDECAR, init: [DONE, status('side', running, { started: false, ready: true })] },
      'False | ContainersNotInitialized | containers with incomplete status: [side]',
    ],
    [
      'one unknown, one incomplete',
      { spec: SIDECAR, init: [status('once', running)] },
      'False | ContainersNotInitialized | containers with unknown status: [side], containers with incomplete status: [once]',
    ],
    ['sidecar started, not ready', { spec: SIDECAR, init: [DONE, status('side', running, { started: true })] }, 'True'],
    [
      'a regular container has run',
      { spec: SIDECAR, init: [status('once', waiting)], regular: [status('a', ended)] },
      'True',
    ],
    ['no init containers', {}, 'True'],
  ])('%s', (_what, given, expected) => expect(told('Initialized', given)).toBe(expected));
});

describe('ContainersReady', () => {
  const init = [DONE, status('side', running, { started: true })];
  const [a, b] = ['a', 'b'].map((name) => status(name, running, { ready: true }));
  test.each<[string, Given, string]>([
    ['nothing known', { phase: 'Pending' }, 'False | UnknownContainerStatuses'],
    [
      'sidecars count, and stand first',
      { spec: SIDECAR, init, regular: [status('a', running), status('b', running)] },
      'False | ContainersNotReady | containers with unready status: [side b a]',
    ],
    [
      'one unknown',
      { spec: { containers: containers('a', 'b') }, regular: [a!] },
      'False | ContainersNotReady | containers with unknown status: [b]',
    ],
    ['all ready', { spec: { containers: containers('a', 'b') }, regular: [a!, b!] }, 'True'],
    ['Succeeded', { phase: 'Succeeded', regular: [status('a', ended)] }, 'False | PodCompleted'],
    ['Failed', { phase: 'Failed', regular: [status('a', ended)] }, 'False | PodFailed'],
  ])('%s', (_what, given, expected) => {
    expect(told('ContainersReady', given)).toBe(expected);
    expect(told('Ready', given)).toBe(expected); // without gates they say the same
  });
});

test('PodReadyToStartContainers follows the sandbox', () => {
  expect(told('PodReadyToStartContainers', {})).toBe('True');
  expect(told('PodReadyToStartContainers', { runtime: fakeStatus([], []) })).toBe('False');
});

describe('AllContainersRestarting', () => {
  const exitCodes = { operator: 'In' as const, values: [42] };
  const rules = [{ action: 'RestartAllContainers' as const, exitCodes }];
  const spec: PodSpec = { containers: [{ name: 'a', image: 'i', restartPolicy: 'Never', restartPolicyRules: rules }] };

  test('is there only where a rule asks for it, and True while the container that asked is there', () => {
    expect(told('AllContainersRestarting', {})).toBe('');
    expect(told('AllContainersRestarting', { spec, runtime: fakeStatus([fakeContainer({ name: 'a' })]) })).toBe(
      'False',
    );
    expect(told('AllContainersRestarting', { spec, runtime: fakeStatus([exited('a', 42)]) })).toBe(
      'True | RestartAllContainersStarted | container exited with restart policy rule',
    );
  });

  test('is False, with the reason, once the pod is over', () => {
    const over = { spec, runtime: fakeStatus([exited('a', 42)]) };
    expect(told('AllContainersRestarting', { ...over, phase: 'Succeeded' })).toBe('False | PodCompleted');
    expect(told('AllContainersRestarting', { ...over, phase: 'Failed' })).toBe('False | PodFailed');
  });

  test('does not take Initialized back', () => {
    const given = { spec: { ...spec, initContainers: [{ name: 'once' }] }, init: [status('once', waiting)] };
    const runtime = fakeStatus([exited('a', 42)]);
    const previous = [{ type: 'Initialized', status: 'True' }];
    expect(told('Initialized', { ...given, runtime, previous })).toBe('True');
    expect(told('Initialized', { ...given, runtime })).toContain('ContainersNotInitialized');
  });
});

describe('readiness gates', () => {
  const spec: PodSpec = { containers: containers('a'), readinessGates: [{ conditionType: 'x/lb' }, { conditionType: 'x/dns' }] }; // biome-ignore format: one spec per line
  const ready = [status('a', running, { ready: true })];
  const gate = (type: string, state: 'True' | 'False'): PodCondition => ({ type, status: state });
  const NOT_READY = 'False | ReadinessGatesNotReady | ';
  const NO_LB = 'corresponding condition of pod readiness gate "x/lb" does not exist.';
  const NO_DNS = 'corresponding condition of pod readiness gate "x/dns" does not exist.';
  const LB_FALSE = 'the status of pod readiness gate "x/lb" is not "True", but False';

  test.each<[string, Given, string]>([
    ['nobody has written any', { spec, regular: ready }, `${NOT_READY}${NO_LB}, ${NO_DNS}`],
    ['one is not true', { spec, regular: ready, foreign: [gate('x/lb', 'False'), gate('x/dns', 'True')] }, `${NOT_READY}${LB_FALSE}`], // biome-ignore format: one case per line
    ['all are true', { spec, regular: ready, foreign: [gate('x/lb', 'True'), gate('x/dns', 'True')] }, 'True'],
    [
      'the containers come first',
      { spec, regular: [status('a', running)], foreign: [gate('x/lb', 'True'), gate('x/dns', 'True')] },
      'False | ContainersNotReady | containers with unready status: [a]',
    ],
  ])('%s', (_, given, expected) => expect(told('Ready', given)).toBe(expected));

  const podWith = (readyMessage: string | undefined, containersReady: PodCondition, ...gates: PodCondition[]): Pod => {
    const own =
      readyMessage === undefined ? gate('Ready', 'True') : { ...gate('Ready', 'False'), message: readyMessage };
    return { spec, status: { conditions: [gate('Initialized', 'True'), containersReady, own, ...gates] } };
  };
  const yes = gate('ContainersReady', 'True');
  const unready = { ...gate('ContainersReady', 'False'), message: 'containers with unready status: [a]' };

  test.each<[string, Pod, boolean]>([
    ['the pod has none', { ...podWith('whatever', yes), spec: { containers: [] } }, false],
    ['told as they are', podWith(`${NO_LB}, ${NO_DNS}`, yes), false],
    ['told as they are, all true', podWith(undefined, yes, gate('x/lb', 'True'), gate('x/dns', 'True')), false],
    ['one came to be true', podWith(`${NO_LB}, ${NO_DNS}`, yes, gate('x/dns', 'True')), true],
    ['all came to be true', podWith(NO_LB, yes, gate('x/lb', 'True'), gate('x/dns', 'True')), true],
    ['one ceased to be', podWith(undefined, yes, gate('x/lb', 'False'), gate('x/dns', 'True')), true],
    ['the containers are not ready, as is told', podWith(unready.message, unready, gate('x/lb', 'True')), false],
  ])('a pod whose gates changed is looked at anew: %s', (_, pod, differs) => {
    expect(readinessGatesDiffer(pod)).toBe(differs);
  });
});
