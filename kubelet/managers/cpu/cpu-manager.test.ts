import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Container, Pod } from '../../../api/pod.ts';
import { silentLog } from '../../../core/log.ts';
import { formatCpuSet, parseCpuSet } from '../cpu-set.ts';
import { container, fakeMachine, figures, type MachineShape, newMetrics, podOf } from '../fake-machine.ts';
import type { TopologyHint } from '../hint-provider.ts';
import { nodesIn } from '../numa-mask.ts';
import { admittedContainers } from '../pod-resources.ts';
import { CpuLayout } from './cpu-layout.ts';
import { CpuManager, reservedCpus } from './cpu-manager.ts';
import { type CpuPolicyOptions, NO_CPU_POLICY_OPTIONS } from './cpu-policy-options.ts';

let rootDir: string;
let poolChanges: number;
let granted: string[];

beforeEach(async () => {
  rootDir = await mkdtemp(path.join(tmpdir(), 'cpu-manager-'));
  poolChanges = 0;
  granted = [];
});

afterEach(async () => {
  await rm(rootDir, { recursive: true, maxRetries: 5 }); // a save may still be under way
});

const ANYWHERE: TopologyHint = { nodes: undefined, preferred: false };

async function open(shape: MachineShape, reserved = '0', policy: Partial<CpuPolicyOptions> = {}) {
  const { registry, metrics } = newMetrics();
  const manager = await CpuManager.open(
    {
      rootDir,
      layout: new CpuLayout(fakeMachine(shape)),
      reserved: parseCpuSet(reserved),
      policy: { ...NO_CPU_POLICY_OPTIONS, ...policy },
      keepCpuQuota: false,
    },
    {
      metrics,
      onPoolChanged: () => void poolChanges++,
      onGranted: (uid, name, cpuset) => void granted.push(`${uid}/${name}=${cpuset}`),
      log: silentLog,
    },
  );
  return { manager, registry };
}

