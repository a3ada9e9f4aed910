import { beforeEach, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { FakeCgroups } from './fake-cgroups.ts';
import { fakeTarget } from './fake-targets.ts';
import { CgroupSampler } from './sampler.ts';
import type { PodTarget } from './targets.ts';

let clock: FakeClock;
let cgroups: FakeCgroups;
let targets: PodTarget[];
let sampler: CgroupSampler;

beforeEach(() => {
  clock = new FakeClock();
  cgroups = new FakeCgroups();
  targets = [fakeTarget(['c'])];
  for (const name of ['/', '/kubepods', '/kubepods/podu', '/kubepods/podu/box', '/kubepods/podu/c']) cgroups.add(name);
  const groups = [
    { name: 'pods', inSummary: true, cgroup: () => '/kubepods' },
    { name: 'runtime', inSummary: true, cgroup: () => undefined },
    { name: 'misc', inSummary: true, cgroup: () => '/nothing' },
  ];
  sampler = new CgroupSampler({ source: cgroups, targets: () => targets, groups, clock });
});

test('one look reads the root, the groups that are there, and each pod with its sandbox and containers', async () => {
  const sample = await sampler.sample('use', 0);
  expect(sample.root.use?.memory.usageBytes).toBe(5000);
  expect(sample.groups.map((g) => g.name)).toEqual(['pods']);
  expect(sample.pods).toHaveLength(1);
  expect(sample.pods[0]!.row?.use).toBeDefined();
  expect(sample.pods[0]!.sandbox?.row.use).toBeDefined();
  expect(sample.pods[0]!.containers.map((c) => c.target.name)).toEqual(['c']);
  expect(sample.root.details).toBeUndefined();
});

test('who asks within the age shares a look, also at the same time', async () => {
  await Promise.all([sampler.sample('use', 5_000), sampler.sample('use', 5_000), sampler.sample('details', 5_000)]);
  expect(cgroups.groups.get('/')).toMatchObject({ uses: 1, detailReads: 1 });
  await clock.advance(4_999);
  await sampler.sample('use', 5_000);
  expect(cgroups.groups.get('/')!.uses).toBe(1);
  await clock.advance(1);
  await sampler.sample('use', 5_000);
  expect(cgroups.groups.get('/')).toMatchObject({ uses: 2, detailReads: 1 });
});

test('a pod that came since is read although the look is young', async () => {
  targets = [];
  await sampler.sample('details', 5_000);
  targets = [fakeTarget(['c'])];
  const sample = await sampler.sample('details', 5_000);
  expect(sample.pods[0]!.containers[0]!.row.details?.maxUsageBytes).toBe(6000);
});

test('what went away between list and look is left out, and forgotten with its pod', async () => {
  await sampler.sample('use', 0);
  cgroups.groups.delete('/kubepods/podu/c');
  const sample = await sampler.sample('use', 0);
  expect(sample.pods[0]!.containers).toEqual([]);
  expect(sample.pods[0]!.sandbox).toBeDefined();
  targets = [];
  expect((await sampler.sample('use', 0)).pods).toEqual([]);
});

test('a container is found under the name that systemd gives its group', async () => {
  cgroups.groups.delete('/kubepods/podu/c');
  cgroups.add('/kubepods/podu/cri-containerd-c.scope');
  const sample = await sampler.sample('use', 0);
  expect(sample.pods[0]!.containers[0]!.row.reader.name).toBe('/kubepods/podu/cri-containerd-c.scope');
});

test('without the root nothing can be said', async () => {
  cgroups.groups.delete('/');
  await expect(sampler.sample('use', 0)).rejects.toThrow(/root cgroup/);
  cgroups.add('/');
  await expect(sampler.sample('use', 0)).resolves.toBeDefined();
});

test('a pod on the network of the host shows the interfaces of the host, which are read once', async () => {
  targets = [fakeTarget(['c'], { spec: { containers: [], hostNetwork: true } })];
  const { root, pods } = await sampler.sample('live', 0);
  expect(root.live!.network).toBeDefined();
  expect(pods[0]!.sandbox!.row.live!.network).toBe(root.live!.network);
  expect(pods[0]!.containers[0]!.row.live!.network).toBeUndefined();
});

test('a rate needs two looks', async () => {
  await clock.advance(10_000_000); // the groups are old
  const first = await sampler.sample('use', 0);
  expect(first.root.usageNanoCores).toBeUndefined();
  cgroups.groups.get('/')!.cpuNs = 3e9;
  await clock.advance(2_000);
  expect((await sampler.sample('use', 0)).root.usageNanoCores).toBe(1.5e9);
  await clock.advance(100); // too close: the rate of before stands
  cgroups.groups.get('/')!.cpuNs = 3.05e9;
  expect((await sampler.sample('use', 0)).root.usageNanoCores).toBe(Math.round((3.05e9 * 1000) / 2_100));
});

test('a rate over minutes says nothing about now, and a counter that went back is no negative rate', async () => {
  await clock.advance(10_000_000);
  await sampler.sample('use', 0);
  await clock.advance(120_001);
  expect((await sampler.sample('use', 0)).root.usageNanoCores).toBeUndefined();
  cgroups.groups.get('/')!.cpuNs = -5;
  await clock.advance(1_000);
  expect((await sampler.sample('use', 0)).root.usageNanoCores).toBe(0);
});

test('a young group had used nothing when it was made', async () => {
  await clock.advance(10_000);
  const made = clock.now() - 4_000;
  cgroups.groups.get('/kubepods/podu/c')!.cpuNs = 2e9;
  const [target] = targets;
  targets = [{ ...target!, containers: target!.containers.map((c) => ({ ...c, createdAtMs: made })) }];
  const sample = await sampler.sample('use', 0);
  expect(sample.pods[0]!.containers[0]!.row.usageNanoCores).toBe(0.5e9);
});

test('limits are read again after half a minute, details of sandboxes after one', async () => {
  await sampler.sample('details', 0);
  cgroups.groups.get('/kubepods/podu')!.spec = { ...cgroups.groups.get('/')!.spec, memoryLimitBytes: 77 };
  await clock.advance(29_000);
  expect((await sampler.sample('details', 0)).pods[0]!.row!.spec?.memoryLimitBytes).toBeUndefined();
  await clock.advance(1_000);
  expect((await sampler.sample('details', 0)).pods[0]!.row!.spec?.memoryLimitBytes).toBe(77);
  expect(cgroups.groups.get('/kubepods/podu/box')!.detailReads).toBe(1);
  await clock.advance(30_000);
  await sampler.sample('details', 0);
  expect(cgroups.groups.get('/kubepods/podu/box')!.detailReads).toBe(2);
  expect(cgroups.groups.get('/kubepods/podu/c')!.detailReads).toBe(4);
});
