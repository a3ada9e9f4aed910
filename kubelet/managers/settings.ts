// What the managers of exclusive resources are told, from the KubeletConfiguration. Types and defaults alone: nothing of
// the managers is loaded for a node that has none.
import { type CpuPolicyOptions, NO_CPU_POLICY_OPTIONS } from './cpu/cpu-policy-options.ts';
import type { MemoryReservation } from './memory/reserved-memory.ts';
import type { TopologyPolicy } from './merge-hints.ts';
import { NO_TOPOLOGY_OPTIONS, type TopologyOptions } from './topology-options.ts';

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

export const NO_MANAGERS: ManagerSettings = Object.freeze({
  cpuPolicy: 'none',
  cpuPolicyOptions: NO_CPU_POLICY_OPTIONS,
  cpuReconcilePeriodMs: 10_000,
  reservedSystemCpus: '',
  keepCpuQuota: false,
  memoryPolicy: 'None',
  reservedMemory: Object.freeze([]),
  topologyPolicy: 'none',
  topologyScope: 'container',
  topologyOptions: NO_TOPOLOGY_OPTIONS,
});
