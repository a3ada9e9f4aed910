import { expect, test } from 'vitest';
import { Counter, Registry } from '../../core/metrics.ts';
import { registerRegisteredMetrics } from './registered-metrics.ts';

test('metrics are counted by how stable their names are, those that came later too', async () => {
  const registry = new Registry();
  registerRegisteredMetrics(registry);
  for (const name of ['a_total', 'b_total']) new Counter({ name, help: 'of a part', registers: [registry] });
  for (let scrape = 0; scrape < 2; scrape++) {
    expect((await registry.metrics()).split('\n')).toEqual(
      expect.arrayContaining([
        'hidden_metrics_total 0',
        'disabled_metrics_total 0',
        'registered_metrics_total{stability_level="BETA",deprecated_version=""} 3',
        'registered_metrics_total{stability_level="ALPHA",deprecated_version=""} 2',
      ]),
    );
  }
});
