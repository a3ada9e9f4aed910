// Pods that are given more or less while they run, as `kubectl patch --subresource resize` asks for it: what the API
// says of it, what the kernel was told, and that nobody is restarted who need not be.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import type { Container, ContainerStatus, Pod, PodSpec, ResourceRequirements } from '../../api/pod.ts';
import { parseQuantity, quantityMilliValue } from '../../api/quantity.ts';
import { systemClock } from '../../core/clock.ts';
import { type CgroupHierarchies, detectCgroups } from '../../host/cgroup.ts';
import { labNames } from '../../lab/names.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, NODE } from '../harness/fault-node.ts';
import { findKubectl, type Kubectl } from '../harness/kubectl.ts';
import { pod, SLEEP } from '../harness/manifests.ts';
import { Random, seedFrom } from '../harness/random.ts';

const KILLS = 3;
const SEED = seedFrom('NODELET_RESIZE_SEED');
/** From the wish until well after it has come true, ms. */
const LONGEST_LIFE_MS = 400;
const found = labMissing() === undefined ? await findKubectl('1.36') : { missing: labMissing()! };
if ('missing' in found) console.warn(`tests of resizing are skipped: ${found.missing}`);

type Amounts = Record<string, string>;
const resources = (requests: Amounts, limits: Amounts): ResourceRequirements => ({ limits, requests });

