import { beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { CgroupLimits, CgroupTree } from '../../host/cgroup.ts';
import { FakeEvents } from '../fake-managers.ts';
import { type AllocatableSettings, allPodsLimits, reservedCgroups } from './node-allocatable.ts';
import { NodeCgroups } from './node-cgroups.ts';

const GIB = 2 ** 30;
const CAPACITY = { cpuMillis: 4000, memoryBytes: 8 * GIB, pids: 32_768, hugetlbBytes: { '2MB': 16 << 20 }, cpus: '' };
const settings = (more: Partial<AllocatableSettings> = {}): AllocatableSettings => ({
  systemReserved: { cpu: '500m', memory: '1Gi', pid: '1000' },
  kubeReserved: { cpu: '500m', memory: '512Mi', 'ephemeral-storage': '1Gi' },
  enforce: new Set(['pods']),
  systemReservedCgroup: '/system.slice',
  kubeReservedCgroup: '/kube.slice',
  ...more,
});

describe('what all pods together may use', () => {
  test.each<[string, Partial<AllocatableSettings>, CgroupLimits]>([
    [
      'what is not reserved',
      {},
      { cpuShares: 3072, memoryBytes: 6.5 * GIB, pids: 31_768, hugetlbBytes: CAPACITY.hugetlbBytes },
    ],
    [
      'everything where that is not enforced',
      { enforce: new Set(['none']) },
      { cpuShares: 4096, memoryBytes: 8 * GIB, pids: 32_768, hugetlbBytes: CAPACITY.hugetlbBytes },
    ],
    ['nothing where more is reserved than there is', { kubeReserved: { memory: '80Gi' } }, { memoryBytes: 0 }],
  ])('%s', (_, more, limits) => {
    expect(allPodsLimits(CAPACITY, settings(more))).toMatchObject(limits);
  });

  test('all CPUs where no pod has its own', () => {
    expect(allPodsLimits(CAPACITY, settings())).not.toHaveProperty('cpus');
    expect(allPodsLimits({ ...CAPACITY, cpus: '0-3' }, settings())).toMatchObject({ cpus: '0-3' });
  });
});

describe('what is reserved', () => {
  test.each<[string, string[], string, CgroupLimits | undefined]>([
    ['nothing is held to it by default', ['pods'], 'system', undefined],
    [
      'the system, to all of it',
      ['pods', 'system-reserved'],
      'system',
      { cpuShares: 512, memoryBytes: GIB, pids: 1000, hugetlbBytes: { '2MB': 0 } },
    ],
    ['the system, to its CPU alone', ['system-reserved-compressible'], 'system', { cpuShares: 512 }],
    ['Kubernetes', ['kube-reserved'], 'kube', { cpuShares: 512, memoryBytes: GIB / 2, hugetlbBytes: { '2MB': 0 } }],
  ])('%s', (_, enforce, kind, limits) => {
    const found = reservedCgroups(settings({ enforce: new Set(enforce) }), {
      hugepageSizes: ['2MB'],
      keepsMemory: false,
    }).find((r) => r.kind === kind);
    expect(found?.limits).toEqual(limits);
  });
});

describe('the cgroups of the node', () => {
  let events: FakeEvents;
  let clock: FakeClock;
  let written: string[];
  let refusal: Error | undefined;
  beforeEach(() => {
    events = new FakeEvents();
    clock = new FakeClock();
    written = [];
    refusal = undefined;
  });

  function nodeCgroups(existing: readonly string[] = [], podsCgroup: string | undefined = '/kubepods'): NodeCgroups {
    const setLimits = async (name: string, limits: CgroupLimits) => {
      if (refusal !== undefined) throw refusal;
      written.push(`${name} ${JSON.stringify(limits)}`);
    };
    const reserved = [{ kind: 'system', cgroup: '/system.slice', limits: { cpuShares: 512 } }];
    return new NodeCgroups(
      { podsCgroup, podsLimits: { memoryBytes: GIB }, reserved },
      {
        tree: { setLimits } as unknown as CgroupTree,
        fs: { exists: async (name) => existing.includes(name) },
        events,
        node: { kind: 'Node', name: 'n1' },
        clock,
        log: silentLog,
      },
    );
  }
  const told = () => events.events.map((e) => `${e.type} ${e.reason} ${e.message}`);

  test('all pods together are limited once', async () => {
    await nodeCgroups().run(new AbortController().signal);
    expect(written).toEqual([`/kubepods {"memoryBytes":${GIB}}`]);
    expect(told()).toEqual(['Normal NodeAllocatableEnforced Updated Node Allocatable limit across pods']);
  });

  test('what the kernel refuses is tried again every minute, and told', async () => {
    refusal = new Error('EBUSY');
    const running = nodeCgroups().run(new AbortController().signal);
    await clock.advance(59_999);
    const failed = 'Failed to update Node Allocatable Limits ["kubepods"]: EBUSY';
    expect(told()).toEqual([`Warning FailedNodeAllocatableEnforcement ${failed}`]);
    refusal = undefined;
    await clock.advance(1);
    await running;
    expect(told().at(-1)).toMatch(/^Normal NodeAllocatableEnforced/);
  });

  test('without groups of pods there is nothing to limit', async () => {
    const cgroups = nodeCgroups([], undefined);
    const stop = new AbortController();
    stop.abort();
    await cgroups.run(stop.signal);
    expect(written).toEqual([]);
  });

  test('what is reserved is limited where it is there', async () => {
    await nodeCgroups(['/system.slice']).enforceReserved();
    expect(written).toEqual(['/system.slice {"cpuShares":512}']);
    expect(told()).toEqual(['Normal NodeAllocatableEnforced Updated limits on system reserved cgroup /system.slice']);
  });

  test('a group that is not there, or refuses, keeps the agent from starting', async () => {
    const message =
      'Failed to enforce System Reserved Cgroup Limits on "/system.slice": "/system.slice" cgroup does not exist';
    await expect(nodeCgroups().enforceReserved()).rejects.toMatchObject({ code: 'RESERVED_CGROUP_FAILED', message });
    expect(told()).toEqual([`Warning FailedNodeAllocatableEnforcement ${message}`]);
    refusal = new Error('EBUSY');
    await expect(nodeCgroups(['/system.slice']).enforceReserved()).rejects.toThrow('EBUSY');
  });
});
