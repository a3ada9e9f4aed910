// What /metrics/cadvisor says of the machine as a whole: its size, its file systems, its disks. Pure.
// After cadvisor metrics/prometheus_machine.go.
import type { DiskCounters } from '../../host/block-devices.ts';
import type { FileSystemFigures } from '../../host/file-system-use.ts';
import type { MachineInfo } from '../../host/machine.ts';
import { labelText, type MetricsText } from './text.ts';

export interface MachineFigures {
  readonly machine: Pick<
    MachineInfo,
    'cores' | 'memoryBytes' | 'swapBytes' | 'machineId' | 'systemUuid' | 'bootId' | 'kernelVersion' | 'osImage'
  >;
  readonly physicalCores: number;
  readonly sockets: number;
  /** The agent's own. */
  readonly version: string;
}

export interface NodeDisks {
  /** The node's and the runtime's, by the device that is mounted there. */
  readonly fileSystems: ReadonlyMap<string, FileSystemFigures>;
  readonly counters: readonly DiskCounters[];
}

const SECTOR_HELP = 'Sectors of 512 bytes';
const DISK_FIGURES: readonly (readonly [
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  value: (disk: DiskCounters) => number,
])[] = [
  ['container_fs_read_seconds_total', 'counter', 'Time spent reading, seconds', (d) => d.readMs / 1000],
  ['container_fs_write_seconds_total', 'counter', 'Time spent writing, seconds', (d) => d.writeMs / 1000],
  ['container_fs_io_time_seconds_total', 'counter', 'Time in which the disk was busy, seconds', (d) => d.ioMs / 1000],
  [
    'container_fs_io_time_weighted_seconds_total',
    'counter',
    'Time that all operations took together, seconds',
    (d) => d.weightedMs / 1000,
  ],
  ['container_fs_sector_reads_total', 'counter', `${SECTOR_HELP} read`, (d) => d.sectorsRead],
  ['container_fs_sector_writes_total', 'counter', `${SECTOR_HELP} written`, (d) => d.sectorsWritten],
  ['container_fs_reads_merged_total', 'counter', 'Reads that became part of others', (d) => d.readsMerged],
  ['container_fs_writes_merged_total', 'counter', 'Writes that became part of others', (d) => d.writesMerged],
  ['container_fs_io_current', 'gauge', 'Operations under way', (d) => d.inFlight],
];

const FS_FIGURES = [
  ['container_fs_usage_bytes', 'Bytes in use on the file system', 'usedBytes'],
  ['container_fs_limit_bytes', 'Bytes that the file system can hold', 'capacityBytes'],
  ['container_fs_inodes_free', 'Inodes left on the file system', 'inodesFree'],
  ['container_fs_inodes_total', 'Inodes of the file system', 'inodes'],
] as const;

export function writeMachineMetrics(text: MetricsText, figures: MachineFigures): void {
  const { machine, physicalCores, sockets, version } = figures;
  const labels = labelText({
    boot_id: machine.bootId,
    machine_id: machine.machineId,
    system_uuid: machine.systemUuid,
  });
  const put = (name: string, help: string, value: number) => {
    text.family(name, 'gauge', help);
    text.add(labels, value);
  };
  put('machine_cpu_cores', 'Logical CPUs', machine.cores);
  put('machine_cpu_physical_cores', 'CPU cores', physicalCores);
  put('machine_cpu_sockets', 'CPU sockets', sockets);
  put('machine_memory_bytes', 'Memory, bytes', machine.memoryBytes);
  put('machine_swap_bytes', 'Swap, bytes', machine.swapBytes);
  text.family('machine_scrape_error', 'gauge', '1 when the machine could not be looked at, else 0');
  text.add('', 0);
  text.family('cadvisor_version_info', 'gauge', 'Versions of kernel, operating system and of what reads the figures');
  text.add(
    labelText({
      cadvisorRevision: '',
      cadvisorVersion: version,
      dockerVersion: '',
      kernelVersion: machine.kernelVersion,
      osVersion: machine.osImage,
    }),
    1,
  );
}

/** `rootLabels` are those of the root cgroup, on which the machine's disks stand. */
export function writeDiskMetrics(text: MetricsText, rootLabels: string, disks: NodeDisks, atMs: number): void {
  for (const [name, help, field] of FS_FIGURES) {
    text.family(name, 'gauge', help);
    for (const [device, fs] of disks.fileSystems) text.add(`${rootLabels},${labelText({ device })}`, fs[field], atMs);
  }
  for (const [name, type, help, value] of DISK_FIGURES) {
    text.family(name, type, help);
    for (const disk of disks.counters)
      text.add(`${rootLabels},${labelText({ device: disk.device })}`, value(disk), atMs);
  }
}
