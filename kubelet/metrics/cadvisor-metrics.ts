// /metrics/cadvisor: everything about cgroups, with the names and labels of cadvisor, which dashboards are made for.
// Pure. After cadvisor metrics/prometheus.go as the kubelet runs it.
import type { CgroupSpec, Pressure } from '../../host/cgroup-stats.ts';
import type { InterfaceStats } from '../../host/network-stats.ts';
import type { DetailSample, LiveSample, UseSample } from '../stats/row.ts';
import { type CadvisorRow, DeviceLabels } from './cadvisor-rows.ts';
import { labelText, type MetricsText, type MetricType } from './text.ts';

interface Figures {
  readonly use: UseSample;
  readonly live: LiveSample | undefined;
  readonly details: DetailSample;
  readonly spec: CgroupSpec | undefined;
  readonly row: CadvisorRow;
}

/** One value for each cgroup; undefined: none. */
interface Single {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly value: (figures: Figures) => number | undefined;
  /** Behind the labels of the cgroup. */
  readonly labels?: string;
  /** What does not move is given without a time. */
  readonly isSpec?: true;
}

const gauge = (name: string, help: string, value: Single['value']): Single => ({ name, type: 'gauge', help, value });
const counter = (name: string, help: string, value: Single['value']): Single => ({
  name,
  type: 'counter',
  help,
  value,
});
const spec = (name: string, help: string, value: (spec: CgroupSpec) => number | undefined): Single => ({
  name,
  type: 'gauge',
  help,
  value: (f) => (f.spec === undefined ? undefined : value(f.spec)),
  isSpec: true,
});
const waited = (name: string, help: string, of: 'cpu' | 'memory' | 'io', how: keyof Pressure): Single =>
  counter(name, help, ({ live }) => {
    const total = live?.pressure?.[of]?.[how].total;
    return total === undefined ? undefined : total / 1e6;
  });

const SINGLES: readonly Single[] = [
  gauge('container_last_seen', 'When the container was last looked at, unix seconds', ({ use }) =>
    Math.trunc(use.atMs / 1000),
  ),
  {
    ...gauge('container_start_time_seconds', 'When the container was made, unix seconds', ({ row }) =>
      Math.trunc(row.row.startedAtMs / 1000),
    ),
    isSpec: true,
  },
  {
    ...counter('container_cpu_usage_seconds_total', 'CPU time used, seconds', ({ use }) => use.cpuNs / 1e9),
    labels: 'cpu="total"',
  },
  counter('container_cpu_user_seconds_total', 'CPU time in user mode, seconds', (f) => f.details.userNs / 1e9),
  counter('container_cpu_system_seconds_total', 'CPU time in the kernel, seconds', (f) => f.details.systemNs / 1e9),
  counter(
    'container_cpu_cfs_periods_total',
    'Periods in which the CPU quota counted',
    (f) => f.details.throttling?.periods,
  ),
  counter(
    'container_cpu_cfs_throttled_periods_total',
    'Periods in which the quota ran out',
    (f) => f.details.throttling?.throttledPeriods,
  ),
  counter('container_cpu_cfs_throttled_seconds_total', 'Time held back by the quota, seconds', ({ details }) =>
    details.throttling === undefined ? undefined : details.throttling.throttledNs / 1e9,
  ),
  gauge('container_memory_usage_bytes', 'Memory in use, all kinds of it, bytes', (f) => f.use.memory.usageBytes),
  gauge(
    'container_memory_working_set_bytes',
    'Memory in use that cannot be taken back easily, bytes',
    (f) => f.use.memory.workingSetBytes,
  ),
  gauge('container_memory_rss', 'Anonymous memory, bytes', (f) => f.use.memory.rssBytes),
  gauge('container_memory_cache', 'Page cache, bytes', (f) => f.use.memory.cacheBytes),
  gauge('container_memory_swap', 'Swap in use, bytes', (f) => f.use.memory.swapBytes),
  gauge('container_memory_mapped_file', 'Mapped files, bytes', (f) => f.use.memory.mappedBytes),
  gauge('container_memory_max_usage_bytes', 'Most memory ever in use, bytes', (f) => f.details.maxUsageBytes),
  gauge('container_memory_kernel_usage', 'Memory of the kernel, bytes', (f) => f.details.kernelBytes),
  gauge(
    'container_memory_total_active_file_bytes',
    'Page cache that was used of late, bytes',
    (f) => f.use.memory.activeFileBytes,
  ),
  gauge(
    'container_memory_total_inactive_file_bytes',
    'Page cache that was not used of late, bytes',
    (f) => f.use.memory.inactiveFileBytes,
  ),
  counter('container_memory_failcnt', 'How often the memory limit was reached', (f) => f.details.failures),
  counter('container_oom_events_total', 'Processes killed for want of memory', (f) => f.details.oomKills),
  gauge('container_processes', 'Processes', (f) => f.live?.pids.length),
  gauge('container_threads', 'Threads', (f) => f.details.threads),
  gauge('container_threads_max', 'Threads there may be; 0 is no limit', (f) =>
    f.details.threads === undefined ? undefined : (f.spec?.maxThreads ?? 0),
  ),
  gauge('container_file_descriptors', 'Open files', (f) => f.row.row.slow?.fileDescriptors),
  gauge('container_sockets', 'Open sockets', (f) => f.row.row.slow?.sockets),
  {
    ...gauge('container_ulimits_soft', 'Soft limits of the first process', (f) => f.row.row.slow?.maxOpenFiles),
    labels: 'ulimit="max_open_files"',
  },
  waited('container_pressure_cpu_waiting_seconds_total', 'Time in which some waited for CPU, seconds', 'cpu', 'some'),
  waited('container_pressure_cpu_stalled_seconds_total', 'Time in which all waited for CPU, seconds', 'cpu', 'full'),
  waited(
    'container_pressure_memory_waiting_seconds_total',
    'Time in which some waited for memory, seconds',
    'memory',
    'some',
  ),
  waited(
    'container_pressure_memory_stalled_seconds_total',
    'Time in which all waited for memory, seconds',
    'memory',
    'full',
  ),
  waited('container_pressure_io_waiting_seconds_total', 'Time in which some waited for I/O, seconds', 'io', 'some'),
  waited('container_pressure_io_stalled_seconds_total', 'Time in which all waited for I/O, seconds', 'io', 'full'),
  spec('container_spec_cpu_period', 'Period of the CPU quota, µs', (s) => s.cpuPeriodUs),
  spec('container_spec_cpu_quota', 'CPU time in a period, µs', (s) => s.cpuQuotaUs),
  spec('container_spec_cpu_shares', 'CPU shares', (s) => (s.cpuShares === 0 ? undefined : s.cpuShares)),
  spec('container_spec_memory_limit_bytes', 'Memory limit, bytes; 0 is none', (s) => s.memoryLimitBytes ?? 0),
  spec(
    'container_spec_memory_reservation_limit_bytes',
    'Memory that is kept for it, bytes; 0 is none',
    (s) => s.memoryReservationBytes ?? 0,
  ),
  spec('container_spec_memory_swap_limit_bytes', 'Swap limit, bytes; 0 is none', (s) => s.swapLimitBytes ?? 0),
];

