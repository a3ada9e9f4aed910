// Managers of what pods have for themselves, as configured. Their code is loaded for the policies that are switched on; a
// node with none of them pays for two small state files at its start.
import type { Pod } from '../../api/pod.ts';
import { aborted } from '../../core/abort.ts';
import type { Task } from '../../core/tasks.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import type { MachineInfo } from '../../host/machine.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import type { ContainerGrant, CpuReport, MemoryReport, ResourceManager } from '../../kubelet/managers/hint-provider.ts';
import { ManagerMetrics } from '../../kubelet/managers/manager-metrics.ts';
import { keepNoneState, NONE_CPU_STATE, NONE_MEMORY_STATE } from '../../kubelet/managers/none-state.ts';
import { PodResources } from '../../kubelet/managers/pod-resources.ts';
import { managedResizeRefusal } from '../../kubelet/managers/resize-refusal.ts';
import type { ResizeRefusal } from '../../kubelet/resize/resize-admission.ts';
import type { Reservations } from './reservations.ts';
import type { AgentContext } from './shared.ts';

export interface ManagersPartInput {
  readonly rootDir: string;
  readonly machine: MachineInfo;
  readonly reserved: Reservations;
  readonly runtime: Pick<RuntimeService, 'updateContainerResources'>;
  readonly kubelet: () => Pick<Kubelet, 'runningPods'>;
  /** Managers of devices: asked before those of CPUs and memory. */
  readonly others: readonly ResourceManager[];
}

/** What the static policies add. */
export interface StaticManagers {
  readonly cpu?: CpuReport;
  readonly memory?: MemoryReport;
  readonly hasUnlimitedCpus: (pod: Pod, containerName?: string) => boolean;
  readonly resources: PodResources;
  readonly task: Task;
}

export interface ManagersPart {
  /** Absent where nothing is managed. */
  readonly resources?: PodResources;
  readonly grant?: (pod: Pod, containerName: string) => Promise<ContainerGrant | undefined>;
  readonly cpu?: CpuReport;
  readonly memory?: MemoryReport;
  /** Whether the container, or any of the pod, has CPUs that are not limited in time. */
  readonly hasUnlimitedCpus: (pod: Pod, containerName?: string) => boolean;
  readonly resizeRefusal: (pod: Pod, allocated: Pod) => ResizeRefusal | undefined;
  readonly task: Task;
}

/** @throws {AgentError} MANAGER_STATE_INVALID, CONFIG_INVALID */
export async function createManagersPart(ctx: AgentContext, input: ManagersPartInput): Promise<ManagersPart> {
  const { managers: settings } = ctx.config.kubelet;
  const { rootDir, others } = input;
  if (settings.cpuPolicy === 'none') await keepNoneState(rootDir, NONE_CPU_STATE);
  if (settings.memoryPolicy === 'None') await keepNoneState(rootDir, NONE_MEMORY_STATE);
  const metrics = new ManagerMetrics(ctx.registry);
  const resizeRefusal = (pod: Pod, allocated: Pod) => managedResizeRefusal(pod, allocated, settings);
  const isPlain = settings.cpuPolicy === 'none' && settings.memoryPolicy === 'None';
  if (!isPlain || settings.topologyPolicy !== 'none') {
    const { createStaticManagers } = await import('./static-managers.ts');
    const made = await createStaticManagers(ctx, input, metrics);
    return { ...made, grant: grantBy(made.resources), resizeRefusal };
  }
  const resources = others.length === 0 ? undefined : new PodResources(others, { log: ctx.log });
  return {
    ...(resources === undefined ? {} : { resources, grant: grantBy(resources) }),
    hasUnlimitedCpus: () => false,
    resizeRefusal,
    task: async (signal) => {
      await aborted(signal);
    },
  };
}

function grantBy(resources: PodResources): NonNullable<ManagersPart['grant']> {
  return (pod, containerName) => resources.grant(pod, containerName);
}
