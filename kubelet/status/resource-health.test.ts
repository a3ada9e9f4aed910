import { expect, test } from 'vitest';
import type { ContainerStatus, ResourceStatus } from '../../api/pod.ts';
import { withResourceHealth } from './resource-health.ts';

const WELL: ResourceStatus[] = [{ name: 'a.com/a', resources: [{ resourceID: 'x', health: 'Healthy' }] }];
const BROKEN: ResourceStatus[] = [{ name: 'a.com/a', resources: [{ resourceID: 'x', health: 'Unhealthy' }] }];

const status = (name: string, more: Partial<ContainerStatus> = {}): ContainerStatus => ({
  name,
  image: '',
  imageID: '',
  ready: false,
  restartCount: 0,
  ...more,
});

test('is that of the container’s own devices', () => {
  const statuses = [status('a'), status('b')];
  const resourceHealth = (name: string) => (name === 'a' ? BROKEN : undefined);
  const previous = [status('a', { allocatedResourcesStatus: WELL }), status('b', { allocatedResourcesStatus: WELL })];
  expect(withResourceHealth(statuses, previous, { resourceHealth, isTerminal: false })).toEqual([
    status('a', { allocatedResourcesStatus: BROKEN }),
    status('b'),
  ]);
});

test('of devices that were given back stays what it was', () => {
  const previous = [status('a', { allocatedResourcesStatus: BROKEN })];
  const given = { resourceHealth: () => undefined, isTerminal: true };
  expect(withResourceHealth([status('a')], previous, given)).toEqual(previous);
  expect(withResourceHealth([status('a')], undefined, given)).toEqual([status('a')]);
});

test('is not told where nobody asks for it', () => {
  const statuses = [status('a')];
  expect(withResourceHealth(statuses, [], { isTerminal: true })).toBe(statuses);
});
