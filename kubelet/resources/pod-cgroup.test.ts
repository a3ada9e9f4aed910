import { expect, test } from 'vitest';
import type { Pod, ResourceRequirements } from '../../api/pod.ts';
import { silentLog } from '../../core/log.ts';
import type { CgroupFs, CgroupLimits } from '../../host/cgroup.ts';
import {
  cgroupName,
  expandSlice,
  type PodCgroupOptions,
  PodCgroups,
  podCgroupLimits,
  podCgroupParts,
  podUidOf,
} from './pod-cgroup.ts';

const opts: PodCgroupOptions = {
  cgroupsPerQos: true,
  driver: 'cgroupfs',
  root: '/',
  cpuCfsQuota: true,
  cpuPeriodUs: 100_000,
  podPidsLimit: 0,
};

function podOf(...containers: ResourceRequirements[]): Pod {
  return {
    metadata: { uid: 'a-1', name: 'p', namespace: 'n' },
    spec: { containers: containers.map((resources, i) => ({ name: `c${i}`, resources })) },
  };
}

test.each([
  ['cgroupfs', '/', 'Guaranteed', '/kubepods/poda-1'],
  ['cgroupfs', '/lab/', 'Burstable', '/lab/kubepods/burstable/poda-1'],
  ['systemd', '/', 'Guaranteed', '/kubepods.slice/kubepods-poda_1.slice'],
  ['systemd', '/', 'BestEffort', '/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda_1.slice'],
] as const)('%s below %s, %s', (driver, root, qos, expected) => {
  expect(cgroupName(driver, root, podCgroupParts(qos, 'a-1'))).toBe(expected);
});

test('limits by QoS class', () => {
  const full = { requests: { cpu: '500m', memory: '64Mi' }, limits: { cpu: '500m', memory: '64Mi' } };
  expect(podCgroupLimits(podOf(full), opts)).toEqual({
    cpuShares: 512,
    cpuQuotaUs: 50_000,
    cpuPeriodUs: 100_000,
    memoryBytes: 64 << 20,
  });
  expect(podCgroupLimits(podOf(full, { requests: { cpu: '100m' } }), opts)).toEqual({ cpuShares: 614 });
  expect(podCgroupLimits(podOf({}), { ...opts, podPidsLimit: 50 })).toEqual({ cpuShares: 2, pids: 50 });
  expect(podCgroupLimits(podOf(full), { ...opts, cpuCfsQuota: false }).cpuQuotaUs).toBe(-1);
});

test('without cgroups the parent is left to the runtime', () => {
  expect(new PodCgroups(opts, { fs: undefined, log: silentLog }).cgroupParentOf(podOf({}))).toBe('');
  const off = { ...opts, cgroupsPerQos: false, root: '/lab' };
  expect(new PodCgroups(off, { fs: undefined, log: silentLog }).cgroupParentOf(podOf({}))).toBe('/lab');
});

/** Groups as a kernel has them, with what was written. */
class FakeGroups {
  readonly hierarchies = { version: 1, mounts: new Map() } as const;
  readonly groups = new Map<string, CgroupLimits>();
  readonly writes: CgroupLimits[] = [];
  usageBytes = 0;

  async make(name: string): Promise<boolean> {
    if (this.groups.has(name)) return false;
    this.groups.set(name, {});
    return true;
  }

  async ensure(name: string, limits: CgroupLimits): Promise<void> {
    await this.make(name);
    await this.setLimits(name, limits);
  }

  async setLimits(name: string, limits: CgroupLimits): Promise<void> {
    this.groups.set(name, { ...this.groups.get(name), ...limits });
    this.writes.push(limits);
  }

  async readMemory(name: string) {
    return { usageBytes: this.usageBytes, limitBytes: this.groups.get(name)?.memoryBytes ?? -1 };
  }

  async remove(name: string): Promise<void> {
    this.groups.delete(name);
  }

