import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Pod } from '../../../api/pod.ts';
import { parseQuantity } from '../../../api/quantity.ts';
import { silentLog } from '../../../core/log.ts';
import { container, fakeMachine, figures, newMetrics, podOf } from '../fake-machine.ts';
import type { TopologyHint } from '../hint-provider.ts';
import { nodesIn } from '../numa-mask.ts';
import { admittedContainers } from '../pod-resources.ts';
import { parseMemoryState, renderMemoryState } from './memory-file.ts';
import { MemoryManager } from './memory-manager.ts';
import { hugePageType } from './memory-state.ts';
import { reservedMemory } from './reserved-memory.ts';

const MIB = 2 ** 20;
const ANYWHERE: TopologyHint = { nodes: undefined, preferred: false };

let rootDir: string;

beforeEach(async () => {
  rootDir = await mkdtemp(path.join(tmpdir(), 'memory-manager-'));
});

afterEach(async () => {
  await rm(rootDir, { recursive: true, maxRetries: 5 }); // a save may still be under way
});

/** Two nodes of 1 GiB with 8 huge pages of 2 MiB each; 24 MiB of node 0 are kept: 984 and 1008 MiB can be had. */
async function open(reservedMib = 24) {
  const { nodes } = fakeMachine({ sockets: 2, cores: 2, hugePages: [{ pageBytes: 2 * MIB, count: 8 }] });
  const { registry, metrics } = newMetrics();
  const reserved = new Map([[0, new Map([['memory', reservedMib * MIB]])]]);
  const manager = await MemoryManager.open({ rootDir, nodes, reserved }, { metrics, log: silentLog });
  return { manager, registry };
}

async function admit(manager: MemoryManager, pod: Pod, hint = ANYWHERE): Promise<void> {
  for (const c of admittedContainers(pod)) expect(await manager.allocate(pod, c, hint)).toBeUndefined();
}

const pod = (uid: string, memory: string) => podOf(uid, [container('main', '100m', memory)]);

function hintText(manager: MemoryManager, of: Pod, type = 'memory'): string {
  const hints = manager.containerHints(of, of.spec!.containers[0]!).get(type);
  if (hints === undefined || hints === 'any') return String(hints);
  return hints.map(({ nodes, preferred }) => `${nodesIn(nodes!).join('')}${preferred ? '+' : ''}`).join(' ');
}

test('memory of the first node that has enough, then of the next', async () => {
  const { manager, registry } = await open();
  const [a, b] = [pod('a', '800Mi'), pod('b', '800Mi')];
  expect(hintText(manager, a)).toBe('0+ 1+ 01');
  await admit(manager, a);
  await admit(manager, b);
  expect(manager.grant(a, 'main')).toEqual({ cpusetMems: '0' });
  expect(manager.grant(b, 'main')).toEqual({ cpusetMems: '1' });
  expect(manager.memoryOf('a', 'main')).toEqual([{ type: 'memory', sizeBytes: 800 * MIB, numaNodes: [0] }]);
  expect(await figures(registry, 'kubelet_memory_manager_pinning_requests_total')).toEqual(['2']);
  // Of a manager that is off, which the suite asks for.
  expect(await figures(registry, 'kubelet_cpu_manager_pinning_errors_total')).toEqual(['0']);
  manager.forget('a');
  await admit(manager, pod('c', '900Mi'));
  expect(manager.memoryOf('c', 'main')[0]?.numaNodes).toEqual([0]);
});

test('what no node has is refused in the words of the kubelet; a node that serves alone serves with no other', async () => {
  const { manager, registry } = await open();
  await admit(manager, pod('a', '700Mi'));
  await admit(manager, pod('b', '700Mi'));
  const large = pod('c', '500Mi');
  expect(hintText(manager, large)).toBe('undefined'); // no hint at all, so that the allocation refuses it
  await expect(manager.allocate(large, large.spec!.containers[0]!, ANYWHERE)).rejects.toThrow(
    '[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available',
  );
  expect(await figures(registry, 'kubelet_memory_manager_pinning_errors_total')).toEqual(['1']);
});

