import { expect, test } from 'vitest';
import type { Container, Pod } from '../../api/pod.ts';
import { containerResources, oomScoreAdj, type ResourceSettings } from './resources.ts';

const GiB = 2 ** 30;
const settings: ResourceSettings = {
  memoryCapacityBytes: 10 * GiB,
  enforceCpuLimits: true,
  cpuPeriodUs: 100_000,
  cgroupVersion: 1,
  singleProcessOomKill: true,
  hugepageSizes: [],
};

const resources = (
  own: Container['resources'],
  more: Partial<ResourceSettings> = {},
  podLevel?: Container['resources'],
) => {
  const container: Container = { name: 'c', ...(own ? { resources: own } : {}) };
  const pod: Pod = { spec: { containers: [container], ...(podLevel ? { resources: podLevel } : {}) } };
  return containerResources(pod, container, { ...settings, ...more });
};

test('a limit beyond what a number of 64 bits can tell is told as the largest, not as a negative one', () => {
  const told = resources({ limits: { memory: '8Ei' } }).memoryLimitInBytes!;
  expect(BigInt.asIntN(64, BigInt(told as number))).toBeGreaterThan(2n ** 62n);
});

test.each<[string, ReturnType<typeof resources>, object]>([
  [
    'nothing asked',
    resources(undefined),
    { cpuShares: 2, cpuPeriod: 100_000, cpuQuota: 0, memoryLimitInBytes: 0, oomScoreAdj: 1000 },
  ],
  [
    'limit without request weighs as the limit',
    resources({ limits: { cpu: '500m' } }),
    { cpuShares: 512, cpuQuota: 50_000 },
  ],
  [
    'request and limit',
    resources({ requests: { cpu: '100m' }, limits: { cpu: '1', memory: '64Mi' } }),
    { cpuShares: 102, cpuQuota: 100_000, memoryLimitInBytes: 64 * 2 ** 20 },
  ],
  ['a request of zero', resources({ requests: { cpu: '0' }, limits: { cpu: '1' } }), { cpuShares: 2 }],
  ['no enforcement', resources({ limits: { cpu: '1' } }, { enforceCpuLimits: false }), { cpuShares: 1024 }],
  ['limits of the pod', resources(undefined, {}, { limits: { memory: '1Gi' } }), { memoryLimitInBytes: GiB }],
  [
    'huge pages',
    resources({ limits: { 'hugepages-2Mi': '4Mi' } }, { hugepageSizes: ['2MB', '1GB'] }),
    {
      hugepageLimits: [
        { pageSize: '2MB', limit: 4 * 2 ** 20 },
        { pageSize: '1GB', limit: 0 },
      ],
    },
  ],
  [
    'cgroup v2',
    resources(undefined, {
      cgroupVersion: 2,
      singleProcessOomKill: false,
      swap: { limited: false, nodeMemoryBytes: GiB, nodeSwapBytes: GiB },
    }),
    { unified: { 'memory.oom.group': '1', 'memory.swap.max': '0' } },
  ],
  [
    'limited swap',
    resources(
      { requests: { memory: '256Mi' } },
      { cgroupVersion: 2, swap: { limited: true, nodeMemoryBytes: GiB, nodeSwapBytes: 2 * GiB } },
    ),
    { unified: { 'memory.swap.max': String(GiB / 2) } },
  ],
])('%s', (_, got, want) => {
  expect(got).toMatchObject(want);
});

const memory = (name: string, request?: string, more: Partial<Container> = {}): Container => ({
  name,
  ...(request ? { resources: { requests: { memory: request } } } : {}),
  ...more,
});
test.each<[string, Pod['spec'], string, number]>([
  ['best effort', { containers: [memory('a')] }, 'a', 1000],
  ['a tenth of the node', { containers: [memory('a', '1Gi')] }, 'a', 900],
  ['next to nothing', { containers: [memory('a', '1')] }, 'a', 999],
  ['burstable beside another', { containers: [memory('a', '1Gi'), memory('b')] }, 'b', 999],
  ['more than the node', { containers: [memory('a', '20Gi')] }, 'a', 3],
  [
    'guaranteed',
    {
      containers: [
        { name: 'a', resources: { requests: { cpu: '1', memory: '1Gi' }, limits: { cpu: '1', memory: '1Gi' } } },
      ],
    },
    'a',
    -997,
  ],
  [
    'node critical',
    { priority: 2_000_001_000, priorityClassName: 'system-node-critical', containers: [memory('a')] },
    'a',
    -997,
  ],
  [
    'critical for the cluster alone',
    { priority: 2_000_000_000, priorityClassName: 'system-cluster-critical', containers: [memory('a')] },
    'a',
    1000,
  ],
  [
    'a sidecar is as safe as the smallest regular container',
    {
      containers: [memory('a', '2Gi'), memory('b', '5Gi')],
      initContainers: [memory('s', undefined, { restartPolicy: 'Always' })],
    },
    's',
    800,
  ],
  [
    'unclaimed pod memory is shared',
    { resources: { requests: { memory: '4Gi' } }, containers: [memory('a'), memory('b')] },
    'a',
    800,
  ],
])('oom_score_adj: %s', (_, spec, name, want) => {
  const pod: Pod = { spec: spec! };
  const all = [...spec!.containers, ...(spec!.initContainers ?? [])];
  expect(oomScoreAdj(pod, all.find((c) => c.name === name)!, 10 * GiB)).toBe(want);
});

test('oom_score_adj: a static pod that names the class is node critical, though nobody looked its priority up', () => {
  const manifest: Pod = {
    metadata: { annotations: { 'kubernetes.io/config.source': 'file' } },
    spec: { priorityClassName: 'system-node-critical', containers: [memory('a')] },
  };
  expect(oomScoreAdj(manifest, manifest.spec!.containers[0]!, 10 * GiB)).toBe(-997);
  expect(oomScoreAdj({ spec: manifest.spec! }, manifest.spec!.containers[0]!, 10 * GiB)).toBe(1000);
});
