// What evictions tell Prometheus, by upstream's names (pkg/kubelet/metrics/metrics.go).
import { Counter, Histogram, type Registry } from '../../core/metrics.ts';

export interface EvictionMetrics {
  readonly evictions: Pick<Counter<'eviction_signal'>, 'inc'>;
  readonly statsAge: Pick<Histogram<'eviction_signal'>, 'observe'>;
}

/** The buckets of client_golang. */
const BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export function evictionMetrics(registry: Registry): EvictionMetrics {
  return {
    evictions: new Counter({
      name: 'kubelet_evictions',
      help: 'Pods evicted, by what ran short',
      labelNames: ['eviction_signal'],
      registers: [registry],
    }),
    statsAge: new Histogram({
      name: 'kubelet_eviction_stats_age_seconds',
      help: 'Age of the figures that an eviction goes by',
      labelNames: ['eviction_signal'],
      buckets: BUCKETS_S,
      registers: [registry],
    }),
  };
}
