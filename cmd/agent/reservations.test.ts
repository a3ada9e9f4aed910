import { expect, test } from 'vitest';
import { formatQuantity } from '../../api/quantity.ts';
import { factsOf } from '../../kubelet/node/fake-facts.ts';
import { allocatableMemory, allPodsLimits, capacityOf, refuseOverReserved, reservationsOf } from './reservations.ts';

const GIB = 2 ** 30;
const machine = { ...factsOf().machine, cores: 2, memoryBytes: 4 * GIB };
const settings = {
  reserved: { cpu: '500m', memory: '1Gi' },
  evictionHard: { 'memory.available': '512Mi', 'nodefs.available': '10%', 'imagefs.available': '15%' },
};

test('all pods together may use the eviction margin; a pod may not ask for it', () => {
  const reservations = reservationsOf(settings, machine, 100 * GIB);
  expect(allPodsLimits(machine, reservations)).toEqual({ memoryBytes: 3 * GIB, cpuMillis: 1500 });
  expect(allocatableMemory(machine, reservations)).toBe(2.5 * GIB);
});

test('a threshold in percent is a share of what the node has', () => {
  const { againstEviction } = reservationsOf(settings, machine, 100 * GIB);
  expect(formatQuantity(againstEviction['ephemeral-storage']!)).toBe('10Gi');
  expect(Object.keys(againstEviction)).toEqual(['memory', 'ephemeral-storage']);
});

test('more reserved than there is leaves nothing, not less', () => {
  const reservations = reservationsOf({ reserved: { memory: '8Gi' }, evictionHard: {} }, machine, GIB);
  expect(allocatableMemory(machine, reservations)).toBe(0);
});

test('more reserved than there is keeps the agent from starting, with all that is too much', () => {
  const refuse = (reserved: Record<string, string>) =>
    refuseOverReserved(
      reservationsOf({ reserved, evictionHard: { 'memory.available': '512Mi' } }, machine, GIB),
      capacityOf(machine, GIB),
    );
  expect(() => refuse({ cpu: '2', memory: '3584Mi', pid: '1000' })).not.toThrow();
  expect(() => refuse({ cpu: '2500m', memory: '3585Mi' })).toThrow(
    'invalid Node Allocatable configuration. ' +
      'Resource "cpu" has a reservation of 2500m but capacity of 2. Expected capacity >= reservation. ' +
      'Resource "memory" has a reservation of 4097Mi but capacity of 4Gi. Expected capacity >= reservation.',
  );
});