const INTERFACE_FIGURES: readonly (readonly [name: string, help: string, field: keyof Omit<InterfaceStats, 'name'>])[] =
  [
    ['container_network_receive_bytes_total', 'Bytes received', 'rxBytes'],
    ['container_network_receive_packets_total', 'Packets received', 'rxPackets'],
    ['container_network_receive_packets_dropped_total', 'Packets dropped on receipt', 'rxDropped'],
    ['container_network_receive_errors_total', 'Errors of receipt', 'rxErrors'],
    ['container_network_transmit_bytes_total', 'Bytes sent', 'txBytes'],
    ['container_network_transmit_packets_total', 'Packets sent', 'txPackets'],
    ['container_network_transmit_packets_dropped_total', 'Packets dropped on sending', 'txDropped'],
    ['container_network_transmit_errors_total', 'Errors of sending', 'txErrors'],
  ];

const IO_FIGURES = [
  ['container_fs_reads_bytes_total', 'Bytes read from the device', 'readBytes'],
  ['container_fs_reads_total', 'Reads from the device', 'reads'],
  ['container_fs_writes_bytes_total', 'Bytes written to the device', 'writeBytes'],
  ['container_fs_writes_total', 'Writes to the device', 'writes'],
] as const;

const FAULT_FIGURES = [
  ['container', 'pgfault', 'ownPageFaults'],
  ['container', 'pgmajfault', 'ownMajorPageFaults'],
  ['hierarchy', 'pgfault', 'pageFaults'],
  ['hierarchy', 'pgmajfault', 'majorPageFaults'],
] as const;

/** Writes every series of every row. The rows' figures must be there. */
export function writeContainerMetrics(text: MetricsText, rows: readonly CadvisorRow[]): void {
  const all = rows.map((row): Figures => {
    const { use, live, details, spec: limits } = row.row;
    return { use: use!, live, details: details!, spec: limits, row };
  });
  for (const single of SINGLES) writeSingle(text, single, all);
  writeFaults(text, all);
  writeInterfaces(text, all);
  writeIo(text, all);
}

function writeSingle(text: MetricsText, single: Single, all: readonly Figures[]): void {
  const { name, type, help, value, labels, isSpec } = single;
  text.family(name, type, help);
  for (const figures of all) {
    const v = value(figures);
    if (v === undefined) continue;
    const own = figures.row.labels;
    text.add(labels === undefined ? own : `${own},${labels}`, v, isSpec === true ? undefined : figures.use.atMs);
  }
}

function writeFaults(text: MetricsText, all: readonly Figures[]): void {
  text.family('container_memory_failures_total', 'counter', 'Page faults');
  for (const { row, use } of all) {
    for (const [scope, failure, field] of FAULT_FIGURES) {
      text.add(`${row.labels},failure_type="${failure}",scope="${scope}"`, use.memory[field], use.atMs);
    }
  }
}

/** Whoever may make links in a pod may give them any name but one with a space or a slash. */
function writeInterfaces(text: MetricsText, all: readonly Figures[]): void {
  const found = all.flatMap(({ row, live }) =>
    (live?.network ?? []).map((stats) => {
      return { labels: `${row.labels},${labelText({ interface: stats.name })}`, stats, atMs: live!.atMs };
    }),
  );
  for (const [name, help, field] of INTERFACE_FIGURES) {
    text.family(name, 'counter', help);
    for (const { labels, stats, atMs } of found) text.add(labels, stats[field], atMs);
  }
}

function writeIo(text: MetricsText, all: readonly Figures[]): void {
  const devices = new DeviceLabels();
  for (const [name, help, field] of IO_FIGURES) {
    text.family(name, 'counter', help);
    for (const { row, details, use } of all) {
      for (const io of details.io)
        text.add(`${row.labels},${devices.of(io.major, io.minor).device}`, io[field], use.atMs);
    }
  }
  text.family('container_blkio_device_usage_total', 'counter', 'Bytes read from and written to the device');
  for (const { row, details, use } of all) {
    for (const io of details.io) {
      const labels = `${row.labels},${devices.of(io.major, io.minor).numbers}`;
      text.add(`${labels},operation="Read"`, io.readBytes, use.atMs);
      text.add(`${labels},operation="Write"`, io.writeBytes, use.atMs);
    }
  }
}
