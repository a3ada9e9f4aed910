import { expect, test } from 'vitest';
import { container, podOf } from './fake-machine.ts';
import { managedResizeRefusal } from './resize-refusal.ts';

const CPU = 'Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "static"';
const MEMORY = 'Resize is infeasible for Guaranteed Pods alongside Memory Manager policy "Static"';

test.each<[string, string, string, string, 'none' | 'static', 'None' | 'Static']>([
  // cpu and memory that are asked for instead of 1 and 64Mi, what is said, the policies
  ['cpu beside the CPU manager', '2', '64Mi', CPU, 'static', 'None'],
  ['cpu and memory beside both', '2', '32Mi', CPU, 'static', 'Static'],
  ['memory beside the memory manager', '1', '32Mi', MEMORY, 'none', 'Static'],
  ['memory beside the CPU manager', '1', '32Mi', '', 'static', 'None'],
  ['cpu beside the memory manager', '500m', '64Mi', '', 'none', 'Static'],
  ['nothing', '1000m', '65536Ki', '', 'static', 'Static'],
  ['anything beside none', '2', '32Mi', '', 'none', 'None'],
])('%s', (_, cpu, memory, message, cpuPolicy, memoryPolicy) => {
  const allocated = podOf('a', [container('main', '1', '64Mi')]);
  const wanted = podOf('a', [container('main', cpu, memory)]);
  expect(managedResizeRefusal(wanted, allocated, { cpuPolicy, memoryPolicy })?.message ?? '').toBe(message);
});

test('other pods are not tied to anything', () => {
  const burstable = (cpu: string) => podOf('a', [{ name: 'main', resources: { requests: { cpu } } }]);
  const policies = { cpuPolicy: 'static', memoryPolicy: 'Static' } as const;
  expect(managedResizeRefusal(burstable('2'), burstable('1'), policies)).toBeUndefined();
});
