// What a node with cgroup v2, managed by systemd, does with the resources of pods: read back from the kernel's files.
import { expect, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import type { Pod, ResourceRequirements } from '../../api/pod.ts';
import { parseQuantity, quantityValue } from '../../api/quantity.ts';
import { systemClock } from '../../core/clock.ts';
import { pod } from '../harness/manifests.ts';
import type { VmNode } from './vm-node.ts';

const MIB = 1024 * 1024;
const ASK_AGAIN_MS = 500;
const CHANGE_MS = 300_000;

const withResources = (name: string, resources: ResourceRequirements): Pod => {
  const made = pod(name);
  made.spec!.containers[0]!.resources = resources;
  return made;
};

const RESOURCES: Readonly<Record<string, ResourceRequirements>> = {
  guaranteed: { requests: { cpu: '250m', memory: '64Mi' }, limits: { cpu: '250m', memory: '64Mi' } },
  burstable: { requests: { cpu: '100m', memory: '32Mi' }, limits: { cpu: '500m', memory: '96Mi' } },
  besteffort: {},
};

/** As much of /stats/summary as is looked at. */
interface Summary {
  readonly pods: readonly {
    readonly podRef: { readonly uid: string };
    readonly memory: { readonly workingSetBytes: number };
    readonly containers: readonly { readonly name: string; readonly cpu: { readonly usageCoreNanoSeconds: number } }[];
  }[];
}

/** The group of a pod below /sys/fs/cgroup: systemd's name spells the whole way, with `_` for the uid's own hyphens. */
function podSlice({ metadata, status }: Pod): string {
  const level = status?.qosClass === 'Guaranteed' ? '' : `-${status!.qosClass!.toLowerCase()}`;
  const last = `kubepods${level}-pod${metadata!.uid!.replaceAll('-', '_')}.slice`;
  return level === '' ? `kubepods.slice/${last}` : `kubepods.slice/kubepods${level}.slice/${last}`;
}

function containerScope(of: Pod): string {
  const id = of.status!.containerStatuses![0]!.containerID!.split('//')[1]!;
  return `${podSlice(of)}/cri-containerd-${id}.scope`;
}

/** Weight of v2 for CPU in thousandths, as the kubelet converts it for its own groups. */
function weightOf(millis: number): number {
  const shares = Math.max(2, Math.floor((millis * 1024) / 1000));
  return 1 + Math.floor(((shares - 2) * 9999) / 262_142);
}

/** To be called within a describe block. */
export function describeCgroups(node: () => VmNode): void {
  /** Files of a group by name; undefined where the kernel has none. */
  async function read(group: string, ...files: string[]): Promise<Record<string, string | undefined>> {
    const script = files.map((file) => `echo "${file}=$(cat '/sys/fs/cgroup/${group}/${file}')"`).join('\n');
    const lines = (await node().script(script)).trimEnd().split('\n');
    return Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2)));
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

  async function oomScoreAdj(group: string): Promise<number[]> {
    const text = await node().script(`cd '/sys/fs/cgroup/${group}'
      for pid in $(cat cgroup.procs); do cat /proc/$pid/oom_score_adj; done`);
    return [...new Set(text.trimEnd().split('\n').map(Number))];
  }

  let pods: Readonly<Record<string, Pod>>;

  test('pods of every QoS class get slices of systemd below their class, and containers scopes in them', async () => {
    const names = Object.keys(RESOURCES);
    const started = await node().startPods(names.map((name) => withResources(name, RESOURCES[name]!)));
    pods = Object.fromEntries(started.map((p) => [p.metadata!.name!, p]));
    expect(started.map((p) => p.status?.qosClass)).toEqual(['Guaranteed', 'Burstable', 'BestEffort']);
    for (const one of started) {
      const { 'cgroup.procs': processes } = await read(containerScope(one), 'cgroup.procs');
      expect(processes).toMatch(/^\d+/);
      expect((await oomScoreAdj(containerScope(one))).length).toBe(1);
    }
  });

  test('the OOM killer takes best-effort pods first, and neither guaranteed pods nor sandboxes nor the agent', async () => {
    const memory = (await node().kubectl.json<Node>('get', 'node', node().name)).status!.capacity!.memory!;
    const share = Math.floor((1000 * 32 * MIB) / quantityValue(parseQuantity(memory)));
    expect(await oomScoreAdj(containerScope(pods.guaranteed!))).toEqual([-997]);
    expect(await oomScoreAdj(containerScope(pods.burstable!))).toEqual([1000 - share]);
    expect(await oomScoreAdj(containerScope(pods.besteffort!))).toEqual([1000]);
    expect(await node().script('cat /proc/$(systemctl show -P MainPID nodelet)/oom_score_adj')).toBe('-999\n');
    const sandbox = await node().script(
      'for pid in $(pgrep -x pause); do cat /proc/$pid/oom_score_adj; done | sort -u',
    );
    expect(sandbox).toBe('-998\n');
  });

  test('containers are limited as their pods say, and end as a whole when they run out of memory', async () => {
    const files = ['cpu.max', 'memory.max', 'memory.oom.group'];
    const [guaranteed, burstable, besteffort] = await Promise.all(
      ['guaranteed', 'burstable', 'besteffort'].map((name) => read(containerScope(pods[name]!), ...files)),
    );
    const limited = (cpu: string, mib: number) => ({
      'cpu.max': cpu,
      'memory.max': String(mib * MIB),
      'memory.oom.group': '1',
    });
    expect(guaranteed).toEqual(limited('25000 100000', 64));
    expect(burstable).toEqual(limited('50000 100000', 96));
    expect(besteffort).toEqual({ 'cpu.max': 'max 100000', 'memory.max': 'max', 'memory.oom.group': '1' });
  });

  const limitsOfPods = async () => {
    const files = ['cpu.weight', 'cpu.max', 'memory.max', 'pids.max'];
    return await Promise.all(Object.values(pods).map((one) => read(podSlice(one), ...files)));
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
    const { 'cpu.weight': burstable } = await read('kubepods.slice/kubepods-burstable.slice', 'cpu.weight');
    expect(burstable).toBe(String(weightOf(100)));
    const besteffort = await read('kubepods.slice/kubepods-besteffort.slice', 'cpu.weight', 'memory.max');
    expect(besteffort).toEqual({ 'cpu.weight': '1', 'memory.max': 'max' });
    const { memory } = (await node().kubectl.json<Node>('get', 'node', node().name)).status!.capacity!;
    const all = await read('kubepods.slice', 'cpu.weight', 'memory.max');
    expect(all['cpu.weight']).toBe(String(weightOf(1800)));
    expect(Number(all['memory.max'])).toBe(quantityValue(parseQuantity(memory!)) - 128 * MIB);
  });

  test('memory that pods ask for is kept for them, and a container is slowed down before it is killed', async () => {
    const files = ['memory.min', 'memory.low', 'memory.high'];
    const wanted = (min: number, low: number, high = 'max') => ({
      'memory.min': String(min * MIB),
      'memory.low': String(low * MIB),
      'memory.high': high,
    });
    const ofPods = await Promise.all(Object.values(pods).map((one) => read(podSlice(one), ...files)));
    expect(ofPods).toEqual([wanted(64, 0), wanted(0, 32), wanted(0, 0)]);
    const high = String(Math.floor((32 * MIB + 0.9 * 64 * MIB) / 4096) * 4096);
    const ofContainers = await Promise.all(Object.values(pods).map((one) => read(containerScope(one), ...files)));
    expect(ofContainers).toEqual([wanted(64, 0), wanted(0, 32, high), wanted(0, 0)]);
    // Together with what else runs on the node.
    const { 'memory.min': all } = await read('kubepods.slice', 'memory.min');
    expect(Number(all)).toBeGreaterThanOrEqual(96 * MIB);
    const { 'memory.low': burstable } = await read('kubepods.slice/kubepods-burstable.slice', 'memory.low');
    expect(Number(burstable)).toBeGreaterThanOrEqual(32 * MIB);
  });

  test('the figures of use come from the files of cgroup v2', async () => {
    const raw = (path: string) => node().run('get', '--raw', `/api/v1/nodes/${node().name}/proxy/${path}`);
    const summary = JSON.parse(await raw('stats/summary')) as Summary;
    for (const one of Object.values(pods)) {
      const { 'memory.current': current } = await read(podSlice(one), 'memory.current');
      const told = summary.pods.find(({ podRef }) => podRef.uid === one.metadata!.uid);
      expect(told?.containers.map(({ name }) => name)).toEqual(['main']);
      expect(told?.containers[0]?.cpu.usageCoreNanoSeconds).toBeGreaterThan(0);
      expect(told?.memory.workingSetBytes).toBeGreaterThan(0);
      // Taken at another moment: a sleeping pod's use changes little.
      expect(told?.memory.workingSetBytes).toBeLessThan(Number(current) + 16 * MIB);
    }
    const working = /^container_memory_working_set_bytes\{container="main",namespace="default",pod="burstable"\} \d+/m;
    expect(await raw('metrics/resource')).toMatch(working);
  });

  test('limits outlive that systemd reads its units again', async () => {
    const all = await read('kubepods.slice', 'cpu.weight', 'memory.max');
    await node().script('systemctl daemon-reload');
    expect(await limitsOfPods()).toEqual(WANTED_OF_PODS);
    expect(await read('kubepods.slice', 'cpu.weight', 'memory.max')).toEqual(all);
  });

  test('a pod that is resized while it runs keeps its container', async () => {
    const { kubectl } = node();
    const resources = { requests: { cpu: '150m', memory: '32Mi' }, limits: { cpu: '300m', memory: '128Mi' } };
    const body = JSON.stringify({ spec: { containers: [{ name: 'main', resources }] } });
    await node().run('patch', 'pod', 'burstable', '--subresource=resize', `--patch=${body}`);
    await kubectl.until(
      'pod/burstable',
      '{.status.containerStatuses[0].resources.limits.memory}',
      /^128Mi$/,
      CHANGE_MS,
    );
    const before = pods.burstable!;
    for (const group of [containerScope(before), podSlice(before)]) {
      await untilFile(group, 'memory.max', String(128 * MIB));
      await untilFile(group, 'cpu.max', '30000 100000');
    }
    await untilFile(podSlice(before), 'cpu.weight', String(weightOf(150)));
    await untilFile('kubepods.slice/kubepods-burstable.slice', 'cpu.weight', String(weightOf(150)));
    const now = await kubectl.json<Pod>('get', 'pod', 'burstable');
    expect(now.status?.containerStatuses?.[0]).toMatchObject({
      containerID: before.status?.containerStatuses?.[0]?.containerID,
      restartCount: 0,
    });
  });

  test('a container beyond its limit is killed by the kernel, and its pod says so', async () => {
    const hungry = withResources('hungry', { limits: { cpu: '1', memory: '24Mi' } });
    // containerd 1.6 loses a notice that memory ran out when the container is gone before it was read: each start is a
    // chance for it to say so.
    hungry.spec!.restartPolicy = 'OnFailure';
    hungry.spec!.containers[0]!.command = ['sh', '-c', 'sleep 1; tail -c 64m /dev/zero >/dev/null'];
    await node().kubectl.apply({ ...hungry, spec: { ...hungry.spec!, nodeName: node().name } });
    const reasons = '{.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].lastState}';
    await node().kubectl.until('pod/hungry', reasons, /OOMKilled/, CHANGE_MS);
    await node().run('delete', 'pod', 'hungry', '--wait');
  });

  test('nothing is left of the slices of pods that are gone', async () => {
    const names = Object.keys(RESOURCES);
    await node().run('delete', 'pod', ...names, '--wait');
    const endMs = Date.now() + CHANGE_MS;
    for (;;) {
      const left = await node().script(
        `find /sys/fs/cgroup/kubepods.slice -name '*pod*-pod*' -type d
         systemctl list-units --all --plain --no-legend 'kubepods*pod*-pod*' 'cri-containerd-*'`,
      );
      if (left === '') return;
      if (Date.now() > endMs) throw new Error(`there are still:\n${left}`);
      await systemClock.sleep(ASK_AGAIN_MS);
    }
  });
}
