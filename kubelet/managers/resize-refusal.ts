// Containers that are tied to CPUs or memory cannot be given more or less of them while they run. Pure. After
// pkg/kubelet/allocation/handlers.go.
import type { Pod } from '../../api/pod.ts';
import { podQosClass } from '../../api/qos.ts';
import { isQuantity } from '../../api/quantity.ts';
import { compareIn, type ResizableResource, resizableContainers } from '../resize/pod-allocation.ts';
import type { ResizeRefusal } from '../resize/resize-admission.ts';
import type { ManagerSettings } from './settings.ts';

type Policies = Pick<ManagerSettings, 'cpuPolicy' | 'memoryPolicy'>;

/** Why `pod` can never have what it asks for, given what it has; undefined when it can. */
export function managedResizeRefusal(pod: Pod, allocated: Pod, policies: Policies): ResizeRefusal | undefined {
  const isCpuTied = policies.cpuPolicy === 'static';
  const isMemoryTied = policies.memoryPolicy === 'Static';
  if ((!isCpuTied && !isMemoryTied) || podQosClass(pod) !== 'Guaranteed') return undefined;
  if (isCpuTied && asksForOther('cpu', pod, allocated)) {
    const message = 'Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "static"';
    return { reason: 'Infeasible', message, detail: 'guaranteed_pod_cpu_manager_static_policy' };
  }
  if (isMemoryTied && asksForOther('memory', pod, allocated)) {
    const message = 'Resize is infeasible for Guaranteed Pods alongside Memory Manager policy "Static"';
    return { reason: 'Infeasible', message, detail: 'guaranteed_pod_memory_manager_static_policy' };
  }
  return undefined;
}

function asksForOther(resource: ResizableResource, pod: Pod, allocated: Pod): boolean {
  const before = new Map(resizableContainers(allocated).map((c) => [c.name, c.resources]));
  return resizableContainers(pod).some((c) => {
    const amount = c.resources?.requests?.[resource];
    if (amount !== undefined && !isQuantity(amount)) return false; // refused for that
    return compareIn(resource, 'requests', c.resources, before.get(c.name)) !== 0;
  });
}
