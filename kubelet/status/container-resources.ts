// `allocatedResources` and `resources` of a container status. Allocation is the spec until resizing in place comes.
import type { Container, ContainerStatus, EphemeralContainer, ResourceRequirements } from '../../api/pod.ts';
import { formatQuantity, parseQuantity, quantityMilliValue, quantityOf, quantityOfMillis } from '../../api/quantity.ts';
import type { LinuxContainerResources } from '../../cri/gen/messages.ts';
import type { RuntimeContainer } from '../runtime/pod-runtime-status.ts';

/** The smallest CPU amounts the kernel can tell apart: below them the spec's own figure is shown, millicores. */
const MIN_CPU_REQUEST_MILLIS = 2;
const MIN_CPU_LIMIT_MILLIS = 10;

type Amounts = Record<string, string>;
type ResourceFields = Pick<ContainerStatus, 'allocatedResources' | 'resources'>;

/** What is allocated, and, of a running container, what the runtime says it really has. */
export function resourceStatus(
  spec: Container | EphemeralContainer,
  newest: RuntimeContainer | undefined,
): ResourceFields {
  const wanted = (spec as Container).resources;
  if (wanted === undefined || (wanted.requests === undefined && wanted.limits === undefined)) {
    return newest === undefined ? {} : { resources: {} };
  }
  const allocated = wanted.requests === undefined ? {} : { allocatedResources: wanted.requests };
  const linux = newest?.state === 'running' ? newest.cri.resources?.linux : undefined;
  return { ...allocated, resources: linux === undefined ? wanted : actualResources(wanted, linux) };
}

function actualResources(wanted: ResourceRequirements, linux: LinuxContainerResources): ResourceRequirements {
  const limits: Amounts = { ...wanted.limits };
  const requests: Amounts = { ...wanted.requests };
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
    ...(wanted.limits === undefined ? {} : { limits }),
    ...(wanted.requests === undefined ? {} : { requests }),
  };
}

function cpuAmount(wanted: string, actualMillis: number, minMillis: number): string {
  const wantedMillis = quantityMilliValue(parseQuantity(wanted));
  if (wantedMillis <= minMillis && actualMillis <= minMillis) return wanted;
  // Shares are whole 1024ths of a core: a figure one step away is the spec's own, rounded.
  if (Math.abs(wantedMillis - actualMillis) <= 1) return wanted;
  return formatQuantity(quantityOfMillis(actualMillis));
}
