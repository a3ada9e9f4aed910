// From samples to the answer of /stats/summary. Pure. After pkg/kubelet/stats/helper.go and cri_stats_provider.go.
import type { Pressure } from '../../host/cgroup-stats.ts';
import type { InterfaceStats as HostInterface } from '../../host/network-stats.ts';
import type { Row } from './row.ts';
import type { ContainerRow, PodRows } from './sampler.ts';
import type { Layers, PodLogs } from './storage-meter.ts';
import { sumUse } from './storage-meter.ts';
import type {
  ContainerStats,
  CpuStats,
  FsStats,
  IoStats,
  MemoryStats,
  NetworkStats,
  PodStats,
  PsiStats,
  SwapStats,
  VolumeStats,
} from './summary-types.ts';
import type { FsUse, StorageUse } from './usage.ts';
import type { PodVolumes } from './volume-meter.ts';

/** The interface whose figures stand for the pod's network as a whole. */
const DEFAULT_INTERFACE = 'eth0';

/** metav1.Time: whole seconds. */
export function timeText(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

interface RowStats {
  readonly cpu?: CpuStats;
  readonly memory?: MemoryStats;
  readonly swap?: SwapStats;
  readonly io?: IoStats;
}

/** Limits of a group, where its figures are set against some. */
export interface RowLimits {
  readonly memoryBytes?: number | undefined;
  readonly swapBytes?: number | undefined;
}

/** `reduced` leaves out I/O, which only pressure tells of. */
export function rowStats(row: Row | undefined, reduced: boolean, limits: RowLimits = {}): RowStats {
  const use = row?.use;
  if (row === undefined || use === undefined) return {};
  const time = timeText(use.atMs);
  const { memory } = use;
  const pressure = row.live?.pressure;
  const psi = (of: Pressure | undefined) => (of === undefined ? {} : { psi: psiStats(of) });
  const { memoryBytes, swapBytes } = limits;
  const available =
    memoryBytes === undefined ? {} : { availableBytes: Math.max(0, memoryBytes - memory.workingSetBytes) };
  const swapLeft = swapBytes === undefined ? {} : { swapAvailableBytes: Math.max(0, swapBytes - memory.swapBytes) };
  const nanoCores = row.usageNanoCores;
  return {
    cpu: {
      time,
      ...(nanoCores === undefined ? {} : { usageNanoCores: nanoCores }),
      usageCoreNanoSeconds: use.cpuNs,
      ...psi(pressure?.cpu),
    },
    memory: {
      time,
      ...available,
      usageBytes: memory.usageBytes,
      workingSetBytes: memory.workingSetBytes,
      rssBytes: memory.rssBytes,
      pageFaults: memory.pageFaults,
      majorPageFaults: memory.majorPageFaults,
      ...psi(pressure?.memory),
    },
    swap: { time, ...swapLeft, swapUsageBytes: memory.swapBytes },
    ...(reduced || pressure?.io === undefined ? {} : { io: { time, ...psi(pressure.io) } }),
  };
}

function psiStats({ full, some }: Pressure): PsiStats {
  return { full: { ...full }, some: { ...some } };
}

export function networkStats(interfaces: readonly HostInterface[], atMs: number): NetworkStats {
  const shown = interfaces.map(({ name, rxBytes, rxErrors, txBytes, txErrors }) => ({
    name,
    rxBytes,
    rxErrors,
    txBytes,
    txErrors,
  }));
  return { time: timeText(atMs), ...shown.find((i) => i.name === DEFAULT_INTERFACE), interfaces: shown };
}

/** The whole file system, or `part` of it. */
export function fsStats(fs: FsUse, part: StorageUse = fs): FsStats {
  return {
    time: timeText(fs.atMs),
    availableBytes: fs.availableBytes,
    capacityBytes: fs.capacityBytes,
    usedBytes: part.usedBytes,
    inodesFree: fs.inodesFree,
    inodes: fs.inodes,
    inodesUsed: part.inodesUsed,
  };
}

/** What is known beside the samples; each undefined where it could not be found out. */
export interface StorageFacts {
  readonly nodeFs: FsUse | undefined;
  readonly containerFs: FsUse | undefined;
  readonly layers: Layers['containers'] | undefined;
  readonly logs: (podUid: string) => PodLogs | undefined;
  readonly volumes: (podUid: string) => PodVolumes | undefined;
  /** Of the node: pods on the host's network show it. */
  readonly hostNetwork: NetworkStats | undefined;
}

export function containerStats({ target, row }: ContainerRow, reduced: boolean, limits: RowLimits): ContainerStats {
  return { name: target.name, startTime: timeText(target.createdAtMs), ...rowStats(row, reduced, limits) };
}

/** CPU, memory and swap alone. */
export function reducedPodStats(pod: PodRows): PodStats {
  return {
    ...podHead(pod),
    containers: pod.containers.map((c) => containerStats(c, true, limitsOf(c.row))),
    ...rowStats(pod.row, true, limitsOf(pod.row)),
  };
}

export function podStats(pod: PodRows, facts: StorageFacts): PodStats {
  const { uid } = pod.target;
  const logs = facts.logs(uid);
  const volumes = facts.volumes(uid);
  const containers = pod.containers.map((c): ContainerStats => {
    const layer = facts.layers?.get(c.target.id);
    const log = logs?.containers.get(c.target.name);
    return {
      ...containerStats(c, false, limitsOf(c.row)),
      ...(layer === undefined || facts.containerFs === undefined ? {} : { rootfs: fsStats(facts.containerFs, layer) }),
      ...(log === undefined || facts.nodeFs === undefined ? {} : { logs: fsStats(facts.nodeFs, log) }),
    };
  });
  const network = networkOf(pod, facts);
  return {
    ...podHead(pod),
    containers,
    ...rowStats(pod.row, false, limitsOf(pod.row)),
    ...(network === undefined ? {} : { network }),
    ...(volumes === undefined ? {} : { volume: volumes.volumes.map((v) => volumeStats(v, volumes.atMs)) }),
    ...(facts.nodeFs === undefined
      ? {}
      : { 'ephemeral-storage': fsStats(facts.nodeFs, ephemeralUse(pod, facts, logs, volumes)) }),
    process_stats: { process_count: pod.containers.reduce((n, c) => n + (c.row.live?.pids.length ?? 0), 0) },
  };
}

function podHead({ target: { name, namespace, uid, sandbox } }: PodRows) {
  return { podRef: { name, namespace, uid }, startTime: timeText(sandbox.createdAtMs) };
}

export function limitsOf(row: Row | undefined): RowLimits {
  return { memoryBytes: row?.spec?.memoryLimitBytes, swapBytes: row?.spec?.swapLimitBytes };
}

function networkOf({ target, sandbox }: PodRows, facts: StorageFacts): NetworkStats | undefined {
  if (target.hostNetwork) return facts.hostNetwork;
  const live = sandbox?.row.live;
  return live?.network === undefined ? undefined : networkStats(live.network, live.atMs);
}

/** What is not known yet does not count yet. */
function ephemeralUse(
  { containers }: PodRows,
  { layers }: StorageFacts,
  logs: PodLogs | undefined,
  volumes: PodVolumes | undefined,
): StorageUse {
  const onDisk = (volumes?.volumes ?? []).filter((v) => v.onDisk);
  return sumUse([
    ...containers.flatMap((c) => layers?.get(c.target.id) ?? []),
    ...(logs === undefined ? [] : [...logs.containers.values(), logs.others]),
    ...onDisk.map((v) => ({ usedBytes: v.usedBytes ?? 0, inodesUsed: v.inodesUsed ?? 0 })),
  ]);
}

function volumeStats(volume: PodVolumes['volumes'][number], atMs: number): VolumeStats {
  const { name, claim, abnormal, availableBytes, capacityBytes, usedBytes, inodesFree, inodes, inodesUsed } = volume;
  return {
    time: timeText(atMs),
    ...(availableBytes === undefined ? {} : { availableBytes }),
    ...(capacityBytes === undefined ? {} : { capacityBytes }),
    ...(usedBytes === undefined ? {} : { usedBytes }),
    ...(inodesFree === undefined ? {} : { inodesFree }),
    ...(inodes === undefined ? {} : { inodes }),
    ...(inodesUsed === undefined ? {} : { inodesUsed }),
    name,
    ...(claim === undefined ? {} : { pvcRef: claim }),
    ...(abnormal === undefined ? {} : { volumeHealthStats: { abnormal } }),
  };
}