  /** An agent that finds these groups. */
  agent(): PodCgroups {
    return new PodCgroups(opts, { fs: this as unknown as CgroupFs, log: silentLog });
  }
}

const using = (memory: string) => podOf({ requests: { cpu: '1', memory }, limits: { cpu: '1', memory } });
const GROUP = '/kubepods/poda-1';

test('the limits of a pod are written once, and again when they are others or the group has gone', async () => {
  const groups = new FakeGroups();
  const cgroups = groups.agent();
  for (let i = 0; i < 3; i++) await cgroups.ensurePodCgroup(using('64Mi'));
  expect(groups.writes).toHaveLength(1);
  await cgroups.ensurePodCgroup(using('128Mi'));
  expect(groups.groups.get(GROUP)?.memoryBytes).toBe(128 << 20);
  groups.groups.clear();
  await cgroups.ensurePodCgroup(using('128Mi'));
  expect(groups.groups.get(GROUP)?.memoryBytes).toBe(128 << 20);
  await groups.agent().ensurePodCgroup(using('128Mi')); // an agent that died between making and writing
  expect(groups.writes).toHaveLength(4);
});

test('while containers are resized the group is left to who resizes it, unless it is new', async () => {
  const groups = new FakeGroups();
  const cgroups = groups.agent();
  await cgroups.ensurePodCgroup(using('64Mi'), { resizing: true });
  expect(groups.groups.get(GROUP)?.memoryBytes).toBe(64 << 20);
  await cgroups.ensurePodCgroup(using('32Mi'), { resizing: true });
  expect(groups.groups.get(GROUP)?.memoryBytes).toBe(64 << 20);
  await cgroups.setPodLimits(using('48Mi'), { memoryBytes: 48 << 20 });
  await cgroups.ensurePodCgroup(using('48Mi'));
  expect(groups.groups.get(GROUP)).toMatchObject({ memoryBytes: 48 << 20, cpuShares: 1024 });
});

test('a limit below what the pod uses is not written: the kernel would refuse it or kill', async () => {
  const groups = new FakeGroups();
  const cgroups = groups.agent();
  await cgroups.ensurePodCgroup(using('64Mi'));
  groups.usageBytes = 40 << 20;
  await cgroups.ensurePodCgroup(using('32Mi'));
  expect(groups.groups.get(GROUP)?.memoryBytes).toBe(64 << 20);
});

test('what a pod is to have is told in the unit of what it has', () => {
  const groups = new FakeGroups();
  expect(groups.agent().podLimits(using('64Mi'))).toMatchObject({ cpuShares: 1024, share: 1024 });
  const v2 = { ...groups, hierarchies: { version: 2, mounts: new Map() } } as unknown as CgroupFs;
  const cgroups = new PodCgroups(opts, { fs: v2, log: silentLog });
  expect(cgroups.podLimits(using('64Mi'))).toMatchObject({ cpuShares: 1024, share: 39 });
});

test('the burstable level weighs what its pods ask for together, written when that is something else', async () => {
  const groups = new FakeGroups();
  const cgroups = groups.agent();
  const pod = (uid: string, cpu: string): Pod => {
    const { spec } = podOf({ requests: { cpu } });
    return { metadata: { uid, name: uid, namespace: 'n' }, ...(spec === undefined ? {} : { spec }) };
  };
  const shares = () => groups.groups.get('/kubepods/burstable')?.cpuShares;
  await cgroups.ensureTree();
  expect(shares()).toBe(2);
  await Promise.all([cgroups.ensurePodCgroup(pod('a', '1')), cgroups.ensurePodCgroup(pod('b', '500m'))]);
  expect(shares()).toBe(1536);
  const before = groups.writes.length;
  await cgroups.ensurePodCgroup(pod('a', '1'));
  await cgroups.ensurePodCgroup({ ...podOf({}), metadata: { uid: 'c' } });
  await cgroups.ensurePodCgroup(using('64Mi'));
  expect(groups.writes.length - before).toBe(2); // the limits of the two new pods
  await cgroups.ensurePodCgroup(pod('b', '250m')); // resized
  expect(shares()).toBe(1280);
  await groups.agent().ensureTree(); // the pods run on under another agent
  expect(shares()).toBe(1280);
  await cgroups.removePodCgroup('a');
  expect(shares()).toBe(256);
});

