// What the node and its pods use, and the endpoints that show it.

import type { Pod } from '../../api/pod.ts';
import { Gauge, type Registry } from '../../core/metrics.ts';
import { once } from '../../core/once.ts';
import type { Task } from '../../core/tasks.ts';
import type { ImageService, RuntimeService } from '../../cri/runtime-service.ts';
import { blockDeviceBytes } from '../../host/block-devices.ts';
import type { CgroupHierarchies } from '../../host/cgroup.ts';
import { cgroupSource } from '../../host/cgroup-source.ts';
import { readCpuSockets } from '../../host/cpu-sockets.ts';
import { fileSystemFigures } from '../../host/file-system-use.ts';
import type { MachineInfo } from '../../host/machine.ts';
import { cgroupOfProcess, findProcesses } from '../../host/process-facts.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import { figureEndpoints } from '../../kubelet/metrics/endpoints.ts';
import { registerLogGauge } from '../../kubelet/metrics/log-gauge.ts';
import { registerPodGauges } from '../../kubelet/metrics/pod-gauges.ts';
import { SliMetrics } from '../../kubelet/metrics/sli-metrics.ts';
import { registerVolumeGauges } from '../../kubelet/metrics/volume-gauges.ts';
import { cgroupName, type PodCgroups } from '../../kubelet/resources/pod-cgroup.ts';
import type { Handlers } from '../../kubelet/server/endpoints.ts';
import { pollDriverVolumes } from '../../kubelet/stats/driver-volumes.ts';
import { NodeStats } from '../../kubelet/stats/node-stats.ts';
import { NodeUsage } from '../../kubelet/stats/node-usage.ts';
import { CgroupSampler, type SystemGroup } from '../../kubelet/stats/sampler.ts';
import { StorageMeter } from '../../kubelet/stats/storage-meter.ts';
import { podTargets } from '../../kubelet/stats/targets.ts';
import { type ClaimFigures, VolumeMeter } from '../../kubelet/stats/volume-meter.ts';
import type { MountedVolume, VolumeManager } from '../../kubelet/volumes/volume-manager.ts';
import { versionText } from '../version.ts';
import { sandboxImage } from './sandbox-image.ts';
import type { AgentContext } from './shared.ts';

/** Dashboards take rows without any image for cgroups of the system. */
const UNTOLD_PAUSE_IMAGE = 'pause';

export interface StatsPart {
  readonly usage: NodeUsage;
  readonly stats: NodeStats;
  readonly handlers: Handlers;
  readonly slis: SliMetrics;
  readonly task: Task;
}

export interface StatsPartDeps {
  readonly rootDir: string;
  readonly machine: MachineInfo;
  readonly hierarchies: CgroupHierarchies;
  readonly runtime: RuntimeService;
  readonly images: ImageService;
  readonly runtimeName: string;
  readonly cgroups: PodCgroups;
  readonly volumes: Pick<VolumeManager, 'volumesOf'>;
  /** Figures of a CSI driver's volume; undefined when it has none. @throws when the driver fails. */
  readonly csiFigures: (target: string) => Promise<ClaimFigures | undefined>;
  readonly kubelet: () => Kubelet;
  readonly probes: Registry;
}

/** Where containerd and CRI-O keep their cgroup; found by the process when it is not configured. */
const CONTROLLER = 'memory';

