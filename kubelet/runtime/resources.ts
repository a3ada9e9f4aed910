// Requests and limits → what the runtime writes into cgroups, and oom_score_adj. Pure.
// After pkg/kubelet/cm/helpers_linux.go, kuberuntime_container_linux.go and pkg/kubelet/qos/policy.go.
import type { Pod } from '../../api/pod.ts';
import { amountsOf, podAmounts } from '../../api/pod-resources.ts';
import { podQosClass } from '../../api/qos.ts';
import { type Quantity, quantityMilliValue, quantityValue } from '../../api/quantity.ts';
import type { LinuxContainerResources } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import { isCriticalPod } from '../pod-manager.ts';
import { cpuQuotaUs, cpuShares } from '../resources/cpu-shares.ts';
import { containerMemoryQos, type MemoryQosSettings } from '../resources/memory-qos.ts';
import { type SwapSettings, swapLimitBytes } from '../resources/swap.ts';
import type { AnyContainer } from './labels.ts';
import { isSidecar } from './restart-policy.ts';

type ResourceAmounts = ReadonlyMap<string, Quantity>;

const GUARANTEED_OOM_SCORE = -997;
const BEST_EFFORT_OOM_SCORE = 1000;
const NODE_CRITICAL_CLASS = 'system-node-critical';

export interface ResourceSettings {
  readonly memoryCapacityBytes: number;
  /** cpuCFSQuota. */
  readonly enforceCpuLimits: boolean;
  /** cpuCFSQuotaPeriod, µs; 100,000 by default. */
  readonly cpuPeriodUs: number;
  /** Containers with CPUs of their own, which they may use all the time. */
  readonly hasUnlimitedCpus?: (pod: Pod, containerName: string) => boolean;
  readonly cgroupVersion: 1 | 2;
  /** singleProcessOOMKill: false lets an OOM kill take the whole container (cgroup v2). */
  readonly singleProcessOomKill: boolean;
  /** Absent where the kernel cannot limit swap (cgroup v1, or v2 without memory.swap.max). */
  readonly swap?: SwapSettings;
  /** Gate MemoryQoS, on cgroup v2. */
  readonly memoryQos?: MemoryQosSettings;
  /** E.g. `2MB`, `1GB`: every size the host has gets a limit, 0 unless asked for. */
  readonly hugepageSizes: readonly string[];
}

export function containerResources(
  pod: Pod,
  container: AnyContainer,
  settings: ResourceSettings,
): Init<LinuxContainerResources> {
  const [requests, limits] = [requestsOf(container), limitsOf(pod, container)];
  return {
    ...linuxResources(requests, limits, settings),
    ...(settings.enforceCpuLimits && settings.hasUnlimitedCpus?.(pod, container.name) ? { cpuQuota: -1 } : {}),
    oomScoreAdj: oomScoreAdj(pod, container, settings.memoryCapacityBytes),
    hugepageLimits: settings.hugepageSizes.map((pageSize) => ({ pageSize, limit: hugepageLimit(limits, pageSize) })),
    unified: { ...unifiedSettings(pod, container, settings), ...memoryQosOf(pod, requests, limits, settings) },
  };
}

/** What changes when the container's memory is resized; empty where the gate is off. */
export function resizableUnified(pod: Pod, container: AnyContainer, settings: ResourceSettings) {
  return memoryQosOf(pod, requestsOf(container), limitsOf(pod, container), settings);
}

function memoryQosOf(pod: Pod, requests: ResourceAmounts, limits: ResourceAmounts, { memoryQos }: ResourceSettings) {
  if (memoryQos === undefined) return {};
  return containerMemoryQos(podQosClass(pod), bytes(requests, 'memory'), bytes(limits, 'memory'), memoryQos);
}

function requestsOf(container: AnyContainer): ResourceAmounts {
  return amountsOf('resources' in container ? container.resources : undefined, 'requests');
}

/** The pod's where the container has none of its own. */
function limitsOf(pod: Pod, container: AnyContainer): ResourceAmounts {
  const own = amountsOf('resources' in container ? container.resources : undefined, 'limits');
  return withPodLevel(own, amountsOf(pod.spec?.resources, 'limits'));
}

/** Of the whole pod, for runtimes that size a sandbox (VMs). */
export function sandboxResources(pod: Pod, settings: ResourceSettings): Init<LinuxContainerResources> {
  return linuxResources(podAmounts(pod, 'requests'), podAmounts(pod, 'limits'), settings);
}

