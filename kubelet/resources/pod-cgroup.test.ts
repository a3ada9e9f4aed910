import { expect, test } from 'vitest';
import type { Pod, ResourceRequirements } from '../../api/pod.ts';
import { silentLog } from '../../core/log.ts';
import {
  cgroupName,
  millisToQuotaUs,
  millisToShares,
  type PodCgroupOptions,
  PodCgroups,
  podCgroupLimits,
  podCgroupParts,
} from './pod-cgroup.ts';

const opts: PodCgroupOptions = {
  cgroupsPerQos: true,
  driver: 'cgroupfs',
  root: '/',
  cpuCfsQuota: true,
  cpuPeriodUs: 100_000,
  podPidsLimit: 0,
  allPods: { memoryBytes: 1 << 30, cpuMillis: 2000 },
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

test('CPU conversions', () => {
  expect([0, 1, 1000, 10_000_000].map(millisToShares)).toEqual([2, 2, 1024, 262_144]);
  expect([0, 1, 500].map((m) => millisToQuotaUs(m, 100_000))).toEqual([0, 1000, 50_000]);
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
