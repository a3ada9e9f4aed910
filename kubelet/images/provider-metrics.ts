// How the programs that give credentials do, and which configuration they run with (pkg/credentialprovider/plugin/metrics.go).
import { Counter, Gauge, Histogram, type Registry } from '../../core/metrics.ts';
import { DEFAULT_BUCKETS_S } from '../metrics/kubelet-metrics.ts';

/** Each run of a program: how long it took, and whether it came to its end without an error. */
export type ProviderObserver = (provider: string, tookSeconds: number, failed: boolean) => void;

/** `configHash` tells whether all nodes have the same configuration. */
export function providerMetrics(registry: Registry, configHash: string): ProviderObserver {
  const registers = [registry];
  const duration = new Histogram({
    name: 'kubelet_credential_provider_plugin_duration',
    help: 'Time that credential provider plugins ran, seconds',
    labelNames: ['plugin_name'],
    buckets: DEFAULT_BUCKETS_S,
    registers,
  });
  const errors = new Counter({
    name: 'kubelet_credential_provider_plugin_errors_total',
    help: 'Credential provider plugins that could not be run, failed or took too long',
    labelNames: ['plugin_name'],
    registers,
  });
  const config = new Gauge({
    name: 'kubelet_credential_provider_config_info',
    help: 'Hash over the configuration of credential providers',
    labelNames: ['hash'],
    registers,
  });
  config.set({ hash: configHash }, 1);
  return (plugin_name, tookSeconds, failed) => {
    duration.observe({ plugin_name }, tookSeconds);
    if (failed) errors.inc({ plugin_name });
  };
}
