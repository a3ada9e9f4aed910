// What the managers of exclusive resources are told, from the KubeletConfiguration. Types alone: nothing of the managers is
// loaded for a node that has none.
import type { CpuPolicyOptions } from './cpu/cpu-policy-options.ts';
import type { MemoryReservation } from './memory/reserved-memory.ts';
import type { TopologyPolicy } from './merge-hints.ts';
import type { TopologyOptions } from './topology-options.ts';

export interface ManagerSettings {
  readonly cpuPolicy: 'none' | 'static';
  readonly cpuPolicyOptions: CpuPolicyOptions;
  readonly cpuReconcilePeriodMs: number;
  /** reservedSystemCPUs, e.g. `0-1`; '' where none are named. */
  readonly reservedSystemCpus: string;
  /** Containers with CPUs of their own are limited in time all the same (gate DisableCPUQuotaWithExclusiveCPUs off). */
  readonly keepCpuQuota: boolean;
  readonly memoryPolicy: 'None' | 'Static';
  readonly reservedMemory: readonly MemoryReservation[];
  readonly topologyPolicy: 'none' | TopologyPolicy;
  readonly topologyScope: 'container' | 'pod';
  readonly topologyOptions: TopologyOptions;
}
