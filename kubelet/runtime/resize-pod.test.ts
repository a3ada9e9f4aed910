// In which order containers and their pod are given more or less, and what is left when a step fails.
import { beforeEach, expect, test } from 'vitest';
import type { Pod, ResourceRequirements } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { ContainerStats, LinuxContainerResources } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import type { CgroupLimits } from '../../host/cgroup.ts';
import { Allocations } from '../resize/allocations.ts';
import { type PodCgroupOptions, podCgroupLimits } from '../resources/pod-cgroup.ts';
import { computeActions } from './compute-actions.ts';
import { fakeContainer, fakeStatus, spec } from './fake-pod-status.ts';
import { PodResizer } from './resize-pod.ts';

const MI = 1024 ** 2;
const signal = new AbortController().signal;
const POD_OPTIONS: PodCgroupOptions = {
  cgroupsPerQos: true,
  driver: 'cgroupfs',
  root: '/',
  cpuCfsQuota: true,
  cpuPeriodUs: 100_000,
  podPidsLimit: 0,
};

const guaranteed = (cpu: string, memory: string): ResourceRequirements => ({
  requests: { cpu, memory },
  limits: { cpu, memory },
});

let steps: string[];
let actuated: Allocations;
let usage: Record<string, number>;
let failing: string | undefined;
/** Of the pod's cgroup now. */
let podNow: { memoryBytes: number; cpuQuotaUs: number; cpuShares: number };

function podOf(containers: Readonly<Record<string, ResourceRequirements>>, more: object = {}): Pod {
  const specs = Object.entries(containers).map(([name, resources]) => spec(name, { resources }));
  return { metadata: { uid: 'u' }, spec: { containers: specs, ...more } };
}

/** The pod runs with `before` and was given `after`. */
async function resize(
  before: Readonly<Record<string, ResourceRequirements>>,
  after: Readonly<Record<string, ResourceRequirements>>,
): Promise<void> {
  for (const [name, resources] of Object.entries(before)) actuated.setContainer('u', name, resources);
  const limits = podCgroupLimits(podOf(before), POD_OPTIONS);
  podNow = { memoryBytes: -1, cpuQuotaUs: -1, cpuShares: 2, ...limits };
  await go(podOf(after));
}

async function go(pod: Pod): Promise<void> {
  const running = (pod.spec?.containers ?? []).map((c) => fakeContainer({ name: c.name, id: c.name }));
  const verdicts = { liveness: () => undefined, startup: () => undefined };
  const actions = computeActions({ pod, status: fakeStatus(running), verdicts, resources: actuated });
  await resizer().resize(pod, actions, signal);
}

function resizer(): PodResizer {
  return new PodResizer({
    runtime: {
      updateContainerResources: async (id: string, linux: Init<LinuxContainerResources>) => {
        if (failing === id) throw new Error('the runtime is not up to it');
        steps.push(`${id} ${linux.cpuShares}/${linux.cpuQuota} ${Number(linux.memoryLimitInBytes) / MI}Mi`);
      },
      containerStats: async (id: string) => {
        const usageBytes = { value: BigInt(usage[id] ?? 0) };
        return { memory: { usageBytes } } as unknown as ContainerStats;
      },
    },
    actuated,
    podCgroups: {
      readPodMemory: async () => ({ usageBytes: usage.pod ?? 0, limitBytes: podNow.memoryBytes }),
      readPodCpu: async () => ({ quotaUs: podNow.cpuQuotaUs, share: podNow.cpuShares }),
      podLimits: (pod) => {
        const limits = podCgroupLimits(pod, POD_OPTIONS);
        return { ...limits, share: limits.cpuShares ?? 2 };
      },
      setPodLimits: async (_, limits: CgroupLimits) => {
        Object.assign(podNow, limits);
        const parts = Object.entries(limits).filter(([name]) => name !== 'cpuPeriodUs');
        steps.push(
          `pod ${parts.map(([name, n]) => `${name}=${name === 'memoryBytes' ? `${n / MI}Mi` : n}`).join(' ')}`,
        );
      },
    },
    resources: {
      memoryCapacityBytes: 1 << 30,
      enforceCpuLimits: true,
      cpuPeriodUs: 100_000,
      cgroupVersion: 1,
      singleProcessOomKill: true,
      hugepageSizes: [],
    },
  });
}

beforeEach(() => {
  steps = [];
  usage = {};
  failing = undefined;
  actuated = new Allocations(undefined, { clock: new FakeClock(0), log: silentLog });
});

test('a pod that grows gets its room before its containers do, memory before cpu', async () => {
  await resize({ a: guaranteed('500m', '64Mi') }, { a: guaranteed('1', '128Mi') });
  expect(steps).toEqual([
    'pod memoryBytes=128Mi',
    'a 512/50000 128Mi',
    'pod cpuQuotaUs=100000 cpuShares=1024',
    'a 1024/100000 128Mi',
  ]);
  expect(actuated.container('u', 'a')).toEqual(guaranteed('1', '128Mi'));
});

