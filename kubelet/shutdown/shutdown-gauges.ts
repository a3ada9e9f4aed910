// When the node last went down gracefully, 0 for never: upstream shows both on every node, also where no pod is waited for.
import { Gauge, type Registry } from '../../core/metrics.ts';

export interface ShutdownGauges {
  readonly start: Gauge;
  readonly end: Gauge;
}

export function shutdownGauges(registry: Registry): ShutdownGauges {
  const gauge = (name: string, help: string) => new Gauge({ name, help, registers: [registry] });
  return {
    start: gauge('kubelet_graceful_shutdown_start_time_seconds', 'When the last graceful shutdown began, Unix time'),
    end: gauge('kubelet_graceful_shutdown_end_time_seconds', 'When the last graceful shutdown ended, Unix time'),
  };
}
