import { describe, expect, test } from 'vitest';
import type { ContainerStatus, Pod } from '../../api/pod.ts';
import { emptyStatus } from '../pod-cache.ts';
import { fakeContainer } from '../runtime/fake-pod-status.ts';
import { afterMirror, predates, statusOfMirror } from './mirror-status.ts';

const EARLY = '2026-01-01T00:00:00Z';
const LATE = '2026-01-01T00:01:00Z';
const ready = { type: 'Ready', status: 'True', lastTransitionTime: EARLY } as const;
const status = (id: string): ContainerStatus => ({
  name: 'a',
  containerID: `containerd://${id}`,
  started: true,
  ready: true,
  restartCount: 0,
  image: '',
  imageID: '',
});
const mirror: Pod = {
  status: {
    phase: 'Succeeded',
    startTime: EARLY,
    conditions: [ready, { type: 'example.com/Gate', status: 'True' }],
    containerStatuses: [status('id-a'), status('gone')],
  },
};
const runtime = {
  ...emptyStatus({ uid: 'u', name: 'p', namespace: 'ns' }, 0),
  containers: [fakeContainer({ name: 'a' })],
};

describe('what a mirror tells', () => {
  test('of the containers that are still there, and when and how the pod was; not that it is over', () => {
    expect(statusOfMirror(mirror, runtime)).toEqual({
      startTime: EARLY,
      conditions: [ready],
      containerStatuses: [status('id-a')],
      initContainerStatuses: [],
    });
  });

  test('nothing when it is new, or there is none', () => {
    expect(statusOfMirror({ status: {} }, runtime)).toBeUndefined();
    expect(statusOfMirror(undefined, runtime)).toBeUndefined();
  });

  test('counts against what was held before it was known, and not against what followed from it', () => {
    const told = statusOfMirror(mirror, runtime)!;
    expect(afterMirror(undefined, told)).toEqual(told);
    const unaware = { phase: 'Running', startTime: LATE, conditions: [{ ...ready, status: 'False' }] };
    expect(predates(told, unaware)).toBe(true);
    expect(afterMirror(unaware, told)).toEqual({ phase: 'Running', ...told });
    const aware = { ...unaware, startTime: EARLY };
    expect(predates(told, aware)).toBe(false);
    expect(afterMirror(aware, told)).toBe(aware);
  });
});