test('memory is kept for pods, for their class and for all pods, where that is asked for', async () => {
  const groups = new FakeGroups();
  const agent = (memoryQos?: PodCgroupOptions['memoryQos']) =>
    new PodCgroups({ ...opts, ...(memoryQos && { memoryQos }) }, { fs: groups as unknown as CgroupFs, log: silentLog });
  const kept = (group: string) => {
    const { memoryMinBytes, memoryLowBytes } = groups.groups.get(group)!;
    return [memoryMinBytes, memoryLowBytes];
  };
  const guaranteed = using('64Mi');
  const burstable: Pod = { ...podOf({ requests: { memory: '32Mi' } }), metadata: { uid: 'b' } };
  const MIB = 2 ** 20;

  const keeping = agent({ reserves: true });
  await keeping.ensureTree();
  await keeping.ensurePodCgroup(guaranteed);
  await keeping.ensurePodCgroup(burstable);
  expect(kept(GROUP)).toEqual([64 * MIB, 0]);
  expect(kept('/kubepods/burstable/podb')).toEqual([0, 32 * MIB]);
  expect(kept('/kubepods/burstable')[1]).toBe(32 * MIB);
  expect(kept('/kubepods')[0]).toBe(96 * MIB);
  expect(keeping.keptMemory()).toEqual({ minBytes: 96 * MIB, lowBytes: 32 * MIB });
  await keeping.removePodCgroup('a-1');
  expect(kept('/kubepods')[0]).toBe(32 * MIB);

  const other = agent({ reserves: false }); // the policy is None now
  await other.ensureTree();
  await other.ensurePodCgroup(burstable);
  expect(kept('/kubepods')).toEqual([0, 0]);
  expect(kept('/kubepods/burstable')).toEqual([0, 0]);
  expect(kept('/kubepods/burstable/podb')).toEqual([0, 0]);

  await keeping.ensureTree();
  await agent().ensureTree(); // the gate is off now: what is above counts for all below
  expect(kept('/kubepods')).toEqual([0, 0]);
});

test('huge pages: what a pod asks for, and none of the sizes that it does not ask for', () => {
  const sizes = { ...opts, hugepageSizes: ['2MB', '1GB'] };
  const pages = { 'hugepages-2Mi': '4Mi', memory: '1Mi', cpu: '1' };
  expect(podCgroupLimits(podOf({ requests: pages, limits: pages }), sizes).hugetlbBytes).toEqual({
    '2MB': 4 << 20,
    '1GB': 0,
  });
  expect(podCgroupLimits(podOf({}), sizes).hugetlbBytes).toEqual({ '2MB': 0, '1GB': 0 });
});

test('the QoS classes leave huge pages to their pods', async () => {
  const groups = new FakeGroups();
  const fs = groups as unknown as CgroupFs;
  await new PodCgroups({ ...opts, hugepageSizes: ['2MB'] }, { fs, log: silentLog }).ensureTree();
  expect(groups.groups.get('/kubepods/besteffort')).toEqual({ cpuShares: 2, hugetlbBytes: { '2MB': 2n ** 62n } });
});

test.each([
  ['poda-1', 'a-1'],
  ['kubepods-burstable-poda_1.slice', 'a-1'],
  ['kubepods-pod1f.slice', '1f'],
  ['burstable', undefined],
  ['kubepods-besteffort.slice', undefined],
])('the pod of group %s: %s', (group, uid) => {
  expect(podUidOf(group)).toBe(uid);
});

test('the way to a slice is in its name', () => {
  expect(expandSlice('system.slice')).toBe('/system.slice');
  expect(expandSlice('/runtime-kube.slice')).toBe('/runtime.slice/runtime-kube.slice');
});