describe.skipIf('missing' in found)('resizing a pod that runs', () => {
  let node: FaultNode;
  let kubectl: Kubectl;
  let newest: Kubectl;
  /** The first that knows the subresource, where it can be had. */
  let older: Kubectl | undefined;
  let cgroups: CgroupHierarchies;

  beforeAll(async () => {
    cgroups = await detectCgroups();
    node = await FaultNode.start();
    newest = (await node.cluster.kubectl('1.36')).in('resize');
    older = 'missing' in (await findKubectl('1.32')) ? undefined : (await node.cluster.kubectl('1.32')).in('resize');
    kubectl = newest;
    await kubectl.run('create', 'namespace', 'resize');
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  const get = (name: string) => kubectl.json<Pod>('get', 'pod', name);
  const gone = (name: string) => kubectl.run('delete', 'pod', name, '--wait');

  async function start(
    name: string,
    containers: readonly Partial<Container>[],
    spec: Partial<PodSpec> = {},
  ): Promise<Pod> {
    const plain = pod(name, SLEEP, spec);
    const main = plain.spec!.containers[0]!;
    plain.spec!.containers = containers.map((c) => ({ ...main, ...c }));
    await kubectl.apply(plain);
    await kubectl.run('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=120s');
    return await get(name);
  }

  async function patch(name: string, wanted: Readonly<Record<string, ResourceRequirements>>): Promise<void> {
    const containers = Object.entries(wanted).map(([container, r]) => ({ name: container, resources: r }));
    const body = JSON.stringify({ spec: { containers } });
    await kubectl.run('patch', 'pod', name, '--subresource=resize', `--patch=${body}`);
  }

  /** Waits until `holds`, and says what there is when it does not come to that. */
  async function untilPod(name: string, holds: (p: Pod) => boolean): Promise<Pod> {
    const endMs = Date.now() + 60_000;
    for (;;) {
      const now = await get(name);
      if (holds(now)) return now;
      if (Date.now() > endMs) throw new Error(`${name} is:\n${JSON.stringify(now, null, 1)}\n${await node.agentLog()}`);
      await systemClock.sleep(100);
    }
  }

  const statusOf = (p: Pod, container: string): ContainerStatus =>
    p.status!.containerStatuses!.find((c) => c.name === container)!;
  const resizeConditions = (p: Pod) =>
    (p.status?.conditions ?? []).filter((c) => c.type === 'PodResizePending' || c.type === 'PodResizeInProgress');
  const isDone = (wanted: Readonly<Record<string, ResourceRequirements>>) => (p: Pod) =>
    resizeConditions(p).length === 0 &&
    p.status?.observedGeneration === p.metadata?.generation &&
    p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true &&
    Object.entries(wanted).every(([name, r]) => {
      const status = statusOf(p, name);
      const same = (a: unknown, b: unknown) => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
      return same(status.resources, r) && same(status.allocatedResources ?? {}, r.requests ?? {});
    });

  async function resized(name: string, wanted: Readonly<Record<string, ResourceRequirements>>): Promise<Pod> {
    await patch(name, wanted);
    return await untilPod(name, isDone(wanted));
  }

  /** What the kernel was told of the container and of its pod. */
  async function limits(name: string, container = 'main') {
    const { metadata, status } = await get(name);
    const level = status?.qosClass === 'Guaranteed' ? '' : status!.qosClass!.toLowerCase();
    const ofPod = path.join(labNames(node.cluster.dir).cgroupRoot, NODE, 'kubepods', level, `pod${metadata!.uid}`);
    const all = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
    const id = all.find((c) => c.name === container)!.containerID!.split('//')[1]!;
    const read = async (controller: string, file: string) => {
      const mount = cgroups.mounts.get(cgroups.version === 2 ? 'unified' : controller)!;
      const text = async (group: string) => (await readFile(path.join(mount, group, file), 'utf8')).trim();
      return { container: await text(path.join(ofPod, id)), pod: await text(ofPod) };
    };
    if (cgroups.version === 2)
      return { quota: await read('cpu', 'cpu.max'), memory: await read('memory', 'memory.max') };
    return {
      shares: await read('cpu', 'cpu.shares'),
      quota: await read('cpu', 'cpu.cfs_quota_us'),
      memory: await read('memory', 'memory.limit_in_bytes'),
    };
  }

  /** The container `main` of a pod if it runs with that limit, by the word of the runtime. */
  async function runningWith(podUid: string, memoryBytes: number): Promise<string | undefined> {
    const labelSelector = { 'io.kubernetes.pod.uid': podUid, 'io.kubernetes.container.name': 'main' };
    const all = await node.runtime.listContainers({ labelSelector, state: { state: 'CONTAINER_RUNNING' } });
    const statuses = await Promise.all(all.map((c) => node.runtime.containerStatus(c.id)));
    const found = statuses.find((s) => s.state === 'CONTAINER_RUNNING');
    return found?.resources?.linux?.memoryLimitInBytes === memoryBytes ? found.id : undefined;
  }

  const both = (value: string) => ({ container: value, pod: value });
  const expectedLimits = (shares: number, quotaUs: number, memoryBytes: number) => ({
    ...(cgroups.version === 2 ? {} : { shares: both(`${shares}`) }),
    quota: both(cgroups.version === 2 ? `${quotaUs} 100000` : `${quotaUs}`),
    memory: both(`${memoryBytes}`),
  });
  const events = async (name: string) =>
    (
      await kubectl.run(
        'events',
        `--for=pod/${name}`,
        '-o',
        'jsonpath={range .items[*]}{.reason}: {.message}{"\\n"}{end}',
      )
    )
      .split('\n')
      .filter((line) => line.startsWith('Resize'));

  test('cpu and memory go up and down, and the container does not notice', async () => {
    const small = resources({ cpu: '100m', memory: '32Mi' }, { cpu: '200m', memory: '64Mi' });
    const big = resources({ cpu: '250m', memory: '48Mi' }, { cpu: '500m', memory: '128Mi' });
    const cpu = { containerName: 'main', resource: 'limits.cpu', divisor: '1m' };
    const volumes = [{ name: 'info', downwardAPI: { items: [{ path: 'cpu', resourceFieldRef: cpu }] } }];
    const volumeMounts = [{ name: 'info', mountPath: '/info' }];
    const before = await start('plain', [{ resources: small, volumeMounts }], { volumes });
    const shown = () => kubectl.run('exec', 'plain', '--', 'cat', '/info/cpu');
    expect(await shown()).toBe('200');
    expect(await limits('plain')).toEqual(expectedLimits(102, 20_000, 64 << 20));
    const grown = await resized('plain', { main: big });
    expect(await limits('plain')).toEqual(expectedLimits(256, 50_000, 128 << 20));
    expect(statusOf(grown, 'main')).toMatchObject({
      containerID: statusOf(before, 'main').containerID,
      restartCount: 0,
      allocatedResources: big.requests,
    });
    expect(grown.status?.qosClass).toBe('Burstable');
    await expect.poll(shown, { timeout: 120_000 }).toBe('500');
    kubectl = older ?? kubectl;
    const shrunk = await resized('plain', { main: small });
    kubectl = newest;
    expect(await limits('plain')).toEqual(expectedLimits(102, 20_000, 64 << 20));
    expect(statusOf(shrunk, 'main')).toMatchObject({
      containerID: statusOf(before, 'main').containerID,
      restartCount: 0,
    });
    const summary = (generation: number, r: ResourceRequirements) =>
      JSON.stringify({ containers: [{ name: 'main', resources: r }], generation });
    await expect
      .poll(() => events('plain'), { timeout: 120_000 })
      .toEqual(
        expect.arrayContaining([
          `ResizeStarted: Pod resize started: ${summary(2, big)}`,
          `ResizeCompleted: Pod resize completed: ${summary(2, big)}`,
          `ResizeStarted: Pod resize started: ${summary(3, small)}`,
          `ResizeCompleted: Pod resize completed: ${summary(3, small)}`,
        ]),
      );
    await gone('plain');
  });

  test('a resize policy that says so has the container started anew, once, and for that resource alone', async () => {
    const first = resources({ cpu: '50m', memory: '32Mi' }, { cpu: '100m', memory: '32Mi' });
    const moreCpu = resources({ cpu: '50m', memory: '32Mi' }, { cpu: '150m', memory: '32Mi' });
    const moreMemory = resources({ cpu: '50m', memory: '40Mi' }, { cpu: '150m', memory: '40Mi' });
    const resizePolicy = [
      { resourceName: 'cpu', restartPolicy: 'NotRequired' },
      { resourceName: 'memory', restartPolicy: 'RestartContainer' },
    ];
    const env = [{ name: 'MEMORY', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } }];
    const plain = { name: 'other', command: [...SLEEP] };
    const before = await start('policy', [{ resources: first, resizePolicy, env }, plain]);
    const cpu = await resized('policy', { main: moreCpu });
    expect(statusOf(cpu, 'main')).toMatchObject({ restartCount: 0, containerID: statusOf(before, 'main').containerID });
    const memory = await resized('policy', { main: moreMemory });
    expect(statusOf(memory, 'main').restartCount).toBe(1);
    expect(statusOf(memory, 'other')).toMatchObject({
      restartCount: 0,
      containerID: statusOf(before, 'other').containerID,
    });
    expect((await limits('policy')).memory.container).toBe(`${40 << 20}`);
    expect(await kubectl.run('exec', 'policy', '--container=main', '--', 'sh', '-c', 'echo $MEMORY')).toBe('40\n');
    const killing = 'jsonpath={.items[?(@.reason=="Killing")].message}';
    await expect
      .poll(() => kubectl.run('events', '--for=pod/policy', '-o', killing), { timeout: 120_000 })
      .toBe('Container main resize requires restart');
    await gone('policy');
  });

  test('many containers at once: more, less, limits where there were none, a sidecar, amounts too small to tell apart', async () => {
    const first = {
      up: resources({ cpu: '20m', memory: '16Mi' }, { cpu: '30m', memory: '24Mi' }),
      down: resources({ cpu: '30m', memory: '20Mi' }, { cpu: '40m', memory: '40Mi' }),
      bare: { requests: { cpu: '20m', memory: '16Mi' } },
      tiny: resources({ cpu: '2m' }, { cpu: '10m' }),
    };
    const then = {
      up: resources({ cpu: '40m', memory: '20Mi' }, { cpu: '60m', memory: '48Mi' }),
      down: resources({ cpu: '20m', memory: '16Mi' }, { cpu: '20m', memory: '24Mi' }),
      bare: resources({ cpu: '30m', memory: '20Mi' }, { cpu: '50m', memory: '32Mi' }),
      tiny: resources({ cpu: '1m' }, { cpu: '5m' }),
    };
    const many = pod('many');
    const main = many.spec!.containers[0]!;
    many.spec!.containers = Object.entries(first).map(([name, r]) => ({ ...main, name, resources: r }));
    const ofSide = resources({ cpu: '10m' }, { memory: '24Mi' });
    many.spec!.initContainers = [{ ...main, name: 'side', restartPolicy: 'Always', resources: ofSide }];
    await kubectl.apply(many);
    await kubectl.run('wait', '--for=condition=Ready', 'pod/many', '--timeout=120s');
    const body = {
      spec: {
        containers: Object.entries(then).map(([name, r]) => ({ name, resources: r })),
        initContainers: [{ name: 'side', resources: resources({ cpu: '20m' }, { memory: '32Mi' }) }],
      },
    };
    await kubectl.run('patch', 'pod', 'many', '--subresource=resize', `--patch=${JSON.stringify(body)}`);
    const after = await untilPod('many', isDone(then));
    expect(after.status?.initContainerStatuses?.[0]).toMatchObject({
      restartCount: 0,
      resources: { requests: { cpu: '20m' }, limits: { memory: '32Mi' } },
    });
    expect(after.status?.containerStatuses?.map((c) => c.restartCount)).toEqual([0, 0, 0, 0]);
    expect((await limits('many', 'bare')).memory.container).toBe(`${32 << 20}`);
    expect((await limits('many', 'down')).quota.container).toMatch(/^2000( 100000)?$/);
    expect((await limits('many', 'side')).memory.container).toBe(`${32 << 20}`);
    await gone('many');
  });

  test('the resources of a pod as a whole', async () => {
    const plain = pod('whole');
    const main = plain.spec!.containers[0]!;
    plain.spec!.containers = [main, { ...main, name: 'own', resources: resources({}, { memory: '24Mi' }) }];
    plain.spec!.resources = resources({ cpu: '100m', memory: '48Mi' }, { cpu: '200m', memory: '64Mi' });
    await kubectl.apply(plain);
    await kubectl.run('wait', '--for=condition=Ready', 'pod/whole', '--timeout=120s');
    expect((await limits('whole')).memory).toEqual(both(`${64 << 20}`));
    const wanted = resources({ cpu: '200m', memory: '64Mi' }, { cpu: '300m', memory: '96Mi' });
    const body = JSON.stringify({ spec: { resources: wanted } });
    await kubectl.run('patch', 'pod', 'whole', '--subresource=resize', `--patch=${body}`);
    const after = await untilPod(
      'whole',
      (p) => resizeConditions(p).length === 0 && p.status?.resources?.limits?.memory === '96Mi',
    );
    expect(after.status).toMatchObject({ allocatedResources: wanted.requests, resources: wanted });
    expect(after.status?.containerStatuses?.map((c) => c.restartCount)).toEqual([0, 0]);
    // A container without limits of its own has those of its pod; the other keeps its own.
    const quota = both(cgroups.version === 2 ? '30000 100000' : '30000');
    expect(await limits('whole')).toMatchObject({ quota, memory: both(`${96 << 20}`) });
    expect((await limits('whole', 'own')).memory).toEqual({ container: `${24 << 20}`, pod: `${96 << 20}` });
    await gone('whole');
  });

  test('an init container while it runs', async () => {
    const small = resources({ cpu: '20m', memory: '16Mi' }, { cpu: '20m', memory: '16Mi' });
    const big = resources({ cpu: '30m', memory: '24Mi' }, { cpu: '30m', memory: '24Mi' });
    const waits = 'until [ -e /tmp/go ]; do sleep 0.1; done';
    const manifest = pod('begins');
    const main = manifest.spec!.containers[0]!;
    main.resources = small;
    manifest.spec!.initContainers = [{ ...main, name: 'init', command: ['sh', '-c', waits] }];
    await kubectl.apply(manifest);
    const initOf = (p: Pod) => p.status?.initContainerStatuses?.[0];
    await untilPod('begins', (p) => initOf(p)?.state?.running !== undefined);
    const body = { spec: { initContainers: [{ name: 'init', resources: big }] } };
    await kubectl.run('patch', 'pod', 'begins', '--subresource=resize', `--patch=${JSON.stringify(body)}`);
    const during = await untilPod(
      'begins',
      (p) => initOf(p)?.resources?.limits?.memory === '24Mi' && resizeConditions(p).length === 0,
    );
    expect(initOf(during)).toMatchObject({ restartCount: 0, resources: big, allocatedResources: big.requests });
    expect(await limits('begins', 'init')).toMatchObject({ memory: both(`${24 << 20}`) });
    const gave = await kubectl.result(['exec', 'begins', '--container=init', '--', 'touch', '/tmp/go']);
    expect([0, 137]).toContain(gave.code); // the container, which ends at once, may take the command with it
    await kubectl.run('wait', '--for=condition=Ready', 'pod/begins', '--timeout=120s');
    expect(resizeConditions(await get('begins'))).toEqual([]);
    await gone('begins');
  });

  test('what the node cannot give is told, and the container keeps what it has', async () => {
    const has = resources({ cpu: '50m', memory: '16Mi' }, { memory: '64Mi' });
    await start('greedy', [{ resources: has }]);
    const used = await limits('greedy');
    const allocatable = (await kubectl.json<Node>('get', 'node', NODE)).status!.allocatable!;
    const millis = quantityMilliValue(parseQuantity(allocatable.cpu!));
    // Cores enough for the whole node and one more: a control plane of its version refuses that already.
    const patchTooBig = patch('greedy', { main: resources({ cpu: `${millis + 1000}m` }, {}) });
    const refused = await patchTooBig.then(
      () => false,
      (err: Error) => /enough allocatable/.test(err.message),
    );
    if (!refused) {
      const told = await untilPod('greedy', (p) => resizeConditions(p).length > 0);
      expect(resizeConditions(told)).toEqual([
        expect.objectContaining({
          type: 'PodResizePending',
          status: 'True',
          reason: 'Infeasible',
          message: `Node didn't have enough capacity: cpu, requested: ${millis + 1000}, capacity: ${millis}`,
          observedGeneration: 2,
        }),
      ]);
      expect(statusOf(told, 'main')).toMatchObject({
        restartCount: 0,
        resources: has,
        allocatedResources: has.requests,
      });
    }
    expect(await limits('greedy')).toEqual(used);
    await resized('greedy', { main: has });
    await gone('greedy');
  });

  test('what does not fit now is given when another pod has gone, also by an agent that came later', async () => {
    const allocatable = (await kubectl.json<Node>('get', 'node', NODE)).status!.allocatable!;
    const millis = quantityMilliValue(parseQuantity(allocatable.cpu!));
    const has = resources({ cpu: '50m' }, {});
    const wants = resources({ cpu: '600m' }, {});
    await start('waiting', [{ resources: has }]);
    await start('filler', [{ resources: resources({ cpu: `${millis - 400}m` }, {}) }]);
    await patch('waiting', { main: wants });
    const waiting = (p: Pod) => resizeConditions(p)[0]?.reason === 'Deferred';
    const told = await untilPod('waiting', waiting);
    expect(resizeConditions(told)[0]?.message).toMatch(
      /^Node didn't have enough resource: cpu, requested: 600, used: /,
    );
    expect(statusOf(told, 'main')).toMatchObject({ resources: { requests: { cpu: '50m' } } });
    await node.killAgent();
    await (await node.startAgent())();
    await untilPod('waiting', waiting);
    await gone('filler');
    const given = await untilPod('waiting', (p) => resizeConditions(p).length === 0);
    expect(statusOf(given, 'main')).toMatchObject({ restartCount: 0, resources: { requests: { cpu: '600m' } } });
    await gone('waiting');
  });

  test('memory that is used is not taken away; with less wanted the resize goes on', async () => {
    const has = resources({ memory: '96Mi' }, { memory: '96Mi' });
    // Files in memory count as the container's.
    const script = `dd if=/dev/zero of=/dev/shm/held bs=1M count=40 2>/dev/null; touch /tmp/held; ${SLEEP[2]}`;
    const readinessProbe = { exec: { command: ['test', '-e', '/tmp/held'] }, periodSeconds: 1, timeoutSeconds: 20 };
    await start('holding', [{ resources: has, command: ['sh', '-c', script], readinessProbe }]);
    await patch('holding', { main: resources({ memory: '16Mi' }, { memory: '16Mi' }) });
    const refused = await untilPod('holding', (p) => resizeConditions(p)[0]?.reason === 'Error');
    const [condition] = resizeConditions(refused);
    expect(condition).toMatchObject({ type: 'PodResizeInProgress', status: 'True' });
    expect(condition?.message).toMatch(
      /^cannot decrease memory limits: \[attempting to set pod memory limit \(16777216\) below current usage \(\d+\), attempting to set container "main" memory limit \(16777216\) below current usage \(\d+\)\]$/,
    );
    expect(statusOf(refused, 'main')).toMatchObject({ restartCount: 0, resources: { limits: { memory: '96Mi' } } });
    expect((await limits('holding')).memory).toEqual(both(`${96 << 20}`));
    const after = await resized('holding', { main: resources({ memory: '80Mi' }, { memory: '80Mi' }) });
    expect(statusOf(after, 'main').restartCount).toBe(0);
    expect((await limits('holding')).memory).toEqual(both(`${80 << 20}`));
    await gone('holding');
  });

  test(`an agent that is killed ${KILLS} times in the middle goes on where it was`, async () => {
    console.log(`NODELET_RESIZE_SEED=${SEED}`);
    const random = new Random(SEED);
    const memory = (mi: number) => resources({ cpu: '20m', memory: `${mi}Mi` }, { cpu: '100m', memory: `${mi}Mi` });
    const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }];
    const other = { name: 'other', command: [...SLEEP], resources: memory(32) };
    const before = await start('killed', [{ resources: memory(32), resizePolicy }, other]);
    for (let round = 1; round <= KILLS; round++) {
      const wanted = { main: memory(32 + round), other: memory(32 + 2 * round) };
      await patch('killed', wanted);
      await systemClock.sleep(random.int(0, LONGEST_LIFE_MS)); // the moment of the kill is what is tried
      const anew = await runningWith(before.metadata!.uid!, (32 + round) << 20);
      await node.killAgent();
      await (await node.startAgent())();
      const after = await untilPod('killed', isDone(wanted));
      // More than `round` where the kill came into a start, which containerd then gives up.
      expect(statusOf(after, 'main').restartCount).toBeGreaterThanOrEqual(round);
      if (anew !== undefined) expect(statusOf(after, 'main').containerID).toBe(`containerd://${anew}`);
      expect(statusOf(after, 'other')).toMatchObject({
        restartCount: 0,
        containerID: statusOf(before, 'other').containerID,
      });
      expect((await limits('killed', 'other')).memory).toEqual({
        container: `${(32 + 2 * round) << 20}`,
        pod: `${(64 + 3 * round) << 20}`,
      });
    }
    await gone('killed');
  });
});

/** Keys in order, however deep. */
function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([k, v]) => [k, sorted(v)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}
