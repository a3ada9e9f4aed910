import { expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { FakeCgroups } from './fake-cgroups.ts';
import { fakeTarget } from './fake-targets.ts';
import { CgroupSampler, type PodRows } from './sampler.ts';
import { networkStats, podStats, reducedPodStats, rowStats, type StorageFacts, timeText } from './summary.ts';

const FS = {
  atMs: 0,
  capacityBytes: 1000,
  availableBytes: 400,
  usedBytes: 500,
  inodes: 100,
  inodesFree: 60,
  inodesUsed: 40,
};
const PRESSURE = {
  some: { avg10: 1, avg60: 2, avg300: 3, total: 4 },
  full: { avg10: 0, avg60: 0, avg300: 0, total: 0 },
};

async function podRows(pod = {}): Promise<{ pod: PodRows; clock: FakeClock }> {
  const clock = new FakeClock();
  const source = new FakeCgroups();
  const pressure = { cpu: PRESSURE, memory: PRESSURE, io: PRESSURE };
  for (const name of ['/', '/kubepods/podu', '/kubepods/podu/box', '/kubepods/podu/c']) {
    const group = source.add(name, { cpuNs: 5e9, pressure, pids: [] });
    group.spec = { ...group.spec, ...(name.endsWith('/c') ? { memoryLimitBytes: 4500, swapLimitBytes: 30 } : {}) };
  }
  const targets = [fakeTarget(['c'], pod)];
  const sampler = new CgroupSampler({ source, targets: () => targets, groups: [], clock });
  return { pod: (await sampler.sample('live', 0)).pods[0]!, clock };
}

const FACTS: StorageFacts = {
  nodeFs: FS,
  containerFs: { ...FS, capacityBytes: 2000 },
  layers: new Map([['c', { usedBytes: 10, inodesUsed: 1 }]]),
  logs: () => ({
    atMs: 0,
    monotonicMs: 0,
    containers: new Map([['c', { usedBytes: 20, inodesUsed: 2 }]]),
    others: { usedBytes: 1, inodesUsed: 1 },
  }),
  volumes: () => ({
    atMs: 0,
    volumes: [
      { name: 'data', claim: undefined, onDisk: true, ...FS, usedBytes: 100, inodesUsed: 5 },
      { name: 'token', claim: undefined, onDisk: false, ...FS, usedBytes: 7, inodesUsed: 7 },
      { name: 'db', claim: { name: 'c', namespace: 'default' }, onDisk: false, usedBytes: 9, abnormal: true },
    ],
  }),
  hostNetwork: networkStats([], 0),
};

test('times are whole seconds', () => {
  expect(timeText(1_700_000_000_999)).toBe('2023-11-14T22:13:20Z');
});

test('a group without samples has no figures, one without limits nothing that is left', async () => {
  expect(rowStats(undefined, false)).toEqual({});
  const { pod } = await podRows();
  const { memory, swap, cpu, io } = rowStats(pod.row, false);
  expect(memory).not.toHaveProperty('availableBytes');
  expect(memory).toMatchObject({ usageBytes: 5000, workingSetBytes: 4000, rssBytes: 3000, pageFaults: 70 });
  expect(swap).toEqual({ time: cpu!.time, swapUsageBytes: 10 });
  expect(cpu).toMatchObject({ usageCoreNanoSeconds: 5e9, psi: { some: { total: 4 } } });
  expect(io).toMatchObject({ psi: { some: { avg10: 1 } } });
});

test('a container shows what is left of its limits, its layer and its logs', async () => {
  const { pod } = await podRows();
  const [c] = podStats(pod, FACTS).containers;
  expect(c!.memory!.availableBytes).toBe(500);
  expect(c!.swap).toMatchObject({ swapAvailableBytes: 20, swapUsageBytes: 10 });
  expect(c!.rootfs).toMatchObject({ capacityBytes: 2000, usedBytes: 10, inodesUsed: 1, inodesFree: 60 });
  expect(c!.logs).toMatchObject({ capacityBytes: 1000, usedBytes: 20, inodesUsed: 2 });
});

test('ephemeral storage is layers, logs, other files and volumes on disk', async () => {
  const { pod } = await podRows();
  const stats = podStats(pod, FACTS);
  expect(stats['ephemeral-storage']).toMatchObject({ usedBytes: 10 + 20 + 1 + 100, inodesUsed: 1 + 2 + 1 + 5 });
  expect(stats.volume).toHaveLength(3);
  expect(stats.volume![2]).toEqual({
    time: timeText(0),
    usedBytes: 9,
    name: 'db',
    pvcRef: { name: 'c', namespace: 'default' },
    volumeHealthStats: { abnormal: true },
  });
});

test('what is not known is left out', async () => {
  const { pod } = await podRows();
  const nothing = () => undefined;
  const stats = podStats(pod, {
    nodeFs: undefined,
    containerFs: undefined,
    layers: undefined,
    logs: nothing,
    volumes: nothing,
    hostNetwork: undefined,
  });
  expect(Object.keys(stats).sort()).toEqual([
    'containers',
    'cpu',
    'io',
    'memory',
    'podRef',
    'process_stats',
    'startTime',
    'swap',
  ]);
  expect(stats.containers[0]).not.toHaveProperty('rootfs');
});

test('a pod on the host network shows the network of the host', async () => {
  const { pod } = await podRows({ spec: { hostNetwork: true } });
  expect(podStats(pod, FACTS).network).toBe(FACTS.hostNetwork);
});

test('the reduced form has CPU, memory and swap', async () => {
  const { pod } = await podRows();
  const stats = reducedPodStats(pod);
  expect(Object.keys(stats).sort()).toEqual(['containers', 'cpu', 'memory', 'podRef', 'startTime', 'swap']);
  expect(Object.keys(stats.containers[0]!).sort()).toEqual(['cpu', 'memory', 'name', 'startTime', 'swap']);
});

test('eth0 stands for the network as a whole', () => {
  const counters = {
    rxBytes: 1,
    rxPackets: 1,
    rxErrors: 2,
    rxDropped: 0,
    txBytes: 3,
    txPackets: 1,
    txErrors: 4,
    txDropped: 0,
  };
  const stats = networkStats(
    [
      { name: 'net1', ...counters },
      { name: 'eth0', ...counters, rxBytes: 9 },
    ],
    0,
  );
  expect(stats).toMatchObject({ name: 'eth0', rxBytes: 9, rxErrors: 2, txBytes: 3, txErrors: 4 });
  expect(stats.interfaces).toHaveLength(2);
  expect(networkStats([{ name: 'net1', ...counters }], 0)).not.toHaveProperty('name');
});
