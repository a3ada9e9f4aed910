// CPUs and memory for containers alone on a machine that has something to choose from: two NUMA nodes, each of a socket with
// two cores of two threads; cgroup v2, and systemd between the runtime and the kernel.
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { pod } from '../harness/manifests.ts';
import { MEMORY_MIB, VmNode } from './vm-node.ts';

const missing = inject('vmMissing');

const CHANGE_MS = 400_000;
const STATE_FILES = '/var/lib/kubelet/cpu_manager_state /var/lib/kubelet/memory_manager_state';
const NODES = [
  { cpus: '0-3', name: 'node0' },
  { cpus: '4-7', name: 'node1' },
];
const PROCESSORS = [
  ...['-cpu', 'max,vendor=GenuineIntel'], // of others the kernel sees no threads here
  ...['-smp', '8,sockets=2,cores=2,threads=2'],
  ...NODES.flatMap(({ cpus, name }, i) => [
    ...['-object', `memory-backend-ram,id=${name},size=${MEMORY_MIB / NODES.length}M`],
    ...['-numa', `node,nodeid=${i},cpus=${cpus},memdev=${name}`],
  ]),
];

describe.skipIf(missing !== '')('a node with NUMA nodes', () => {
  let vm: VmNode;
  beforeAll(async () => {
    vm = await VmNode.start({
      name: 'vm-1',
      processors: PROCESSORS,
      kubelet: {
        cpuManagerPolicy: 'static',
        cpuManagerPolicyOptions: { 'full-pcpus-only': 'true' },
        cpuManagerReconcilePeriod: '1s',
        memoryManagerPolicy: 'Static',
        topologyManagerPolicy: 'single-numa-node',
        topologyManagerScope: 'pod',
        reservedSystemCPUs: '0-1',
        systemReserved: { memory: '64Mi' },
        evictionHard: { 'memory.available': '100Mi' },
        reservedMemory: [
          { numaNode: 0, limits: { memory: '100Mi' } },
          { numaNode: 1, limits: { memory: '64Mi' } },
        ],
      },
    });
  });
  afterAll(async () => {
    await vm?.[Symbol.asyncDispose]();
  });

  function exclusive(name: string, cpus: number, memory = '64Mi'): Pod {
    const made = pod(name);
    const amounts = { cpu: String(cpus), memory };
    made.spec!.containers[0]!.resources = { requests: amounts, limits: amounts };
    return made;
  }

  /** What the kernel says: CPUs, NUMA nodes of the memory, CPU time in a period. */
  async function allowed(name: string): Promise<string[]> {
    const script = 'grep -h _allowed_list /proc/self/status; cut -d" " -f1 /sys/fs/cgroup/cpu.max';
    const lines = (await vm.run('exec', name, '--', 'sh', '-c', script)).trim().split('\n');
    return lines.map((line) => line.split(':').at(-1)!.trim());
  }

  const untilAllowed = (name: string, cpus: string) =>
    expect.poll(async () => (await allowed(name))[0], { timeout: CHANGE_MS, interval: 500 }).toBe(cpus);

  test('every container has its CPUs and memory on one NUMA node, and the others what is left', async () => {
    await vm.startPods([pod('shared')]);
    expect(await allowed('shared')).toEqual(['0-7', '0-1', 'max']);
    await vm.startPods([exclusive('four', 4)]);
    expect(await allowed('four')).toEqual(['4-7', '1', 'max']); // two of the other node are the system's
    await untilAllowed('shared', '0-3');
    await vm.startPods([exclusive('two', 2)]);
    expect(await allowed('two')).toEqual(['2-3', '0', 'max']);
    await untilAllowed('shared', '0-1');
  });

  test('the agent that starts again leaves them as they are', async () => {
    const state = await vm.script(`cat ${STATE_FILES}`);
    await vm.restartAgent();
    expect(await vm.script(`cat ${STATE_FILES}`)).toBe(state);
    expect(await allowed('two')).toEqual(['2-3', '0', 'max']);
    expect(await allowed('shared')).toEqual(['0-1', '0-1', 'max']);
    await vm.run('delete', 'pod', 'two', 'four', '--wait');
    await untilAllowed('shared', '0-7');
  });

  test.each([
    [
      'CPUs that no NUMA node has alone',
      6,
      '64Mi',
      'TopologyAffinityError',
      'cannot be allocated with Topology locality',
    ],
    [
      'memory that no NUMA node has alone',
      2,
      '900Mi',
      'TopologyAffinityError',
      'cannot be allocated with Topology locality',
    ],
    ['a part of a core', 3, '64Mi', 'SMTAlignmentError', 'requested 3 cpus not multiple cpus per core = 2'],
  ])('a pod that wants %s is refused', async (_what, cpus, memory, reason, message) => {
    const wanted = exclusive('refused', cpus, memory);
    await vm.kubectl.apply({ ...wanted, spec: { ...wanted.spec!, nodeName: vm.name } });
    await vm.kubectl.until('pod/refused', '{.status.phase}', /^Failed$/, CHANGE_MS);
    const { status } = await vm.kubectl.json<Pod>('get', 'pod', 'refused');
    expect(status).toMatchObject({ reason, message: expect.stringContaining(message) });
    await vm.run('delete', 'pod', 'refused', '--wait');
  });
});