export function overheadResources(pod: Pod, settings: ResourceSettings): Init<LinuxContainerResources> {
  const overhead = pod.spec?.overhead;
  if (overhead === undefined) return {};
  const amounts = amountsOf({ limits: overhead as Record<string, string> }, 'limits');
  return linuxResources(amounts, amounts, settings);
}

function linuxResources(
  requests: ResourceAmounts,
  limits: ResourceAmounts,
  settings: ResourceSettings,
): Init<LinuxContainerResources> {
  const limitMillis = milliCpu(limits) ?? 0;
  return {
    cpuShares: cpuShares(milliCpu(requests) ?? limitMillis),
    ...(settings.enforceCpuLimits
      ? { cpuPeriod: settings.cpuPeriodUs, cpuQuota: cpuQuotaUs(limitMillis, settings.cpuPeriodUs) }
      : {}),
    memoryLimitInBytes: bytes(limits, 'memory'),
  };
}

/** A limit of zero, or none, falls back to the pod's. */
function withPodLevel(own: ResourceAmounts, podLevel: ResourceAmounts): ResourceAmounts {
  const set = [...own].filter(([, amount]) => amount.nanos > 0n);
  return new Map([...podLevel, ...set]);
}

function milliCpu(amounts: ResourceAmounts): number | undefined {
  const cpu = amounts.get('cpu');
  return cpu === undefined ? undefined : quantityMilliValue(cpu);
}

/** The largest number that the runtime can be told as it is: 8Ei, which upstream takes for 2⁶³−1, would become negative. */
const MAX_BYTES = 2 ** 63 - 1024;

function bytes(amounts: ResourceAmounts, name: string): number {
  const amount = amounts.get(name);
  return amount === undefined ? 0 : Math.min(quantityValue(amount), MAX_BYTES);
}

/** `hugepages-2Mi` limits what the kernel calls `2MB`. */
function hugepageLimit(limits: ResourceAmounts, pageSize: string): number {
  return bytes(limits, `hugepages-${pageSize.replace(/B$/, 'i')}`);
}

function unifiedSettings(pod: Pod, container: AnyContainer, settings: ResourceSettings): Record<string, string> {
  if (settings.cgroupVersion === 1) return {};
  const { swap, singleProcessOomKill } = settings;
  return {
    ...(singleProcessOomKill ? {} : { 'memory.oom.group': '1' }),
    ...(swap === undefined ? {} : { 'memory.swap.max': String(swapLimitBytes(pod, container, swap)) }),
  };
}

/**
 * Who dies first when the node runs out of memory. A burstable container is the safer the more of the node it asked
 * for; a sidecar is at least as safe as the regular containers it serves.
 */
export function oomScoreAdj(pod: Pod, container: AnyContainer, memoryCapacityBytes: number): number {
  // Static pods have the name of the class, and often no priority: nobody looked it up.
  if (pod.spec?.priorityClassName === NODE_CRITICAL_CLASS && isCriticalPod(pod)) return GUARANTEED_OOM_SCORE;
  const qos = podQosClass(pod);
  if (qos === 'Guaranteed') return GUARANTEED_OOM_SCORE;
  if (qos === 'BestEffort') return BEST_EFFORT_OOM_SCORE;
  const extra = unassignedPodMemory(pod);
  const score = (requestBytes: number) =>
    1000 - Math.trunc((1000 * (requestBytes + extra)) / Math.max(1, memoryCapacityBytes));
  let adj = score(memoryRequest(container));
  const sidecar = pod.spec?.initContainers?.some((c) => c.name === container.name && isSidecar(c)) ?? false;
  if (sidecar) adj = Math.min(adj, score(Math.min(...(pod.spec?.containers ?? []).map(memoryRequest))));
  // Guaranteed pods stay below every burstable one, best-effort pods above.
  if (adj < 1000 + GUARANTEED_OOM_SCORE) return 1000 + GUARANTEED_OOM_SCORE;
  return adj === BEST_EFFORT_OOM_SCORE ? adj - 1 : adj;
}

function memoryRequest(container: AnyContainer): number {
  return bytes(requestsOf(container), 'memory');
}

/** With pod-level requests, what no container claimed is shared evenly. */
function unassignedPodMemory(pod: Pod): number {
  const podLevel = bytes(amountsOf(pod.spec?.resources, 'requests'), 'memory');
  if (podLevel === 0) return 0;
  const containers = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? []).filter(isSidecar)];
  const claimed = containers.reduce((total, c) => total + memoryRequest(c), 0);
  return Math.max(0, Math.trunc((podLevel - claimed) / Math.max(1, containers.length)));
}
