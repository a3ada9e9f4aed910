import { expect, test } from 'vitest';
import type { ContainerStatus } from '../../api/pod.ts';
import { ContainerEnds } from './container-ends.ts';

const ended = (name: string, id: string): ContainerStatus =>
  ({ name, state: { terminated: { containerID: id, exitCode: 1 } } }) as ContainerStatus;

test('an end that a status shows all along counts once, however often another container ends', () => {
  const ends = new ContainerEnds();
  const counted = { first: 0, other: 0 };
  for (let i = 0; i < 2_500; i++) {
    const status = { initContainerStatuses: [ended('first', 'a')], containerStatuses: [ended('c', `c${i}`)] };
    for (const { kind } of ends.status('u', status)) counted[kind === 'container' ? 'other' : 'first']++;
  }
  expect(counted).toEqual({ first: 1, other: 2_500 });
});

test('what is known of a pod is bounded', () => {
  const ends = new ContainerEnds();
  const shown = (i: number) => ends.status('u', { containerStatuses: [ended('c', `c${i}`)] }).length;
  for (let i = 0; i < 2_500; i++) shown(i);
  expect(shown(2_499)).toBe(0);
  expect(shown(0)).toBe(1); // forgotten
});
