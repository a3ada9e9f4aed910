// Memory that is kept for pods; there only with the gate MemoryQoS (pkg/kubelet/metrics).
import { Gauge, type Registry } from '../../core/metrics.ts';

export function registerMemoryQosGauges(
  registry: Registry,
  kept: () => { readonly minBytes: number; readonly lowBytes: number },
): void {
  const gauge = (name: string, help: string, value: () => number) => {
    const made: Gauge = new Gauge({ name, help, registers: [registry], collect: () => made.set(value()) });
  };
  gauge(
    'kubelet_memory_qos_node_memory_min_bytes',
    'Bytes that the kernel never takes from pods (memory.min of all pods)',
    () => kept().minBytes,
  );
  gauge(
    'kubelet_memory_qos_node_memory_low_bytes',
    'Bytes that the kernel takes from Burstable pods when there is nothing else (memory.low)',
    () => kept().lowBytes,
  );
}
