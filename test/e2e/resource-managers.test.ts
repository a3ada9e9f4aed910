// CPUs and memory that containers have for themselves, on a real node: what the kernel lets each container run on, while
// pods come and go, agents are killed, and the policy of the node changes.
import { readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { systemClock } from '../../core/clock.ts';
import { detectCgroups } from '../../host/cgroup.ts';
import { formatCpuSet, parseCpuSet } from '../../kubelet/managers/cpu-set.ts';
import { labNames } from '../../lab/names.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, NODE } from '../harness/fault-node.ts';
import { findKubectl, type Kubectl } from '../harness/kubectl.ts';
import { pod, SLEEP } from '../harness/manifests.ts';
import { Random, seedFrom } from '../harness/random.ts';

const found = labMissing() === undefined ? await findKubectl('1.36') : { missing: labMissing()! };
if ('missing' in found) console.warn(`tests of resource managers are skipped: ${found.missing}`);

const DEADLINE_MS = 120_000;
const ASK_AGAIN_MS = 100;
const KILLS = 2;
const SEED = seedFrom('NODELET_MANAGERS_SEED');
/** Admission of a pod and the making of its containers, ms. */
const LONGEST_LIFE_MS = 300;
const SETTINGS = `
cpuManagerPolicy: static
cpuManagerReconcilePeriod: 1s
memoryManagerPolicy: Static
topologyManagerPolicy: single-numa-node
systemReserved: {cpu: 500m, memory: 64Mi}
reservedMemory: [{numaNode: 0, limits: {memory: 64Mi}}]`;

describe.skipIf('missing' in found)('CPUs and memory for containers alone', () => {
  let node: FaultNode;
  let kubectl: Kubectl;
  let online: ReadonlySet<number>;
  let stateFile: string;

  beforeAll(async () => {
    online = parseCpuSet((await readFile('/sys/devices/system/cpu/online', 'utf8')).trim());
    node = await FaultNode.start();
    kubectl = (await node.cluster.kubectl('1.36')).in('managers');
    stateFile = path.join(node.paths.kubeletRoot, 'cpu_manager_state');
    await kubectl.run('create', 'namespace', 'managers');
    await node.changeAgentConfig((text) =>
      text.replace('kind: KubeletConfiguration', `kind: KubeletConfiguration${SETTINGS}`),
    );
  });
  afterEach(async () => {
    await kubectl.run('delete', 'pods', '--all', '--wait', '--force', '--grace-period=0');
    // Their objects are gone at once, but they have their CPUs until they have ended.
    const given = async () => JSON.parse(await readFile(stateFile, 'utf8')).entries ?? {};
    await until(async () => Object.keys(await given()).length === 0, 'nothing stays given away');
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  /** A Guaranteed pod with so many CPUs; `spec.nodeName` goes past the scheduler. */
  function exclusive(name: string, cpus: number): Pod {
    const made = pod(name, SLEEP, { nodeName: NODE });
    const amounts = { cpu: String(cpus), memory: '32Mi' };
    made.spec!.containers[0]!.resources = { requests: amounts, limits: amounts };
    return made;
  }

  async function run(wanted: Pod): Promise<string> {
    const name = wanted.metadata!.name!;
    await kubectl.apply(wanted);
    await kubectl.run('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=120s').catch(async (err: unknown) => {
      throw new Error(`${name} does not run: ${JSON.stringify(await status(name))}`, { cause: err });
    });
    return name;
  }

  /** What the kernel says. */
  async function allowed(name: string, what: 'Cpus' | 'Mems' = 'Cpus'): Promise<string> {
    const line = await kubectl.run('exec', name, '--', 'grep', `${what}_allowed_list`, '/proc/self/status');
    return line.split(':')[1]!.trim();
  }

  async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
    const endMs = Date.now() + DEADLINE_MS;
    while (!(await holds())) {
      if (Date.now() > endMs) throw new Error(`not in time: ${what}\n${await node.agentLog()}`);
      await systemClock.sleep(ASK_AGAIN_MS);
    }
  }

  const untilAllowed = (name: string, cpus: string) =>
    until(async () => (await allowed(name)) === cpus, `${name} on ${cpus}`);
  const status = async (name: string) => (await kubectl.json<Pod>('get', 'pod', name)).status ?? {};
  const without = (cpus: string) => formatCpuSet(online.difference(parseCpuSet(cpus)));
  const restart = async () => {
    await node.killAgent();
    const ready = await node.startAgent();
    await ready().catch(async (err: unknown) => {
      throw new Error(`the agent does not start again:\n${await node.agentLog()}`, { cause: err });
    });
  };

  test('a node cannot be given another policy under its containers', async () => {
    await node.killAgent();
    const ready = await node.startAgent();
    await expect(ready()).rejects.toThrow();
    const log = await node.agentLog();
    expect(log).toContain('configured policy');
    expect(log).toContain('please drain this node and delete the CPU manager checkpoint file');
    await rm(stateFile);
    await rm(path.join(node.paths.kubeletRoot, 'memory_manager_state'));
    await (await node.startAgent())();
    expect((await stat(stateFile)).mode & 0o777).toBe(0o600);
  });

  test('one container has its CPU alone, the others share the rest and have it back; agents come and go', async () => {
    const shared = await run(pod('shared'));
    expect(await allowed(shared)).toBe(formatCpuSet(online));
    const own = await run(exclusive('own', 1));
    const cpu = await allowed(own);
    expect([...parseCpuSet(cpu)]).toEqual([[...online][1]]); // the first one is the system's
    expect(await allowed(own, 'Mems')).toBe('0');
    await untilAllowed(shared, without(cpu));
    const late = await run(pod('late'));
    expect(await allowed(late)).toBe(without(cpu)); // from its first moment on
    const before = JSON.parse(await readFile(stateFile, 'utf8'));
    await restart();
    await kubectl.run('wait', '--for=condition=Ready', 'pod/own', '--timeout=120s');
    expect(JSON.parse(await readFile(stateFile, 'utf8'))).toEqual(before);
    expect([await allowed(own), await allowed(shared)]).toEqual([cpu, without(cpu)]);
    expect((await kubectl.json<Pod>('get', 'pod', 'own')).status?.containerStatuses?.[0]?.restartCount).toBe(0);
    await kubectl.run('delete', 'pod', 'own', '--wait');
    await untilAllowed(shared, formatCpuSet(online));
    await untilAllowed(late, formatCpuSet(online));
  });

  test('a container with CPUs of its own is not throttled', async () => {
    await run(exclusive('own', 1));
    const { metadata } = await kubectl.json<Pod>('get', 'pod', 'own');
    const { version, mounts } = await detectCgroups();
    const group = path.join(labNames(node.cluster.dir).cgroupRoot, NODE, 'kubepods', `pod${metadata!.uid}`);
    const [mount, file] = version === 2 ? [mounts.get('unified'), 'cpu.max'] : [mounts.get('cpu'), 'cpu.cfs_quota_us'];
    const ofPod = (await readFile(path.join(mount!, group, file), 'utf8')).trim();
    expect(ofPod).toMatch(version === 2 ? /^max / : /^-1$/);
    const inside = version === 2 ? '/sys/fs/cgroup/cpu.max' : '/sys/fs/cgroup/cpu/cpu.cfs_quota_us';
    expect((await kubectl.run('exec', 'own', '--', 'cat', inside)).trim()).toMatch(version === 2 ? /^max / : /^-1$/);
  });

  test('what is not there is refused with the reason, and nothing stays given away', async () => {
    const all = online.size - 1;
    await kubectl.apply(exclusive('too-many', all + 1));
    await until(async () => (await status('too-many')).phase === 'Failed', 'too-many refused');
    expect(await status('too-many')).toMatchObject({ reason: 'TopologyAffinityError' });
    const own = await run(exclusive('own', all));
    expect(parseCpuSet(await allowed(own)).size).toBe(all);
  });

  test('a resize is refused', async () => {
    await run(exclusive('own', 1));
    const amounts = { cpu: '500m', memory: '32Mi' };
    const body = { spec: { containers: [{ name: 'main', resources: { requests: amounts, limits: amounts } }] } };
    await kubectl.run('patch', 'pod', 'own', '--subresource=resize', `--patch=${JSON.stringify(body)}`);
    const pending = async () => (await status('own')).conditions?.find((c) => c.type === 'PodResizePending');
    await until(async () => (await pending()) !== undefined, 'told that it is refused');
    expect(await pending()).toMatchObject({
      reason: 'Infeasible',
      message: 'Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "static"',
    });
  });

  test(`an agent that is killed ${KILLS} times while it lets a pod in gives each CPU away once (seed ${SEED})`, async () => {
    const random = new Random(SEED);
    const shared = await run(pod('shared'));
    for (let kill = 0; kill < KILLS; kill++) {
      const name = `own-${kill}`;
      await kubectl.apply(exclusive(name, 1));
      await systemClock.sleep(random.int(0, LONGEST_LIFE_MS));
      await restart();
      await kubectl.run('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=120s');
      const cpu = await allowed(name);
      expect(parseCpuSet(cpu).size).toBe(1);
      await untilAllowed(shared, without(cpu));
      await kubectl.run('delete', 'pod', name, '--wait');
      await untilAllowed(shared, formatCpuSet(online));
    }
  });
});
