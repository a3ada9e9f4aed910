// How many metrics there are, by how stable their names are: Kubernetes' components show this about themselves
// (k8s.io/component-base/metrics/metric.go). None is hidden or disabled here.
import { Counter, type Registry } from '../../core/metrics.ts';

/** Of /metrics. Those of /metrics/resource, which are stable, are written without a registry. */
const BETA = new Set([
  'disabled_metrics_total',
  'hidden_metrics_total',
  'kubernetes_feature_enabled',
  'registered_metrics_total',
]);

export function registerRegisteredMetrics(registry: Registry): void {
  const registers = [registry];
  new Counter({ name: 'disabled_metrics_total', help: 'Metrics that were switched off', registers });
  new Counter({ name: 'hidden_metrics_total', help: 'Metrics that are not shown any more', registers });
  const registered: Counter<'stability_level' | 'deprecated_version'> = new Counter({
    name: 'registered_metrics_total',
    help: 'Metrics, by the stability of their names and the version that deprecated them',
    labelNames: ['stability_level', 'deprecated_version'],
    registers,
    collect: () => {
      const names = registry.getMetricsAsArray().map((m) => m.name);
      const beta = names.filter((name) => BETA.has(name)).length;
      registered.reset();
      registered.inc({ stability_level: 'BETA', deprecated_version: '' }, beta);
      registered.inc({ stability_level: 'ALPHA', deprecated_version: '' }, names.length - beta);
    },
  });
}
