import { expect, test } from 'vitest';
import { Registry } from '../../core/metrics.ts';
import { runtimeCallMetrics } from './metrics.ts';

test('calls of the runtime are counted and timed under upstream names and buckets', async () => {
  const registry = new Registry();
  const observe = runtimeCallMetrics(registry);
  observe('run_podsandbox', 0.1, false);
  observe('run_podsandbox', 0.4, true);
  observe('version', 0.001, false);
  const lines = (await registry.metrics()).split('\n');
  expect(lines).toEqual(
    expect.arrayContaining([
      'kubelet_runtime_operations_total{operation_type="run_podsandbox"} 2',
      'kubelet_runtime_operations_total{operation_type="version"} 1',
      'kubelet_runtime_operations_errors_total{operation_type="run_podsandbox"} 1',
      'kubelet_runtime_operations_duration_seconds_bucket{le="0.005",operation_type="version"} 1',
      'kubelet_runtime_operations_duration_seconds_bucket{le="0.1953125",operation_type="run_podsandbox"} 1',
      'kubelet_runtime_operations_duration_seconds_count{operation_type="run_podsandbox"} 2',
    ]),
  );
  expect(lines.filter((l) => l.includes('_bucket{') && l.includes('version'))).toHaveLength(15);
});
