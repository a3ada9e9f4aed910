// Metrics of the runtime's calls, with upstream's names (pkg/kubelet/metrics).
import { Counter, Histogram, LATENCY_BUCKETS_S, type Registry } from '../../core/metrics.ts';
import type { CallObserver } from '../../cri/remote-runtime.ts';

export function runtimeCallMetrics(registry: Registry): CallObserver {
  const common = { labelNames: ['operation_type'] as const, registers: [registry] };
  const total = new Counter({
    name: 'kubelet_runtime_operations_total',
    help: 'Cumulative number of runtime operations by operation type.',
    ...common,
  });
  const errors = new Counter({
    name: 'kubelet_runtime_operations_errors_total',
    help: 'Cumulative number of runtime operation errors by operation type.',
    ...common,
  });
  const duration = new Histogram({
    name: 'kubelet_runtime_operations_duration_seconds',
    help: 'Duration in seconds of runtime operations. Broken down by operation type.',
    buckets: LATENCY_BUCKETS_S,
    ...common,
  });
  return (operation, tookSeconds, failed) => {
    const labels = { operation_type: operation };
    total.inc(labels);
    duration.observe(labels, tookSeconds);
    if (failed) errors.inc(labels);
  };
}