test('a pod that shrinks loses its room after its containers did', async () => {
  await resize({ a: guaranteed('1', '128Mi') }, { a: guaranteed('500m', '64Mi') });
  expect(steps).toEqual([
    'a 1024/100000 64Mi',
    'pod memoryBytes=64Mi',
    'a 512/50000 64Mi',
    'pod cpuQuotaUs=50000 cpuShares=512',
  ]);
});

test('who gives something back goes first; a pod that keeps its size is not touched', async () => {
  const before = { a: guaranteed('100m', '64Mi'), b: guaranteed('100m', '96Mi') };
  await resize(before, { a: guaranteed('100m', '96Mi'), b: guaranteed('100m', '64Mi') });
  expect(steps).toEqual(['b 102/10000 64Mi', 'a 102/10000 96Mi']);
});

test('requests go down and limits up: each at its own side of the containers', async () => {
  const before = { requests: { cpu: '500m' }, limits: { cpu: '1' } };
  await resize({ a: before }, { a: { requests: { cpu: '250m' }, limits: { cpu: '2' } } });
  expect(steps).toEqual(['pod cpuQuotaUs=200000', 'a 256/200000 0Mi', 'pod cpuShares=256']);
});

test('a limit where there was none, in a pod that stays without', async () => {
  const before = { a: { requests: { memory: '32Mi' } }, b: { requests: { memory: '32Mi' } } };
  await resize(before, { ...before, a: { requests: { memory: '32Mi' }, limits: { memory: '64Mi' } } });
  expect(steps).toEqual(['a 2/0 64Mi']);
});

test.each([
  [
    { pod: 70 * MI, a: 66 * MI },
    `[attempting to set pod memory limit (${64 * MI}) below current usage (${70 * MI}), ` +
      `attempting to set container "a" memory limit (${64 * MI}) below current usage (${66 * MI})]`,
  ],
  [
    { pod: 50 * MI, a: 66 * MI },
    `attempting to set container "a" memory limit (${64 * MI}) below current usage (${66 * MI})`,
  ],
  [{ pod: 70 * MI, a: 50 * MI }, `attempting to set pod memory limit (${64 * MI}) below current usage (${70 * MI})`],
])('memory that is used is not taken away: %j', async (used, why) => {
  usage = used;
  const refused = resize({ a: guaranteed('1', '128Mi') }, { a: guaranteed('500m', '64Mi') });
  await expect(refused).rejects.toMatchObject({
    code: 'RESIZE_REFUSED',
    message: `cannot decrease memory limits: ${why}`,
  });
  expect(steps).toEqual([]);
  expect(actuated.container('u', 'a')).toEqual(guaranteed('1', '128Mi'));
});

test('what grows is not asked how much it uses', async () => {
  usage = { pod: 1000 * MI, a: 1000 * MI };
  await resize({ a: guaranteed('1', '64Mi') }, { a: guaranteed('1', '128Mi') });
  expect(steps).toEqual(['pod memoryBytes=128Mi', 'a 1024/100000 128Mi']);
});

test('a step that fails leaves what was done, and the next run does the rest', async () => {
  failing = 'b';
  const after = { a: guaranteed('100m', '96Mi'), b: guaranteed('100m', '96Mi') };
  const failed = resize({ a: guaranteed('100m', '64Mi'), b: guaranteed('100m', '64Mi') }, after);
  await expect(failed).rejects.toThrow('the runtime is not up to it');
  expect(steps).toEqual(['pod memoryBytes=192Mi', 'a 102/10000 96Mi']);
  failing = undefined;
  steps = [];
  await go(podOf(after));
  expect(steps).toEqual(['b 102/10000 96Mi']);
  expect(actuated.container('u', 'b')).toEqual(guaranteed('100m', '96Mi'));
});

test('resources of the pod as a whole: its cgroup, and the containers that have no limits of their own', async () => {
  const own = { a: {}, b: guaranteed('100m', '32Mi') };
  const whole = (cpu: string, memory: string) => ({ resources: { limits: { cpu, memory } } });
  const before = whole('200m', '64Mi');
  for (const [name, resources] of Object.entries(own)) actuated.setContainer('u', name, resources);
  actuated.setPod('u', before.resources);
  podNow = { memoryBytes: -1, cpuQuotaUs: -1, cpuShares: 2, ...podCgroupLimits(podOf(own, before), POD_OPTIONS) };
  const after = whole('300m', '128Mi');
  await go(podOf(own, after));
  expect(steps).toEqual([
    'pod memoryBytes=128Mi',
    'a 204/20000 128Mi', // more cpu than its pod has would be refused by the kernel
    'pod cpuQuotaUs=30000',
    'a 307/30000 128Mi',
  ]);
  expect(actuated.pod('u')).toEqual(after.resources);
});
