// What containers were given, as the podresources API tells it. Pure: from what the managers say to messages. After
// pkg/kubelet/apis/podresources/server_v1.go and pkg/kubelet/cm/container_manager_linux.go.
import type { Container, Pod } from '../../api/pod.ts';
import type {
  AllocatableResourcesResponse,
  ContainerAllocation,
  ContainerDevices,
  ContainerMemory,
  DynamicResource,
  PodResources,
  TopologyInfo,
} from '../../cri/gen/messages.ts';
import type { DeviceReport, DeviceRow } from '../devices/device-types.ts';
import type { ClaimRecord } from '../dra/claim-checkpoint.ts';
import type { CpuReport, MemoryBlock, MemoryReport } from '../managers/hint-provider.ts';
import { isSidecar } from '../runtime/restart-policy.ts';

export interface ClaimReport {
  /** The claims that the container uses. @throws when one of them is not known. */
  usedBy(pod: Pod, container: Container): readonly ClaimRecord[];
}

/** Of managers that the node does not have nothing is told. */
export interface ResourceReports {
  readonly cpus?: CpuReport | undefined;
  readonly memory?: MemoryReport | undefined;
  readonly devices?: DeviceReport | undefined;
  readonly claims?: ClaimReport | undefined;
}

/** Init containers that go on running, then the regular ones: others hold nothing while the pod runs. */
export function podResources(pod: Pod, reports: ResourceReports): PodResources {
  const containers = [...(pod.spec?.initContainers ?? []).filter(isSidecar), ...(pod.spec?.containers ?? [])];
  return { ...nameOf(pod), containers: containers.map((c) => containerResources(pod, c, reports)) };
}

/** As v1alpha1 tells it: regular containers and their devices alone, and nothing of where those are. */
export function podDevices(pod: Pod, { devices }: ResourceReports): PodResources {
  const uid = pod.metadata?.uid ?? '';
  const containers = (pod.spec?.containers ?? []).map(({ name }) => ({
    ...EMPTY,
    name,
    devices: containerDevices(devices?.devicesOf(uid, name) ?? []).map((d) => ({ ...d, topology: undefined })),
  }));
  return { ...nameOf(pod), containers };
}

export function allocatableResources({ cpus, memory, devices }: ResourceReports): AllocatableResourcesResponse {
  return {
    devices: containerDevices(devices?.allocatableDevices() ?? []),
    cpuIds: [...(cpus?.allocatableCpus() ?? [])],
    memory: (memory?.allocatableMemory() ?? []).map(containerMemory),
  };
}

const EMPTY = { devices: [], cpuIds: [], memory: [], dynamicResources: [] };

function nameOf({ metadata = {} }: Pod): { name: string; namespace: string } {
  return { name: metadata.name ?? '', namespace: metadata.namespace ?? '' };
}

function containerResources(pod: Pod, container: Container, reports: ResourceReports): ContainerAllocation {
  const { cpus, memory, devices, claims } = reports;
  const uid = pod.metadata?.uid ?? '';
  const { name } = container;
  return {
    name,
    devices: containerDevices(devices?.devicesOf(uid, name) ?? []),
    cpuIds: [...(cpus?.exclusiveCpus(uid, name) ?? [])],
    memory: (memory?.memoryOf(uid, name) ?? []).map(containerMemory),
    dynamicResources: dynamicResources(pod, container, claims),
  };
}

/** One entry per device and NUMA node that it is near. */
function containerDevices(rows: readonly DeviceRow[]): ContainerDevices[] {
  return rows.flatMap(({ resourceName, deviceId, numaNodes }): ContainerDevices[] => {
    const device = { resourceName, deviceIds: [deviceId] };
    if (numaNodes.length === 0) return [{ ...device, topology: undefined }];
    return numaNodes.map((node) => ({ ...device, topology: topologyOf([node]) }));
  });
}

function containerMemory({ type, sizeBytes, numaNodes }: MemoryBlock): ContainerMemory {
  return { memoryType: type, size: sizeBytes, topology: topologyOf(numaNodes) };
}

function topologyOf(nodes: readonly number[]): TopologyInfo {
  return { nodes: nodes.map((ID) => ({ ID })) };
}

/** All of a claim that the container uses a part of. Empty until the claims of the pod are prepared. */
function dynamicResources(pod: Pod, container: Container, claims: ClaimReport | undefined): DynamicResource[] {
  let used: readonly ClaimRecord[];
  try {
    used = claims?.usedBy(pod, container) ?? [];
  } catch {
    return []; // the pod is about to start, or cannot: it has nothing yet
  }
  return used.map(({ name, namespace, drivers }) => ({
    claimName: name,
    claimNamespace: namespace,
    claimResources: [...drivers].flatMap(([driverName, devices]) =>
      devices.map(({ poolName, deviceName, shareId = '', cdiDeviceIds }) => ({
        cdiDevices: cdiDeviceIds.map((id) => ({ name: id })),
        driverName,
        poolName,
        deviceName,
        shareId,
      })),
    ),
  }));
}