export function createStatsPart(ctx: AgentContext, deps: StatsPartDeps): StatsPart {
  const { config, clock, log, exec, registry } = ctx;
  const { rootDir, machine, hierarchies, runtime, images, cgroups } = deps;
  const { kubelet: settings } = config;
  const source = cgroupSource(hierarchies);
  const targets = () => podTargets(deps.kubelet().runningPods(), (pod) => cgroups.cgroupParentOf(pod));
  const claimFigures = (volume: MountedVolume) => figuresOfClaim(volume, deps);
  const volumes = new VolumeMeter({ exec, volumesOf: (uid) => deps.volumes.volumesOf(uid), claimFigures, clock, log });
  const storage = new StorageMeter({ runtime, volumes, rootDir, podLogsDir: settings.podLogsDir, clock });
  const podsCgroup = cgroupName(settings.cgroupDriver, settings.cgroupRoot, ['kubepods']);
  const usage = new NodeUsage(
    { rootDir, memoryBytes: machine.memoryBytes, podsCgroup },
    { source, images, storage, targets, cgroupParentOf: (pod) => cgroups.cgroupParentOf(pod), clock },
  );
  const sampler = new CgroupSampler({ source, targets, groups: systemGroups(ctx, deps, podsCgroup), clock });
  const stats = new NodeStats(
    { nodeName: config.nodeName, memoryBytes: machine.memoryBytes, volumeAgeMs: settings.volumeStatsAggPeriodMs },
    { sampler, usage, storage, volumes, clock, log },
  );
  const slis = new SliMetrics();
  const pauseImage = once(() => sandboxImage(runtime));
  const cadvisor = {
    machine: once(async () => ({ machine, ...(await readCpuSockets(machine.cores)), version: versionText() })),
    pauseImage: async () => (await pauseImage().catch(() => undefined)) ?? UNTOLD_PAUSE_IMAGE,
    directories: async () => [rootDir, ...(await imageDirs(images))],
  };
  registerPodGauges(registry, deps.kubelet);
  registerLogGauge(registry, { storage, targets });
  registerVolumeGauges(registry, {
    pods: () => deps.kubelet().desiredPods(),
    volumes: (pods) => stats.volumes(pods),
    mounted: (uid) => deps.volumes.volumesOf(uid),
  });
  registerNodeGauges(registry, config.nodeName, hierarchies.version);
  const handlers = figureEndpoints({ stats, cadvisor, own: registry, probes: deps.probes, slis, log });
  const polled = {
    periodMs: settings.volumeStatsAggPeriodMs,
    pods: () => deps.kubelet().desiredPods(),
    volumesOf: (uid: string) => deps.volumes.volumesOf(uid),
    measure: (pods: readonly Pod[]) => stats.volumes(pods),
  };
  return { usage, stats, slis, handlers, task: (signal) => pollDriverVolumes(polled, clock, signal) };
}

function registerNodeGauges(registry: Registry, nodeName: string, cgroupVersion: number): void {
  const registers = [registry];
  const node = new Gauge({
    name: 'kubelet_node_name',
    help: 'The node; the value is 1',
    labelNames: ['node'],
    registers,
  });
  node.set({ node: nodeName }, 1);
  const cgroups = new Gauge({ name: 'kubelet_cgroup_version', help: 'Version of cgroups on the host', registers });
  cgroups.set(cgroupVersion);
  const provider = new Gauge({
    name: 'kubelet_metrics_provider',
    help: 'Where figures of containers come from; the value is 1',
    labelNames: ['provider'],
    registers,
  });
  provider.set({ provider: 'cadvisor' }, 1); // read from cgroups, under cadvisor's names
}

function systemGroups(ctx: AgentContext, deps: StatsPartDeps, podsCgroup: string): SystemGroup[] {
  const { cgroupDriver, cgroupRoot } = ctx.config.kubelet;
  const configured = ctx.config.node.systemGroups;
  const controller = deps.hierarchies.version === 1 ? CONTROLLER : undefined;
  const qos = (level: string) => cgroupName(cgroupDriver, cgroupRoot, ['kubepods', level]);
  const own = configured.kubelet || cgroupOfProcess('self', controller);
  let runtime = configured.runtime || undefined;
  const runtimeCgroup = () => {
    // Of several, nobody can say which one serves this node.
    const pids = runtime === undefined ? findProcesses(deps.runtimeName) : [];
    if (pids.length === 1) runtime = cgroupOfProcess(pids[0]!, controller);
    return runtime;
  };
  return [
    { name: 'kubelet', inSummary: true, cgroup: () => own, startedAtMs: ctx.clock.now() },
    { name: 'runtime', inSummary: true, cgroup: runtimeCgroup },
    { name: 'misc', inSummary: true, cgroup: () => configured.system || undefined },
    { name: 'pods', inSummary: true, cgroup: () => podsCgroup },
    { name: 'burstable', inSummary: false, cgroup: () => qos('burstable') },
    { name: 'besteffort', inSummary: false, cgroup: () => qos('besteffort') },
  ];
}

/** CSI drivers are asked; of a local volume its file system is told, and nothing of a path of the host. */
async function figuresOfClaim(
  { hostPath, isBlock }: MountedVolume,
  { csiFigures }: StatsPartDeps,
): Promise<ClaimFigures | undefined> {
  if (isBlock === true) {
    const capacityBytes = await blockDeviceBytes(hostPath);
    return capacityBytes === undefined ? undefined : { capacityBytes };
  }
  if (hostPath.includes('/kubernetes.io~csi/')) return await csiFigures(hostPath);
  return hostPath.includes('/kubernetes.io~local-volume/') ? await fileSystemFigures(hostPath) : undefined;
}

async function imageDirs(images: ImageService): Promise<string[]> {
  try {
    const { image } = await images.imageFsInfo();
    return image.flatMap((i) => i.fsId?.mountpoint || []);
  } catch {
    return []; // the runtime does not answer: the node's own file system is there nevertheless
  }
}
