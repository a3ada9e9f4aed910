// Memory that is kept for pods, and where containers are slowed down before they are killed: cgroup v2 alone, gate
// MemoryQoS (KEP-2570; pkg/kubelet/kuberuntime kuberuntime_container_linux.go, pkg/kubelet/cm). Pure.
import type { QosClass } from '../../api/qos.ts';
import type { CgroupLimits } from '../../host/cgroup.ts';

export interface MemoryQosSettings {
  /** memoryThrottlingFactor: how far between request and limit a container is slowed down, above 0, at most 1. */
  readonly throttlingFactor: number;
  /** memoryReservationPolicy TieredReservation: what pods ask for is kept for them. */
  readonly reserves: boolean;
  /** What a container without a limit may have. */
  readonly nodeAllocatableBytes: number;
  readonly pageBytes: number;
}

/**
 * What the kernel keeps for a group whose pods ask for `requestBytes`: from Guaranteed ones it never takes it, from
 * Burstable ones only when there is nothing else. Zeros take back what an agent with another policy has set.
 */
export function memoryProtection(
  qos: QosClass,
  requestBytes: number,
  reserves: boolean,
): Required<Pick<CgroupLimits, 'memoryMinBytes' | 'memoryLowBytes'>> {
  return {
    memoryMinBytes: reserves && qos === 'Guaranteed' ? requestBytes : 0,
    memoryLowBytes: reserves && qos === 'Burstable' ? requestBytes : 0,
  };
}

/** From where on the container is slowed down; undefined: it is not. A limit of 0 is none. */
export function memoryHigh(requestBytes: number, limitBytes: number, settings: MemoryQosSettings): number | undefined {
  if (requestBytes === limitBytes) return undefined; // neither is given, or all of it is promised
  const { throttlingFactor, nodeAllocatableBytes, pageBytes } = settings;
  const most = limitBytes === 0 ? nodeAllocatableBytes : limitBytes;
  const bytes = Math.floor((requestBytes + throttlingFactor * (most - requestBytes)) / pageBytes) * pageBytes;
  return bytes > requestBytes ? bytes : undefined;
}

/** The files of a container's group, for the runtime. Each is written, so that a resize takes back what was there. */
export function containerMemoryQos(
  qos: QosClass,
  requestBytes: number,
  limitBytes: number,
  settings: MemoryQosSettings,
): Record<string, string> {
  const { memoryMinBytes, memoryLowBytes } = memoryProtection(qos, requestBytes, settings.reserves);
  return {
    'memory.min': String(memoryMinBytes),
    'memory.low': String(memoryLowBytes),
    'memory.high': String(memoryHigh(requestBytes, limitBytes, settings) ?? 'max'),
  };
}
