import { describe, expect, test } from 'vitest';
import type { ContainerStatus, PodSpec } from '../../api/pod.ts';
import { computePhase } from './phase.ts';

const running = { running: { startedAt: '2026-01-01T00:00:00Z' } };
const waiting = { waiting: { reason: 'ContainerCreating' } };
const exit = (exitCode: number) => ({ terminated: { exitCode } });
const CUT_OFF = {
  exitCode: 128,
  reason: 'StartError',
  message: 'failed to create containerd task: failed to create shim task: context canceled: unknown',
};

function status(name: string, state: ContainerStatus['state'], more: Partial<ContainerStatus> = {}): ContainerStatus {
  return { name, image: '', imageID: '', ready: false, restartCount: 0, ...(state ? { state } : {}), ...more };
}

interface Case {
  readonly policy?: 'Always' | 'OnFailure' | 'Never';
  readonly init?: readonly ContainerStatus[];
  readonly sidecar?: ContainerStatus | 'unknown';
  readonly regular: readonly ContainerStatus[];
  readonly isTerminal?: boolean;
  readonly regularStarted?: boolean;
  readonly isStatic?: boolean;
}

function phaseOf({
  policy = 'Always',
  init = [],
  sidecar,
  regular,
  isTerminal = false,
  regularStarted = false,
  isStatic = false,
}: Case) {
  const initSpecs = init.map((s) => ({ name: s.name, image: 'i' }));
  const sidecarSpecs = sidecar === undefined ? [] : [{ name: 's', image: 'i', restartPolicy: 'Always' }];
  const spec: PodSpec = {
    restartPolicy: policy,
    initContainers: [...initSpecs, ...sidecarSpecs],
    containers: [{ name: 'a' }, { name: 'b' }].slice(0, Math.max(1, regular.length)),
  };
  const allInit = sidecar === undefined || sidecar === 'unknown' ? init : [...init, sidecar];
  const annotations = isStatic ? { 'kubernetes.io/config.source': 'file' } : {};
  return computePhase({ pod: { metadata: { annotations }, spec }, init: allInit, regular, isTerminal, regularStarted });
}

describe('phase', () => {
  test.each<[string, Case, string]>([
    ['nothing known', { regular: [] }, 'Pending'],
    ['waiting', { regular: [status('a', waiting)] }, 'Pending'],
    ['running', { regular: [status('a', running)] }, 'Running'],
    ['one runs, one waits', { regular: [status('a', running), status('b', waiting)] }, 'Pending'],
    ['one runs, of one nothing is known', { regular: [status('a', running), status('b', undefined)] }, 'Pending'],
    ['one runs, one ended', { regular: [status('a', running), status('b', exit(1))] }, 'Running'],
    ['crash loop', { regular: [status('a', waiting, { lastState: exit(1) })] }, 'Running'],
    ['Always, ended', { regular: [status('a', exit(0))] }, 'Running'],
    ['Always, ended for good', { regular: [status('a', exit(0))], isTerminal: true }, 'Succeeded'],
    ['Always, failed for good', { regular: [status('a', exit(137))], isTerminal: true }, 'Failed'],
    ['static, ended for good', { regular: [status('a', exit(0))], isTerminal: true, isStatic: true }, 'Running'],
    ['OnFailure, all 0', { policy: 'OnFailure', regular: [status('a', exit(0)), status('b', exit(0))] }, 'Succeeded'],
    ['OnFailure, one 1', { policy: 'OnFailure', regular: [status('a', exit(0)), status('b', exit(1))] }, 'Running'],
    ['Never, 0', { policy: 'Never', regular: [status('a', exit(0))] }, 'Succeeded'],
    ['Never, one 1', { policy: 'Never', regular: [status('a', exit(0)), status('b', exit(1))] }, 'Failed'],
    [
      'Never, cut off while it was being started',
      { policy: 'Never', regular: [status('a', { terminated: CUT_OFF })] },
      'Running',
    ],
    [
      'Never, lost by the runtime',
      { policy: 'Never', regular: [status('a', waiting, { lastState: exit(137) })] },
      'Failed',
    ],
    [
      'Never, taken away to be started anew with all others',
      {
        policy: 'Never',
        regular: [status('a', { waiting: { reason: 'RestartingAllContainers' } }, { lastState: exit(0) })],
      },
      'Running',
    ],
    [
      'init fails once more after a reboot',
      { init: [status('i', waiting, { lastState: exit(1) })], regular: [status('a', exit(255))] },
      'Running',
    ],
    ['init runs', { init: [status('i', running)], regular: [status('a', waiting)] }, 'Pending'],
    ['init not known, after a reboot', { init: [status('i', undefined)], regular: [status('a', running)] }, 'Pending'],
    ['init failed, retried', { init: [status('i', exit(1))], regular: [status('a', waiting)] }, 'Pending'],
    [
      'init failed, Never',
      { policy: 'Never', init: [status('i', exit(1))], regular: [status('a', waiting)] },
      'Failed',
    ],
    ['init done', { init: [status('i', exit(0))], regular: [status('a', running)] }, 'Running'],
    [
      'sidecar not started',
      { sidecar: status('s', running, { started: false }), regular: [status('a', waiting)] },
      'Pending',
    ],
    [
      'sidecar restarts beside a running container',
      { sidecar: status('s', running, { started: false }), regular: [status('a', running)], regularStarted: true },
      'Running',
    ],
    [
      'sidecar starts up once more after a reboot that ended the work',
      { policy: 'Never', sidecar: status('s', running, { started: false }), regular: [status('a', exit(255))] },
      'Pending',
    ],
    [
      'sidecar still to be made after a reboot that ended the work',
      { policy: 'Never', sidecar: status('s', waiting), regular: [status('a', exit(255))] },
      'Pending',
    ],
    [
      'sidecar crashes beside a running container',
      { sidecar: status('s', waiting, { lastState: exit(1) }), regular: [status('a', running)], regularStarted: true },
      'Running',
    ],
    [
      'sidecar runs on after the work is done',
      { policy: 'Never', sidecar: status('s', running, { started: true }), regular: [status('a', exit(0))] },
      'Running',
    ],
    ['nothing known of the sidecar', { sidecar: 'unknown', regular: [status('a', running)] }, 'Pending'],
    [
      'sidecar fails after the work is done',
      { policy: 'Never', sidecar: status('s', exit(137)), regular: [status('a', exit(0))], regularStarted: true },
      'Succeeded',
    ],
  ])('%s', (_, input, expected) => expect(phaseOf(input)).toBe(expected));
});