async function admit(manager: CpuManager, pod: Pod, hint = ANYWHERE) {
  for (const c of admittedContainers(pod)) {
    const refusal = await manager.allocate(pod, c, hint);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

const cpusOf = (manager: CpuManager, pod: Pod, name: string) => manager.grant(pod, name)?.cpusetCpus;

test('a container that asks for whole CPUs has them alone, all others share the rest', async () => {
  const { manager, registry } = await open({ cores: 4 });
  const [exclusive, shared] = [podOf('a', [container('main', '2')]), podOf('b', [container('main', '1500m')])];
  expect(await admit(manager, exclusive)).toBeUndefined();
  expect(await admit(manager, shared)).toBeUndefined();
  expect(manager.grant(exclusive, 'main')).toEqual({ cpusetCpus: '1-2' });
  expect(manager.grant(shared, 'main')).toEqual({ cpusetCpus: '0,3' });
  expect(manager.exclusiveCpus('a', 'main')).toEqual([1, 2]);
  expect(manager.exclusiveCpus('b', 'main')).toEqual([]);
  expect(manager.allocatableCpus()).toEqual([1, 2, 3]);
  expect([manager.hasUnlimitedCpus(exclusive), manager.hasUnlimitedCpus(shared)]).toEqual([true, false]);
  expect(['main', 'debugger'].map((name) => manager.hasUnlimitedCpus(exclusive, name))).toEqual([true, false]);
  expect(granted).toEqual(['a/main=1-2', 'b/main=0,3']);
  expect(await figures(registry, 'kubelet_cpu_manager_shared_pool_size_millicores')).toEqual(['1000']);
  expect(await figures(registry, 'kubelet_cpu_manager_exclusive_cpu_allocation_count')).toEqual(['2']);
  expect(await figures(registry, 'kubelet_cpu_manager_pinning_requests_total')).toEqual(['1']);
  manager.forget('a');
  manager.forget('a');
  expect(cpusOf(manager, shared, 'main')).toBe('0-3');
  expect(poolChanges).toBe(2);
  expect(await figures(registry, 'kubelet_cpu_manager_exclusive_cpu_allocation_count')).toEqual(['0']);
});

test.each<[string, Pod]>([
  ['part of a CPU', podOf('p', [container('main', '1500m')])],
  ['a burstable pod', podOf('p', [{ name: 'main', resources: { requests: { cpu: '2' }, limits: { cpu: '3' } } }])],
  ['no resources', podOf('p', [{ name: 'main' }])],
  [
    'resources of the pod as a whole',
    { ...podOf('p', []), spec: { containers: [container('main', '1')], resources: { limits: { cpu: '1' } } } },
  ],
])('shares: %s', async (_, pod) => {
  const { manager } = await open({ cores: 4 });
  expect(manager.concerns(pod)).toBe(false);
  expect(manager.containerHints(pod, pod.spec!.containers[0]!)).toEqual(new Map());
  await admit(manager, pod);
  expect([...manager.uids()]).toEqual([]);
});

test('too few CPUs refuse the pod, in the words of the kubelet', async () => {
  const { manager, registry } = await open({ cores: 4 });
  await expect(admit(manager, podOf('a', [container('main', '4')]))).rejects.toThrow(
    'not enough cpus available to satisfy request: requested=4, available=3',
  );
  expect(await figures(registry, 'kubelet_cpu_manager_pinning_errors_total')).toEqual(['1']);
});

test('CPUs of init containers are used again, those of sidecars are not', async () => {
  const { manager } = await open({ cores: 6 });
  const pod = podOf(
    'a',
    [container('main', '2'), container('second', '1')],
    [
      container('first', '2'),
      { ...container('sidecar', '1'), restartPolicy: 'Always' as const },
      container('another', '3'),
    ],
  );
  await admit(manager, pod);
  const own = Object.fromEntries(admittedContainers(pod).map((c) => [c.name, cpusOf(manager, pod, c.name)]));
  expect(own).toEqual({ first: '1-2', sidecar: '1', another: '2-4', main: '2-3', second: '4' });
  expect(cpusOf(manager, podOf('b', []), 'x')).toBe('0,5');
  manager.forget('a');
  expect(cpusOf(manager, podOf('b', []), 'x')).toBe('0-5');
});

test('what was given is on disk when the pod is let in, and goes on after a kill', async () => {
  const { manager } = await open({ cores: 4 });
  const pod = podOf('a', [container('main', '1'), container('other', '1')]);
  await admit(manager, pod);
  const file = path.join(rootDir, 'cpu_manager_state');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const written = JSON.parse(await readFile(file, 'utf8'));
  expect(written).toMatchObject({ defaultCpuSet: '0,3', entries: { a: { main: '1', other: '2' } } });
  const next = (await open({ cores: 4 })).manager;
  await admit(next, pod); // the next agent admits it again
  expect([cpusOf(next, pod, 'main'), cpusOf(next, pod, 'other')]).toEqual(['1', '2']);
  expect(next.containerHints(pod, pod.spec!.containers[0]!)).toEqual(
    new Map([['cpu', [{ nodes: 1n, preferred: true }]]]),
  );
  await admit(next, podOf('b', [container('main', '1')]));
  expect(next.exclusiveCpus('b', 'main')).toEqual([3]);
});

test('a pod that was let in half-way gives all of it back', async () => {
  const { manager } = await open({ cores: 4 });
  const pod = podOf('a', [container('main', '2'), container('other', '2')]);
  await expect(admit(manager, pod)).rejects.toThrow('not enough cpus');
  manager.forget('a');
  expect(manager.cpusetOf('x', 'y')).toBe('0-3');
});

test.each([
  ['{"policyName":"none","defaultCpuSet":"","checksum":1353318690}', 'differs from state checkpoint policy "none"'],
  ['garbage', 'could not restore state from checkpoint'],
  ['', 'could not restore state from checkpoint'],
  ['{"policyName":"static","defaultCpuSet":"0-1","checksum":0}', 'current set of available CPUs "0-3"'],
])('a state file that cannot be gone on with ends the agent: %s', async (text, why) => {
  const file = path.join(rootDir, 'cpu_manager_state');
  await writeFile(file, text);
  await expect(open({ cores: 4 })).rejects.toMatchObject({
    code: 'MANAGER_STATE_INVALID',
    message: expect.stringContaining(why),
    hint: `drain the node, remove ${file}, start the agent again`,
  });
});

test('with strict reservation nobody runs on reserved CPUs', async () => {
  const { manager } = await open({ cores: 4 }, '0', { strictReservation: true });
  expect(manager.cpusetOf('x', 'y')).toBe('1-3');
  await admit(manager, podOf('a', [container('main', '3')]));
  expect(manager.grant(podOf('b', []), 'x')).toBeUndefined(); // nothing is left to share
});

test('whole cores alone: what does not fill them is refused', async () => {
  const { manager, registry } = await open({ cores: 4, threads: 2 }, '0', { fullPcpusOnly: true });
  expect(await admit(manager, podOf('a', [container('main', '3')]))).toEqual({
    reason: 'SMTAlignmentError',
    message: 'SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2',
  });
  expect(await admit(manager, podOf('b', [container('main', '6')]))).toBeUndefined();
  // CPU 4 is the other thread of the reserved core.
  expect(await admit(manager, podOf('c', [container('main', '2')]))).toEqual({
    reason: 'SMTAlignmentError',
    message:
      'SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 0, requested CPUs = 2, CPUs per core = 2',
  });
  expect(await figures(registry, 'kubelet_container_aligned_compute_resources_count')).toContain(
    '{scope="container",boundary="physical_cpu"} 1',
  );
  expect(await figures(registry, 'kubelet_container_aligned_compute_resources_failure_count')).toContain(
    '{scope="container",boundary="physical_cpu"} 2',
  );
});

function hintText(hints: readonly TopologyHint[] | 'any' | undefined): string {
  if (hints === undefined || hints === 'any') return String(hints);
  return hints.map(({ nodes, preferred }) => `${nodesIn(nodes!).join('')}${preferred ? '+' : ''}`).join(' ');
}

test('hints: nodes that have enough, the fewest that could have are preferred', async () => {
  const { manager } = await open({ sockets: 2, cores: 4 });
  const hints = (cpu: string) => {
    const pod = podOf('p', [container('main', cpu)]);
    return hintText(manager.containerHints(pod, pod.spec!.containers[0]!).get('cpu'));
  };
  expect(hints('3')).toBe('0+ 1+ 01');
  expect(hints('4')).toBe('1+ 01');
  expect(hints('5')).toBe('01+');
  expect(hints('8')).toBe('');
  await admit(manager, podOf('a', [container('main', '2')]), { nodes: 2n, preferred: true });
  expect(manager.exclusiveCpus('a', 'main')).toEqual([4, 5]);
  expect(hints('3')).toBe('0+ 01');
  expect(hints('4')).toBe('01');
});

test('hints for a pod as a whole', async () => {
  const { manager } = await open({ sockets: 2, cores: 4 });
  const pod = podOf('p', [container('one', '2'), container('two', '2')], [container('init', '3')]);
  expect(hintText(manager.podHints(pod).get('cpu'))).toBe('1+ 01');
  await admit(manager, pod, { nodes: 2n, preferred: true });
  expect(manager.exclusiveCpus('p', 'one')).toEqual([4, 5]);
  expect(hintText(manager.podHints(pod).get('cpu'))).toBe('1+ 01');
});

test.each(['1', '3'])('another amount than was given fits nowhere: %s instead of 2', async (amount) => {
  const { manager } = await open({ cores: 4 });
  await admit(manager, podOf('a', [container('main', '2')]));
  const other = podOf('a', [container('main', amount)]);
  expect(manager.containerHints(other, other.spec!.containers[0]!)).toEqual(new Map([['cpu', []]]));
  expect(manager.podHints(other)).toEqual(new Map([['cpu', []]]));
});

test('never two owners of one CPU; pool, reserved and exclusive ones are all there are', async () => {
  let seed = 3;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const shape = { sockets: 2, cores: 4, threads: 2 };
  const { manager } = await open(shape, '0,8');
  const alive = new Set<string>();
  for (let round = 0; round < 120; round++) {
    if (random(3) === 0 && alive.size > 0) {
      const uid = [...alive][random(alive.size)]!;
      alive.delete(uid);
      manager.forget(uid);
    } else {
      const uid = `pod-${round}`;
      const some = (n: number, prefix: string): Container[] =>
        Array.from({ length: n }, (_, i) => container(`${prefix}${i}`, String(1 + random(4))));
      const pod = podOf(uid, some(1 + random(2), 'main'), some(random(2), 'init'));
      try {
        await admit(manager, pod, { nodes: random(2) === 0 ? undefined : BigInt(1 + random(3)), preferred: true });
        alive.add(uid);
      } catch {
        manager.forget(uid); // as admission does
      }
    }
    const owners = new Map<number, string>();
    for (const uid of alive) {
      for (const name of ['main0', 'main1']) {
        for (const cpu of manager.exclusiveCpus(uid, name)) {
          expect(owners.get(cpu)).toBeUndefined();
          owners.set(cpu, uid);
        }
      }
      for (const cpu of manager.exclusiveCpus(uid, 'init0')) {
        expect(owners.get(cpu) ?? uid).toBe(uid); // an init container shares with its own pod's alone
        owners.set(cpu, uid);
      }
    }
    const pool = parseCpuSet(manager.cpusetOf('nobody', 'x'));
    expect([...owners.keys()].filter((cpu) => pool.has(cpu) || cpu === 0 || cpu === 8)).toEqual([]);
    expect(formatCpuSet(new Set([...pool, ...owners.keys()]))).toBe('0-15');
  }
});

test('reserved CPUs: those that are named, else whole cores from the first on', () => {
  const layout = new CpuLayout(fakeMachine({ cores: 4, threads: 2 }));
  const reserve = (named: string, millis: number) => formatCpuSet(reservedCpus(layout, parseCpuSet(named), millis));
  expect(reserve('', 500)).toBe('0');
  expect(reserve('', 1500)).toBe('0,4');
  expect(reserve('', 2100)).toBe('0-1,4');
  expect(reserve('3,7', 2000)).toBe('3,7');
  expect(() => reserve('', 0)).toThrow('greater than zero');
  expect(() => reserve('', 9000)).toThrow('unable to reserve 9 CPUs of 8');
  expect(() => reserve('8', 1000)).toThrow('are not all online');
});
