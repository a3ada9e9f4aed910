import { expect, test } from 'vitest';
import type { ContainerStatus, Pod, PodStatus } from '../../api/pod.ts';
import { finishedStatus } from './finish-status.ts';

const waiting = { waiting: { reason: 'PodInitializing' } };
const exit = (exitCode: number) => ({ terminated: { exitCode } });
const lost = { exitCode: 137, reason: 'ContainerStatusUnknown' };

function status(name: string, state: ContainerStatus['state'], lastState: ContainerStatus['lastState'] = {}) {
  return { name, image: '', imageID: '', ready: false, restartCount: 0, ...(state ? { state } : {}), lastState };
}

function podOf(init: readonly string[]): Pod {
  return { metadata: {}, spec: { containers: [{ name: 'main' }], initContainers: init.map((name) => ({ name })) } };
}

/** How each container has ended; undefined for one that never began. */
function ends(list: readonly ContainerStatus[] | undefined) {
  return list?.map((s) => s.state?.terminated);
}

test('what ran and was not seen to end has failed, and so has the pod', () => {
  const held: PodStatus = { phase: 'Running', containerStatuses: [status('main', { running: {} })] };
  const finished = finishedStatus(podOf([]), held);
  expect(finished.phase).toBe('Failed');
  expect(finished.containerStatuses).toMatchObject([{ state: { terminated: lost }, ready: false, started: false }]);
});

test('a pod that never began has no ends but that of the init container that was its turn', () => {
  const held: PodStatus = {
    phase: 'Pending',
    initContainerStatuses: [status('i', waiting), status('j', waiting)],
    containerStatuses: [status('main', waiting)],
  };
  const finished = finishedStatus(podOf(['i', 'j']), held);
  expect(ends(finished.initContainerStatuses)).toMatchObject([lost, undefined]);
  expect(ends(finished.containerStatuses)).toEqual([undefined]);
});

test('init containers up to the last that was tried, also one that waits to be tried again, have failed', () => {
  const held: PodStatus = {
    phase: 'Pending',
    initContainerStatuses: [status('i', exit(0)), status('j', waiting, exit(1)), status('k', waiting)],
    containerStatuses: [status('main', waiting)],
  };
  const finished = finishedStatus(podOf(['i', 'j', 'k']), held);
  expect(ends(finished.initContainerStatuses)).toMatchObject([{ exitCode: 0 }, lost, undefined]);
});

test('once all init containers are done a regular one that was not seen has failed', () => {
  const held: PodStatus = {
    phase: 'Pending',
    initContainerStatuses: [status('i', exit(0))],
    containerStatuses: [status('main', waiting)],
  };
  expect(ends(finishedStatus(podOf(['i']), held).containerStatuses)).toMatchObject([lost]);
});

test('a pod that is over stays as it ended; static ones are never over for the API', () => {
  const held: PodStatus = { phase: 'Succeeded', containerStatuses: [status('main', exit(0))] };
  expect(finishedStatus(podOf([]), held)).toEqual(held);
  const fromFile = { ...podOf([]), metadata: { annotations: { 'kubernetes.io/config.source': 'file' } } };
  expect(finishedStatus(fromFile, { ...held, phase: 'Running' }).phase).toBe('Running');
});
