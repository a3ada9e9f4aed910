import { expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { FakeCgroups } from '../stats/fake-cgroups.ts';
import { fakeTarget } from '../stats/fake-targets.ts';
import { CgroupSampler, type Sample } from '../stats/sampler.ts';
import { writeContainerMetrics } from './cadvisor-metrics.ts';
import { cadvisorRows } from './cadvisor-rows.ts';
import { renderResourceMetrics } from './resource-metrics.ts';
import { labelText, MetricsText } from './text.ts';

const POD = '/kubepods/podu';
const PRESSURE = {
  some: { avg10: 0, avg60: 0, avg300: 0, total: 3_000_000 },
  full: { avg10: 0, avg60: 0, avg300: 0, total: 500_000 },
};
const AT = Date.UTC(2026, 0, 1);

async function sampleOf(change: (cgroups: FakeCgroups) => void = () => {}): Promise<Sample> {
  const cgroups = new FakeCgroups();
  for (const name of ['/', '/kubepods', POD, `${POD}/box`, `${POD}/c`]) cgroups.add(name, { cpuNs: 5e9 });
  change(cgroups);
  const groups = [
    { name: 'pods', inSummary: true, cgroup: () => '/kubepods' },
    { name: 'kubelet', inSummary: true, cgroup: () => '/' },
  ];
  const targets = [fakeTarget(['c'])];
  const sampler = new CgroupSampler({ source: cgroups, targets: () => targets, groups, clock: new FakeClock() });
  return await sampler.sample('details', 0);
}

async function render(change?: (cgroups: FakeCgroups) => void): Promise<string[]> {
  const text = new MetricsText();
  writeContainerMetrics(text, cadvisorRows(await sampleOf(change), 'pause:3'));
  return text.toString().split('\n');
}

const labels = (more: Record<string, string>) =>
  labelText({ container: '', id: '', image: '', name: '', namespace: '', pod: '', ...more });
const ROOT = labels({ id: '/' });
const BOX = labels({ id: `${POD}/box`, image: 'pause:3', name: 'box', namespace: 'default', pod: 'p' });
const MAIN = labels({
  container: 'c',
  id: `${POD}/c`,
  image: 'busybox:1.36',
  name: 'c',
  namespace: 'default',
  pod: 'p',
});

test('root, groups, pod, sandbox and container have a row each, named as cadvisor names them', async () => {
  const rows = (await render()).filter((l) => l.startsWith('container_memory_rss{'));
  expect(rows).toEqual([
    `container_memory_rss{${ROOT}} 3000 ${AT}`,
    `container_memory_rss{${labels({ id: '/kubepods' })}} 3000 ${AT}`,
    `container_memory_rss{${labels({ id: POD, namespace: 'default', pod: 'p' })}} 3000 ${AT}`,
    `container_memory_rss{${BOX}} 3000 ${AT}`,
    `container_memory_rss{${MAIN}} 3000 ${AT}`,
  ]);
});

test('counters are in seconds and carry the time of the look; what does not move carries none', async () => {
  const lines = await render();
  for (const line of [
    `container_cpu_usage_seconds_total{${MAIN},cpu="total"} 5 ${AT}`,
    `container_cpu_user_seconds_total{${MAIN}} 2 ${AT}`,
    `container_memory_working_set_bytes{${MAIN}} 4000 ${AT}`,
    `container_memory_failures_total{${MAIN},failure_type="pgmajfault",scope="hierarchy"} 7 ${AT}`,
    `container_start_time_seconds{${MAIN}} 1000`,
    `container_spec_cpu_period{${MAIN}} 100000`,
    `container_spec_memory_limit_bytes{${MAIN}} 0`,
  ]) {
    expect(lines).toContain(line);
  }
});

test('without a quota there is no throttling, without PSI no pressure', async () => {
  const lines = await render();
  expect(lines.filter((l) => /cfs|pressure|spec_cpu_quota/.test(l))).toEqual([]);
});

test('with them there is', async () => {
  const lines = await render((cgroups) => {
    const group = cgroups.groups.get(`${POD}/c`)!;
    group.spec = { ...group.spec, cpuQuotaUs: 50_000, memoryLimitBytes: 1024 };
    group.pressure = { cpu: PRESSURE, memory: undefined, io: PRESSURE };
  });
  for (const line of [
    `container_cpu_cfs_periods_total{${MAIN}} 10 ${AT}`,
    `container_cpu_cfs_throttled_seconds_total{${MAIN}} 2 ${AT}`,
    `container_spec_cpu_quota{${MAIN}} 50000`,
    `container_spec_memory_limit_bytes{${MAIN}} 1024`,
    `container_pressure_cpu_waiting_seconds_total{${MAIN}} 3 ${AT}`,
    `container_pressure_io_stalled_seconds_total{${MAIN}} 0.5 ${AT}`,
  ]) {
    expect(lines).toContain(line);
  }
  expect(lines.some((l) => l.includes('pressure_memory'))).toBe(false);
});

test('interfaces are those of the node and of sandboxes', async () => {
  const lines = await render((cgroups) => {
    cgroups.groups.get(`${POD}/box`)!.pids = [process.pid];
  });
  const rows = lines.filter((l) => l.startsWith('container_network_receive_bytes_total{'));
  const ids = new Set(rows.map((l) => /id="([^"]*)"/.exec(l)![1]));
  for (const id of ids) expect(['/', `${POD}/box`]).toContain(id);
});

test('a link that a pod has named like a label stays one label', async () => {
  const sample = await sampleOf();
  const rows = cadvisorRows(sample, 'pause:3').filter((r) => r.labels.includes(`id="${POD}/box"`));
  const none = {
    rxBytes: 1,
    rxPackets: 0,
    rxErrors: 0,
    rxDropped: 0,
    txBytes: 0,
    txPackets: 0,
    txErrors: 0,
    txDropped: 0,
  };
  for (const { row } of rows) row.live = { ...row.live!, network: [{ name: 'a"b\\', ...none }] };
  const text = new MetricsText();
  writeContainerMetrics(text, rows);
  const line = `container_network_receive_bytes_total{${BOX},interface="a\\"b\\\\"} 1 ${AT}`;
  expect(text.toString().split('\n')).toContain(line);
});

test('reads and writes are told by device', async () => {
  const lines = await render((cgroups) => {
    const group = cgroups.groups.get(`${POD}/c`)!;
    const io = [{ major: 4095, minor: 1, readBytes: 1, writeBytes: 2, reads: 3, writes: 4 }];
    group.details = { ...group.details, io };
  });
  expect(lines).toContain(`container_fs_writes_bytes_total{${MAIN},device=""} 2 ${AT}`);
  expect(lines).toContain(
    `container_blkio_device_usage_total{${MAIN},device="",major="4095",minor="1",operation="Read"} 1 ${AT}`,
  );
});

test('each family has its head once, before its samples', async () => {
  const lines = await render();
  const heads = lines.filter((l) => l.startsWith('# TYPE ')).map((l) => l.split(' ')[2]);
  expect(new Set(heads).size).toBe(heads.length);
  for (const [i, line] of lines.entries()) {
    if (!line.startsWith('# TYPE ')) continue;
    const name = line.split(' ')[2]!;
    expect(lines[i - 1]).toMatch(new RegExp(`^# HELP ${name} .`));
    expect(lines[i + 1]!.startsWith(`${name}{`) || lines[i + 1]!.startsWith(`${name} `)).toBe(true);
  }
});

test('hostile names cannot leave their label', () => {
  expect(labelText({ a: 'x"} 1\n\\', b: 'y' })).toBe('a="x\\"} 1\\n\\\\",b="y"');
});

test('what metrics-server reads, line by line', async () => {
  const sample = await sampleOf((cgroups) => {
    const group = cgroups.groups.get(`${POD}/c`)!;
    group.spec = { ...group.spec, swapLimitBytes: 64 };
  });
  const lines = renderResourceMetrics(sample)
    .split('\n')
    .filter((l) => l !== '' && !l.startsWith('#'));
  const c = 'container="c",namespace="default",pod="p"';
  const p = 'namespace="default",pod="p"';
  expect(lines).toEqual([
    `container_cpu_usage_seconds_total{${c}} 5 ${AT}`,
    `container_memory_working_set_bytes{${c}} 4000 ${AT}`,
    `container_swap_usage_bytes{${c}} 10 ${AT}`,
    `container_start_time_seconds{${c}} 1000`,
    `container_swap_limit_bytes{${c}} 64 ${AT}`,
    `node_cpu_usage_seconds_total 5 ${AT}`,
    `node_memory_working_set_bytes 4000 ${AT}`,
    `node_swap_usage_bytes 10 ${AT}`,
    `pod_cpu_usage_seconds_total{${p}} 5 ${AT}`,
    `pod_memory_working_set_bytes{${p}} 4000 ${AT}`,
    `pod_swap_usage_bytes{${p}} 10 ${AT}`,
    'resource_scrape_error 0',
  ]);
});

test('figures that cannot be read are an error that shows', () => {
  expect(renderResourceMetrics(undefined)).toMatch(/^resource_scrape_error 1$/m);
});
