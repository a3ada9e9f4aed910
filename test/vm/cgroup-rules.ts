// What a node with cgroup v2, managed by systemd, does with the resources of pods: read back from the kernel's files.
import { expect, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { parseQuantity, quantityValue } from '../../api/quantity.ts';
import { systemClock } from '../../core/clock.ts';
import { pod } from '../harness/manifests.ts';
import { containerScope, MIB, podSlice, type QosPods } from './pods.ts';
import type { VmNode } from './vm-node.ts';

const ASK_AGAIN_MS = 500;
const CHANGE_MS = 300_000;

interface Pressure {
  readonly psi: {
    readonly some: { readonly total: number; readonly avg10: number };
    readonly full: { readonly total: number };
  };
}

interface Pressures {
  readonly cpu: Pressure;
  readonly memory: Pressure;
  readonly io: Pressure;
}

/** As much of /stats/summary as is looked at. */
interface Summary {
  readonly node: Pressures;
  readonly pods: readonly (Pressures & {
    readonly podRef: { readonly uid: string };
    readonly memory: { readonly workingSetBytes: number };
    readonly containers: readonly (Pressures & {
      readonly name: string;
      readonly cpu: { readonly usageCoreNanoSeconds: number };
    })[];
  })[];
}

type Values = Readonly<Record<string, string | undefined>>;

/** Weight of v2 for CPU in thousandths, as the kubelet converts it for its own groups. */
function weightOf(millis: number): number {
  const shares = Math.max(2, Math.floor((millis * 1024) / 1000));
  return 1 + Math.floor(((shares - 2) * 9999) / 262_142);
}

/** To be called within a describe block. */
export function describeCgroups(node: () => VmNode, pods: () => QosPods): void {
  /** Files of each group by name; undefined where the kernel has none. */
  async function readEach(groups: readonly string[], ...files: string[]): Promise<Values[]> {
    const names = groups.flatMap((group) => files.map((file) => `'${group}/${file}'`));
    const text = await node().script(`cd /sys/fs/cgroup; grep -s '' ${names.join(' ')} /dev/null || true`);
    const lines = text.trimEnd().split('\n');
    return groups.map((group) => {
      const contentOf = (file: string) => {
        const start = `${group}/${file}:`;
        const own = lines.filter((line) => line.startsWith(start)).map((line) => line.slice(start.length));
        return own.length === 0 ? undefined : own.join('\n');
      };
      return Object.fromEntries(files.map((file) => [file, contentOf(file)]));
    });
  }

  async function read(group: string, ...files: string[]): Promise<Values> {
    return (await readEach([group], ...files))[0]!;
  }

  async function untilFile(group: string, file: string, wanted: string): Promise<void> {
    const endMs = Date.now() + CHANGE_MS;
    for (;;) {
      const now = (await read(group, file))[file];
      if (now === wanted) return;
      if (Date.now() > endMs)
        throw new Error(`${file} of ${group} is ${now}, not ${wanted}\n${await node().agentLog()}`);
      await systemClock.sleep(ASK_AGAIN_MS);
    }
  }

  const raw = (path: string) => node().run('get', '--raw', `/api/v1/nodes/${node().name}/proxy/${path}`);
  const all = (): Pod[] => Object.values(pods());

  test('pods of every QoS class get slices of systemd below their class, and containers scopes in them', async () => {
    expect(all().map((p) => p.status?.qosClass)).toEqual(['Guaranteed', 'Burstable', 'BestEffort']);
    for (const group of await readEach(all().map(containerScope), 'cgroup.procs')) {
      expect(group['cgroup.procs']).toMatch(/^\d+/);
    }
  });

  test('the OOM killer takes best-effort pods first, and neither guaranteed pods nor sandboxes nor the agent', async () => {
    const memory = (await node().kubectl.json<Node>('get', 'node', node().name)).status!.capacity!.memory!;
    const share = Math.floor((1000 * 32 * MIB) / quantityValue(parseQuantity(memory)));
    const scores = await node().script(`
      score() { for pid in $*; do cat /proc/$pid/oom_score_adj; done | sort -u; }
      for group in ${all().map(containerScope).join(' ')}; do score $(cat /sys/fs/cgroup/$group/cgroup.procs); done
      score $(pgrep -x pause)
      score $(systemctl show -P MainPID nodelet)
    `);
    expect(scores.trimEnd().split('\n').map(Number)).toEqual([-997, 1000 - share, 1000, -998, -999]);
  });

  test('containers are limited as their pods say, and end as a whole when they run out of memory', async () => {
    const files = ['cpu.max', 'memory.max', 'memory.swap.max', 'memory.oom.group'];
    const [guaranteed, burstable, besteffort] = await readEach(all().map(containerScope), ...files);
    const limited = (cpu: string, mib: number) => ({
      'cpu.max': cpu,
      'memory.max': String(mib * MIB),
      'memory.swap.max': '0',
      'memory.oom.group': '1',
    });
    expect(guaranteed).toEqual(limited('25000 100000', 64));
    expect(burstable).toEqual(limited('50000 100000', 96));
    expect(besteffort).toEqual({ ...limited('max 100000', 0), 'memory.max': 'max' });
  });

  const limitsOfPods = async () => {
    const files = ['cpu.weight', 'cpu.max', 'memory.max', 'pids.max'];
    return await readEach(all().map(podSlice), ...files);
  };
  const WANTED_OF_PODS = [
    {
      'cpu.weight': String(weightOf(250)),
      'cpu.max': '25000 100000',
      'memory.max': String(64 * MIB),
      'pids.max': '200',
    },
    {
      'cpu.weight': String(weightOf(100)),
      'cpu.max': '50000 100000',
      'memory.max': String(96 * MIB),
      'pids.max': '200',
    },
    { 'cpu.weight': '1', 'cpu.max': 'max 100000', 'memory.max': 'max', 'pids.max': '200' },
  ];

  test('the slices of pods carry the limits of the whole pod', async () => {
    expect(await limitsOfPods()).toEqual(WANTED_OF_PODS);
  });

  test('the slices of the QoS classes weigh what their pods ask for, and all pods stay out of what is reserved', async () => {
    const levels = ['burstable', 'besteffort'].map((level) => `kubepods.slice/kubepods-${level}.slice`);
    const groups = await readEach([...levels, 'kubepods.slice'], 'cpu.weight', 'memory.max');
    const [burstable, besteffort, ofAll] = groups as [Values, Values, Values];
    expect(burstable['cpu.weight']).toBe(String(weightOf(100)));
    expect(besteffort).toEqual({ 'cpu.weight': '1', 'memory.max': 'max' });
    const { memory } = (await node().kubectl.json<Node>('get', 'node', node().name)).status!.capacity!;
    expect(ofAll['cpu.weight']).toBe(String(weightOf(1800)));
    expect(Number(ofAll['memory.max'])).toBe(quantityValue(parseQuantity(memory!)) - 128 * MIB);
  });

  test('memory that pods ask for is kept for them, and a container is slowed down before it is killed', async () => {
    const files = ['memory.min', 'memory.low', 'memory.high'];
    const wanted = (min: number, low: number, high = 'max') => ({
      'memory.min': String(min * MIB),
      'memory.low': String(low * MIB),
      'memory.high': high,
    });
    const own = ['kubepods.slice', 'kubepods.slice/kubepods-burstable.slice'];
    const groups = await readEach([...all().map(podSlice), ...all().map(containerScope), ...own], ...files);
    const high = String(Math.floor((32 * MIB + 0.9 * 64 * MIB) / 4096) * 4096);
    expect(groups.slice(0, 3)).toEqual([wanted(64, 0), wanted(0, 32), wanted(0, 0)]);
    expect(groups.slice(3, 6)).toEqual([wanted(64, 0), wanted(0, 32, high), wanted(0, 0)]);
    // Together with what else runs on the node.
    expect(Number(groups[6]!['memory.min'])).toBeGreaterThanOrEqual(96 * MIB);
    expect(Number(groups[7]!['memory.low'])).toBeGreaterThanOrEqual(32 * MIB);
  });

  test('the figures of use come from the files of cgroup v2', async () => {
    const summary = JSON.parse(await raw('stats/summary')) as Summary;
    const now = await readEach(all().map(podSlice), 'memory.current');
    for (const [i, one] of all().entries()) {
      const told = summary.pods.find(({ podRef }) => podRef.uid === one.metadata!.uid);
      expect(told?.containers.map(({ name }) => name)).toEqual(['main']);
      expect(told?.containers[0]?.cpu.usageCoreNanoSeconds).toBeGreaterThan(0);
      expect(told?.memory.workingSetBytes).toBeGreaterThan(0);
      // Taken at another moment: a sleeping pod's use changes little.
      expect(told?.memory.workingSetBytes).toBeLessThan(Number(now[i]!['memory.current']) + 16 * MIB);
    }
    const working = /^container_memory_working_set_bytes\{container="main",namespace="default",pod="burstable"\} \d+/m;
    expect(await raw('metrics/resource')).toMatch(working);
  });

  test('figures tell for how long pods and the node waited for CPU, memory and I/O', async () => {
    const one = pods().burstable;
    const waitedMicros = async () => {
      const { 'cpu.pressure': lines } = await read(containerScope(one), 'cpu.pressure');
      return Number(/^some .*total=(\d+)/.exec(lines!)![1]);
    };
    // Both together may have half a CPU.
    const busy = 'for i in 1 2; do timeout 2 sh -c "while :; do :; done" & done; wait';
    await node().run('exec', 'burstable', '--', 'sh', '-c', busy);
    const before = await waitedMicros();
    expect(before).toBeGreaterThan(100_000);
    const look = async () => {
      const summary = JSON.parse(await raw('stats/summary')) as Summary;
      const ofPod = summary.pods.find(({ podRef }) => podRef.uid === one.metadata!.uid)!;
      return { ofNode: summary.node, ofPod, ofContainer: ofPod.containers[0]! };
    };
    // An answer may be some seconds old.
    const told = async () => (await look()).ofContainer.cpu.psi.some.total;
    await expect.poll(told, { timeout: CHANGE_MS, interval: ASK_AGAIN_MS }).toBeGreaterThanOrEqual(before);
    const { ofNode, ofPod, ofContainer } = await look();
    const after = await waitedMicros();
    expect(ofContainer.cpu.psi.some.total).toBeLessThanOrEqual(after);
    expect(ofPod.cpu.psi.some.total).toBeGreaterThanOrEqual(before);
    for (const level of [ofNode, ofPod, ofContainer]) {
      for (const { psi } of [level.cpu, level.memory, level.io]) {
        expect(psi.some.total).toBeGreaterThanOrEqual(psi.full.total);
        expect(psi.some.avg10).toBeLessThanOrEqual(100);
      }
      expect(level.cpu.psi.some.total).toBeGreaterThan(0);
    }
    const names = ['cpu', 'memory', 'io'].flatMap((of) => [`${of}_waiting`, `${of}_stalled`]);
    const waitedSeconds = async () => {
      const metrics = await raw('metrics/cadvisor');
      return names.map((name) => {
        const sample = `^container_pressure_${name}_seconds_total\\{container="main",.*pod="burstable"\\} (\\S+)`;
        return Number(new RegExp(sample, 'm').exec(metrics)?.[1]);
      });
    };
    const soon = { timeout: CHANGE_MS, interval: ASK_AGAIN_MS };
    await expect.poll(async () => (await waitedSeconds())[0], soon).toBeGreaterThanOrEqual(before / 1e6);
    const seconds = await waitedSeconds();
    expect(names.filter((_, i) => !(seconds[i]! >= 0))).toEqual([]);
    expect(seconds[0]).toBeLessThanOrEqual((await waitedMicros()) / 1e6);
  });

  test('limits outlive that systemd reads its units again', async () => {
    const ofAll = await read('kubepods.slice', 'cpu.weight', 'memory.max', 'cpuset.cpus');
    const { online } = await read('/sys/devices/system/cpu', 'online');
    expect(ofAll['cpuset.cpus']).toBe(online);
    await node().script('systemctl daemon-reload');
    expect(await limitsOfPods()).toEqual(WANTED_OF_PODS);
    expect(await read('kubepods.slice', 'cpu.weight', 'memory.max', 'cpuset.cpus')).toEqual(ofAll);
  });

  test('a pod that is resized while it runs keeps its container', async () => {
    const { kubectl } = node();
    const resources = { requests: { cpu: '150m', memory: '32Mi' }, limits: { cpu: '1500m', memory: '128Mi' } };
    const body = JSON.stringify({ spec: { containers: [{ name: 'main', resources }] } });
    await node().run('patch', 'pod', 'burstable', '--subresource=resize', `--patch=${body}`);
    await kubectl.until(
      'pod/burstable',
      '{.status.containerStatuses[0].resources.limits.memory}',
      /^128Mi$/,
      CHANGE_MS,
    );
    const before = pods().burstable;
    for (const group of [containerScope(before), podSlice(before)]) {
      await untilFile(group, 'memory.max', String(128 * MIB));
      await untilFile(group, 'cpu.max', '150000 100000');
    }
    await untilFile(podSlice(before), 'cpu.weight', String(weightOf(150)));
    await untilFile('kubepods.slice/kubepods-burstable.slice', 'cpu.weight', String(weightOf(150)));
    const now = await kubectl.json<Pod>('get', 'pod', 'burstable');
    expect(now.status?.containerStatuses?.[0]).toMatchObject({
      containerID: before.status?.containerStatuses?.[0]?.containerID,
      restartCount: 0,
    });
  });

  test('containers beyond their limits are killed by the kernel, and their pod says so of each that the runtime knows of', async () => {
    const { kubectl } = node();
    const hungry = pod('hungry', ['sh', '-c', 'sleep 1; tail -c 64m /dev/zero >/dev/null']);
    const [container] = hungry.spec!.containers;
    const limits = { memory: '24Mi' };
    const containers = ['one', 'two', 'three'].map((name) => ({ ...container!, name, resources: { limits } }));
    // containerd 1.6 loses a notice that memory ran out when the container is gone before it was read, every other one
    // here: each start is a chance for it to say so.
    const spec = { ...hungry.spec!, nodeName: node().name, restartPolicy: 'OnFailure', containers };
    await kubectl.apply({ ...hungry, spec });
    const killed = '137 OOMKilled';
    /** What was told last of each container that has ended, by its id. */
    const told = new Map<string, string>();
    const look = async () => {
      const notices = "journalctl -u containerd -o cat | sed -n 's/.*TaskOOM{ContainerID:\\([0-9a-f]*\\).*/\\1/p'";
      const noticed = (await node().script(notices)).split('\n');
      const { status } = await kubectl.json<Pod>('get', 'pod', 'hungry');
      for (const { state, lastState } of status?.containerStatuses ?? []) {
        const ends = [state?.terminated, lastState?.terminated].filter((end) => end !== undefined);
        for (const end of ends) told.set(end.containerID!.split('//')[1]!, `${end.exitCode} ${end.reason}`);
      }
      const untold = noticed.filter((id) => told.has(id) && told.get(id) !== killed);
      return { anyKilled: [...told.values()].includes(killed), untold };
    };
    await expect.poll(look, { timeout: CHANGE_MS, interval: ASK_AGAIN_MS }).toEqual({ anyKilled: true, untold: [] });
    for (const end of told.values()) expect(end).toMatch(/^137 (OOMKilled|Error)$/);
    await node().run('delete', 'pod', 'hungry', '--wait=false');
  });
}