test('both nodes together for what one cannot have; they stay together then', async () => {
  const { manager } = await open();
  const large = pod('a', '1200Mi');
  expect(hintText(manager, large)).toBe('01+');
  await admit(manager, large);
  expect(manager.grant(large, 'main')).toEqual({ cpusetMems: '0,1' });
  expect(hintText(manager, pod('b', '100Mi'))).toBe('01'); // neither of them alone
  manager.forget('a');
  expect(hintText(manager, pod('b', '100Mi'))).toBe('0+ 1+ 01');
});

test('a hint that other managers narrowed is widened again', async () => {
  const { manager } = await open();
  const large = pod('a', '1200Mi');
  await admit(manager, large, { nodes: 1n, preferred: false });
  expect(manager.grant(large, 'main')).toEqual({ cpusetMems: '0,1' });
  manager.forget('a');
  await admit(manager, pod('b', '984Mi'));
  const more = pod('c', '100Mi');
  await expect(manager.allocate(more, more.spec!.containers[0]!, { nodes: 1n, preferred: true })).rejects.toThrow(
    '[memorymanager] failed to find NUMA nodes to extend the current topology hint',
  );
});

test('memory of init containers is used again, also for what is told of them', async () => {
  const { manager } = await open();
  const init = [container('first', '100m', '600Mi'), container('second', '100m', '300Mi')];
  const of = podOf('a', [container('main', '100m', '700Mi')], init);
  await admit(manager, of);
  const sizes = ['first', 'second', 'main'].map((name) => manager.memoryOf('a', name)[0]!.sizeBytes / MIB);
  expect(sizes[2]).toBe(700);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(700); // nothing is counted twice
  await admit(manager, pod('b', '284Mi'));
  expect(manager.memoryOf('b', 'main')[0]?.numaNodes).toEqual([0]); // 984 − 700
  await open(); // the file agrees with itself
});

test('huge pages', async () => {
  const { manager } = await open();
  const amounts = { cpu: '100m', memory: '100Mi', 'hugepages-2Mi': '10Mi' };
  const of = podOf('a', [{ name: 'main', resources: { requests: amounts, limits: amounts } }]);
  await admit(manager, of, { nodes: 2n, preferred: true });
  expect(manager.memoryOf('a', 'main')).toEqual([
    { type: 'memory', sizeBytes: 100 * MIB, numaNodes: [1] },
    { type: 'hugepages-2Mi', sizeBytes: 10 * MIB, numaNodes: [1] },
  ]);
  expect(hintText(manager, { ...of, metadata: { uid: 'b' } }, 'hugepages-2Mi')).toBe('0+');
  expect(manager.allocatableMemory()).toContainEqual({
    type: 'hugepages-2Mi',
    sizeBytes: 16 * MIB,
    numaNodes: [1],
  });
});

test('other pods have no memory of their own', async () => {
  const { manager } = await open();
  const burstable = podOf('a', [{ name: 'main', resources: { requests: { memory: '1Gi' } } }]);
  expect(manager.concerns(burstable)).toBe(false);
  await admit(manager, burstable);
  expect(manager.grant(burstable, 'main')).toBeUndefined();
  expect([...manager.uids()]).toEqual([]);
});

test('another agent goes on with what is on disk', async () => {
  const { manager } = await open();
  const of = pod('a', '1200Mi');
  await admit(manager, of);
  expect((await stat(path.join(rootDir, 'memory_manager_state'))).mode & 0o777).toBe(0o600);
  const next = (await open()).manager;
  expect(hintText(next, of)).toBe('01+');
  expect(next.podHints(of)).toEqual(new Map([['memory', [{ nodes: 3n, preferred: true }]]]));
  await admit(next, of);
  expect(next.grant(of, 'main')).toEqual({ cpusetMems: '0,1' });
  next.forget('a');
  expect(hintText(next, pod('b', '1000Mi'))).toBe('1+ 01');
});

test('a machine or a reservation that is another one ends the agent', async () => {
  const { manager } = await open();
  await admit(manager, pod('a', '100Mi'));
  await expect(open(25)).rejects.toMatchObject({
    code: 'MANAGER_STATE_INVALID',
    message: expect.stringContaining('the expected machine state is different from the real one'),
  });
  const file = path.join(rootDir, 'memory_manager_state');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('"size":104857600', '"size":104857601'));
  await expect(open()).rejects.toThrow('checkpoint is corrupted');
});

