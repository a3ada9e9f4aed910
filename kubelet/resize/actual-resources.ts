// What a container really has: the kernel's figures, as the runtime tells them, in the words of the API. Pure. After
// pkg/kubelet/kuberuntime toKubeContainerResources and pkg/kubelet/kubelet_pods.go.
import type { ResourceRequirements } from '../../api/pod.ts';
import { formatQuantity, parseQuantity, quantityMilliValue, quantityOf, quantityOfMillis } from '../../api/quantity.ts';
import type { LinuxContainerResources } from '../../cri/gen/messages.ts';
import type { RuntimeContainer } from '../runtime/pod-runtime-status.ts';

/** The smallest CPU amounts the kernel can tell apart: below them the spec's own figure is shown, millicores. */
const MIN_CPU_REQUEST_MILLIS = 2;
const MIN_CPU_LIMIT_MILLIS = 10;

/** `known` with the amounts that the runtime tells instead. What it does not tell stays. */
export function actualResources(known: ResourceRequirements, linux: LinuxContainerResources): ResourceRequirements {
  const limits: Record<string, string> = { ...known.limits };
  const requests: Record<string, string> = { ...known.requests };
  if (limits.memory !== undefined && linux.memoryLimitInBytes > 0) {
    limits.memory = formatQuantity(quantityOf(linux.memoryLimitInBytes, 'BinarySI'));
  }
  if (limits.cpu !== undefined && linux.cpuQuota > 0 && linux.cpuPeriod > 0) {
    const millis = Math.ceil((linux.cpuQuota * 1000) / linux.cpuPeriod);
    limits.cpu = cpuAmount(limits.cpu, millis, MIN_CPU_LIMIT_MILLIS);
  }
  if (requests.cpu !== undefined && linux.cpuShares > 0) {
    const millis = Math.ceil((linux.cpuShares * 1000) / 1024);
    requests.cpu = cpuAmount(requests.cpu, millis, MIN_CPU_REQUEST_MILLIS);
  }
  return {
    ...known,
    ...(known.limits === undefined ? {} : { limits }),
    ...(known.requests === undefined ? {} : { requests }),
  };
}

function cpuAmount(known: string, actualMillis: number, minMillis: number): string {
  const knownMillis = quantityMilliValue(parseQuantity(known));
  if (knownMillis <= minMillis && actualMillis <= minMillis) return known;
  // Shares are whole 1024ths of a core: a figure one step away is the known one, rounded.
  if (Math.abs(knownMillis - actualMillis) <= 1) return known;
  return formatQuantity(quantityOfMillis(actualMillis));
}

/**
 * What a running container uses, by `record`, which is what it was made to use last. Of a container without a record
 * (an earlier agent's) it is what the runtime tells, and where that is silent what was given to it.
 */
export function currentResources(
  record: ResourceRequirements | undefined,
  allocated: ResourceRequirements,
  running: RuntimeContainer,
): ResourceRequirements {
  const linux = running.cri.resources?.linux;
  if (record !== undefined) return record;
  return linux === undefined ? allocated : actualResources(withoutUnset(allocated, linux), linux);
}

/** Limits that the runtime tells not to be there. */
function withoutUnset(allocated: ResourceRequirements, linux: LinuxContainerResources): ResourceRequirements {
  if (allocated.limits === undefined) return allocated;
  const { cpu, memory, ...limits } = allocated.limits;
  return {
    ...allocated,
    limits: {
      ...limits,
      ...(cpu === undefined || linux.cpuQuota <= 0 ? {} : { cpu }),
      ...(memory === undefined || linux.memoryLimitInBytes <= 0 ? {} : { memory }),
    },
  };
}
