// The cgroups of pods and of the node, wired: who makes them, and what they are limited to.
import type { Pod } from '../../api/pod.ts';
import { aborted } from '../../core/abort.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Task } from '../../core/tasks.ts';
import { CgroupFs, type CgroupHierarchies, type CgroupTree, refuseMissingControllers } from '../../host/cgroup.ts';
import type { MachineInfo } from '../../host/machine.ts';
import { type CgroupObserver, observedCgroups } from '../../host/observed-cgroups.ts';
import { processCounts } from '../../host/process-facts.ts';
import { registerMemoryQosGauges } from '../../kubelet/metrics/memory-qos-gauges.ts';
import type { MemoryQosSettings } from '../../kubelet/resources/memory-qos.ts';
import { allPodsLimits, reservedCgroups } from '../../kubelet/resources/node-allocatable.ts';
import { NodeCgroups } from '../../kubelet/resources/node-cgroups.ts';
import { expandSlice, PodCgroups } from '../../kubelet/resources/pod-cgroup.ts';
import { nodeReference } from '../../kubelet/runtime/runtime-deps.ts';
import type { AgentContext } from './shared.ts';
import { createSystemGroups } from './system-groups-part.ts';

export interface CgroupsPartInput {
  readonly machine: MachineInfo;
  readonly hierarchies: CgroupHierarchies;
  readonly observe: CgroupObserver;
  readonly hasUnlimitedCpus: (pod: Pod) => boolean;
  readonly memoryQos?: MemoryQosSettings;
  /** What is not reserved for the system, bytes. */
  readonly allPodsMemoryBytes: number;
}

export interface CgroupsPart {
  readonly cgroups: PodCgroups;
  readonly tasks: Readonly<Record<string, Task>>;
}

/** How often the groups of the QoS classes are written again (pkg/kubelet/cm periodicQOSCgroupUpdateInterval). */
const REFRESH_MS = 60_000;

/** Makes the groups of the QoS classes. @throws {AgentError} CGROUP_MISSING, CGROUP_WRITE_FAILED, RESERVED_CGROUP_FAILED, DBUS_UNREACHABLE */
export async function createCgroupsPart(
  ctx: AgentContext,
  { machine, hierarchies, observe, hasUnlimitedCpus, memoryQos, allPodsMemoryBytes }: CgroupsPartInput,
): Promise<CgroupsPart> {
  const { config, clock, log, recorder } = ctx;
  const { kubelet: settings, node } = config;
  refuseMissingControllers(hierarchies);
  const driver = settings.cgroupDriver;
  const fs = new CgroupFs(hierarchies);
  const tree = observedCgroups(driver === 'systemd' ? await systemdTree(fs) : fs, observe);
  const hugepageSizes = machine.hugePages.map((h) => hugepageSizeName(h.pageBytes));
  const { qosReservedMemoryPercent: percent } = settings;
  const cgroups = new PodCgroups(
    {
      cgroupsPerQos: settings.cgroupsPerQOS,
      driver,
      root: settings.cgroupRoot,
      cpuCfsQuota: settings.cpuCFSQuota,
      cpuPeriodUs: settings.cpuCFSQuotaPeriodUs,
      podPidsLimit: settings.podPidsLimit,
      hugepageSizes,
      hasUnlimitedCpus,
      ...(memoryQos === undefined ? {} : { memoryQos }),
      ...(percent === undefined ? {} : { qosReserved: { percent, allocatableBytes: allPodsMemoryBytes } }),
    },
    { fs: tree, log },
  );
  if (memoryQos !== undefined) registerMemoryQosGauges(ctx.registry, () => cgroups.keptMemory());
  await cgroups.ensureTree();
  const capacity = {
    cpuMillis: machine.cores * 1000,
    memoryBytes: machine.memoryBytes,
    pids: processCounts().max,
    cpus: settings.managers.cpuPolicy === 'none' ? machine.onlineCpus : '',
    hugetlbBytes: Object.fromEntries(
      machine.hugePages.map(({ pageBytes, count }) => [hugepageSizeName(pageBytes), pageBytes * count]),
    ),
  };
  const nodeCgroups = new NodeCgroups(
    {
      podsCgroup: cgroups.isManaging ? cgroups.nameOf(['kubepods']) : undefined,
      podsLimits: allPodsLimits(capacity, node.allocatable),
      reserved: reservedCgroups(node.allocatable, { hugepageSizes, keepsMemory: memoryQos !== undefined }).map((r) => ({
        ...r,
        cgroup: driver === 'systemd' ? expandSlice(r.cgroup) : r.cgroup,
      })),
    },
    { tree, fs, events: recorder, node: nodeReference(config.nodeName), clock, log },
  );
  await nodeCgroups.enforceReserved();
  const enforce: Task = async (signal) => {
    await nodeCgroups.run(signal);
    await aborted(signal); // set once; it ends with the others
  };
  const refresh: Task = async (signal) => {
    while (!signal.aborted) {
      await clock.sleep(REFRESH_MS, signal);
      await cgroups.refreshLevels().catch((err: unknown) => {
        log.info({ cause: errorMessage(err) }, 'the groups of the QoS classes could not be written');
      });
    }
  };
  const tasks = { 'node cgroups': enforce, 'QoS cgroups': refresh, 'system cgroups': createSystemGroups(ctx, fs) };
  return { cgroups, tasks };
}

/** 2097152 → `2MB`, as cgroupfs calls its files. */
export function hugepageSizeName(bytes: number): string {
  if (bytes >= 2 ** 30) return `${bytes / 2 ** 30}GB`;
  return bytes >= 2 ** 20 ? `${bytes / 2 ** 20}MB` : `${bytes / 2 ** 10}KB`;
}

/** Loaded only where systemd is to manage them. */
async function systemdTree(fs: CgroupFs): Promise<CgroupTree> {
  const { SystemdCgroups } = await import('../../host/cgroup-systemd.ts');
  const { DBusConnection } = await import('../../host/dbus.ts');
  return new SystemdCgroups(fs, () => DBusConnection.open());
}