test('whatever comes and goes: no node gives more than it has, and another agent agrees with the file', async () => {
  let seed = 5;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const { manager } = await open();
  const alive = new Map<string, number>();
  for (let round = 0; round < 60; round++) {
    const gone = [...alive.keys()][random(alive.size + 1)];
    if (gone !== undefined && random(2) === 0) {
      manager.forget(gone);
      alive.delete(gone);
    }
    const sizes = [1 + random(1500), random(600)];
    const init = random(2) === 0 ? [container('init', '100m', `${1 + random(600)}Mi`)] : [];
    const containers = sizes.filter((mib) => mib > 0).map((mib, i) => container(`main${i}`, '100m', `${mib}Mi`));
    const uid = `pod-${round}`;
    try {
      await admit(manager, podOf(uid, containers, init));
      alive.set(uid, 0);
    } catch (err) {
      expect((err as Error).message).toContain('[memorymanager]');
      manager.forget(uid);
      continue;
    }
    const blocks = [...alive.keys()].flatMap((of) =>
      ['init', 'main0', 'main1'].flatMap((n) => manager.memoryOf(of, n)),
    );
    const sum = (nodes: string) =>
      blocks.filter((b) => b.numaNodes.join() === nodes).reduce((total, b) => total + b.sizeBytes / MIB, 0);
    expect(sum('0')).toBeLessThanOrEqual(984);
    expect(sum('1')).toBeLessThanOrEqual(1008);
    expect(sum('0') + sum('1') + sum('0,1')).toBeLessThanOrEqual(1992);
    await open(); // throws when the file does not agree with itself
  }
  expect(alive.size).toBeGreaterThan(0);
});

/** Written by kubelets. */
test.each([
  ['None', '{"policyName":"None","machineState":{},"checksum":4236770233}'],
  [
    'static',
    '{"policyName":"static","machineState":{"0":{"numberOfAssignments":0,"memoryMap":{"memory":{"total":2048,"systemReserved":512,"allocatable":1536,"reserved":512,"free":1024}},"cells":[]}},"entries":{"pod":{"container1":[{"numaAffinity":[0],"type":"memory","size":512}]}},"checksum":4215593881}',
  ],
])('a file of a kubelet (%s) is read, and written as it was', (policy, text) => {
  expect(renderMemoryState(policy, parseMemoryState(text, policy))).toBe(text);
});

test.each([
  '{',
  'null',
  '{"policyName":"Static","machineState":{"0":{}},"checksum":0}',
  '{"policyName":"Static","machineState":{"x":{"numberOfAssignments":0,"memoryMap":{},"cells":[]}},"checksum":0}',
  '{"policyName":"Static","machineState":{},"entries":{"p":{"c":[{"size":-1}]}},"checksum":0}',
  '{"policyName":"Static","machineState":{},"podEntries":{"p":{}},"checksum":0}',
  '{"policyName":"None","machineState":{},"checksum":4236770233}',
])('%s is refused', (text) => {
  expect(() => parseMemoryState(text, 'Static')).toThrow();
});

test('what is kept has to add up to what the node keeps', () => {
  const kept = { memory: parseQuantity('1100Mi'), cpu: parseQuantity('1') };
  const reserve = (...limits: Record<string, string>[]) =>
    reservedMemory(
      limits.map((l, numaNode) => ({ numaNode, limits: l })),
      [0, 1],
      kept,
    );
  expect(reserve({ memory: '1Gi' }, { memory: '76Mi' }).get(1)?.get('memory')).toBe(76 * MIB);
  expect(() => reserve({ memory: '1Gi' })).toThrow(
    'the total amount "1Gi" of type "memory" is not equal to the value "1100Mi" determined by Node Allocatable feature',
  );
  expect(() => reserve({ memory: '1100Mi', 'hugepages-2Mi': '2Mi' })).toThrow('of type "hugepages-2Mi"');
  expect(() => reserve({}, {}, { memory: '1100Mi' })).toThrow('references a NUMA node 2 that does not exist');
  expect(() => reservedMemory([], [0], {})).toThrow('you should specify the system reserved memory');
});

test.each([
  [2 * MIB, 'hugepages-2Mi'],
  [2 ** 30, 'hugepages-1Gi'],
  [64 * 1024, 'hugepages-64Ki'],
])('huge pages of %i bytes are %s', (bytes, type) => {
  expect(hugePageType(bytes)).toBe(type);
});
