// Parts that die under running pods: the agent, containerd, the API server, a whole node. What runs goes on, nothing is
// started twice, and what was missed meanwhile is made up for.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { systemClock } from '../../core/clock.ts';
import { type ProcessIdentity, signalProcess, waitForExit } from '../../host/process.ts';
import { readLabState } from '../../lab/state.ts';
import { labMissing, TestCluster } from '../harness/cluster.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { pod, SLEEP } from '../harness/manifests.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`fault tests are skipped: ${missing}`);

interface ContainerView {
  readonly id: string;
  readonly restarts: number;
}

describe.skipIf(missing !== undefined)('faults', () => {
  let cluster: TestCluster;
  let kubectl: Kubectl;

  beforeAll(async () => {
    cluster = await TestCluster.start({ arguments: ['--apiserver-arg=--node-monitor-grace-period=12'] });
    kubectl = await cluster.kubectl();
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });

  const labState = () => readLabState(cluster.dir);

  const killNow = async (identity: ProcessIdentity | undefined) => {
    if (identity === undefined || !(await signalProcess(identity, 'SIGKILL'))) throw new Error('it does not run');
    if (!(await waitForExit(identity, 10_000, systemClock))) throw new Error('it does not end');
  };

  /** Pod name → its container, as the API server knows it. */
  const containersOf = async (selector: string): Promise<Map<string, ContainerView>> => {
    const { items } = await kubectl.json<{ items: Pod[] }>('get', 'pods', '-l', selector);
    return new Map(
      items.map((p) => {
        const status = p.status?.containerStatuses?.[0];
        const id = status?.containerID?.replace('containerd://', '') ?? '';
        return [p.metadata?.name ?? '', { id, restarts: status?.restartCount ?? 0 }];
      }),
    );
  };

  /** Ids of running tasks on a node: sandboxes and containers. */
  const tasksOf = async (node: string): Promise<string[]> => {
    const out = await cluster.ctr(node, 'tasks', 'list');
    return [...out.matchAll(/^([0-9a-f]{64})\s+\d+\s+RUNNING/gm)].map((m) => m[1]!).sort();
  };

  const startPods = async (group: string, names: readonly string[], node: string, command = SLEEP) => {
    const manifests = names.map((name) => {
      const one = pod(name, command, { nodeName: node });
      return { ...one, metadata: { name, labels: { group } } };
    });
    await kubectl.apply({ apiVersion: 'v1', kind: 'List', items: manifests });
    await kubectl.run('wait', '--for=condition=Ready', 'pod', '-l', `group=${group}`, '--timeout=120s');
  };

  const untilNode = (name: string, status: RegExp) =>
    kubectl.until(`node/${name}`, '{.status.conditions[?(@.type=="Ready")].status}', status);

  test('agent killed while pods run, one starts and one is deleted: none restarted, doubled or lost', async () => {
    const names = Array.from({ length: 10 }, (_, i) => `stay-${i}`);
    await startPods('agent', [...names, 'leaves'], 'node-1');
    const before = await containersOf('group=agent');
    const tasksBefore = await tasksOf('node-1');
    expect(tasksBefore).toHaveLength(22);

    // A long grace keeps the deletion under way; the new pod is on its way when the agent dies.
    await kubectl.run('delete', 'pod', 'leaves', '--wait=false');
    const starts = {
      ...pod('starts', SLEEP, { nodeName: 'node-1' }),
      metadata: { name: 'starts', labels: { group: 'agent' } },
    };
    await kubectl.apply(starts);
    await killNow((await labState()).nodes[0]?.agent);
    expect((await cluster.node('node-1')).agentPid).toBeNull();
    await cluster.lab('node', 'start', 'node-1');

    await kubectl.run('wait', '--for=condition=Ready', 'pod/starts', '--timeout=120s');
    await kubectl.run('wait', '--for=delete', 'pod/leaves', '--timeout=120s').catch(async (err: unknown) => {
      // kubectl before 1.30 fails when it is gone already.
      if ((await kubectl.run('get', 'pod', 'leaves', '--ignore-not-found')) !== '') throw err;
    });
    const after = await containersOf('group=agent');
    expect([...after.keys()].sort()).toEqual([...names, 'starts'].sort());
    for (const name of names) expect(after.get(name)).toEqual(before.get(name));
    const tasks = await tasksOf('node-1');
    const containers = [...after.values()].map((c) => c.id);
    expect(tasks).toEqual(expect.arrayContaining(containers));
    expect(tasks).toHaveLength(2 * containers.length); // each with its sandbox, and nothing besides
    await kubectl.run('delete', 'pod', '-l', 'group=agent');
    expect(await tasksOf('node-1')).toEqual([]);
  });

  test('containerd killed: the node says so, pods live on and are adopted, an exit meanwhile is noticed', async () => {
    await startPods('runtime', ['lives-1', 'lives-2'], 'node-2');
    // Its process is ended from outside while nobody watches.
    await startPods('runtime', ['dies'], 'node-2');
    const before = await containersOf('group=runtime');
    const pidOf = async (id: string) => {
      const out = await cluster.ctr('node-2', 'tasks', 'list');
      return Number(new RegExp(`^${id}\\s+(\\d+)`, 'm').exec(out)?.[1]);
    };
    const inner = await pidOf(before.get('dies')!.id);
    const state = await labState();
    await killNow(state.nodes[1]?.containerd);
    // The node has a pid namespace of its own: the process is found through the init of that namespace.
    await cluster.inNode('node-2', 'kill', '-KILL', String(inner));

    await untilNode('node-2', /^False$/);
    const condition = await kubectl.run(
      'get',
      'node',
      'node-2',
      '-o',
      'jsonpath={.status.conditions[?(@.type=="Ready")]}',
    );
    expect(condition).toContain('KubeletNotReady');
    expect(condition).toMatch(/container runtime is down|PLEG is not healthy/);
    const phases = await kubectl.run('get', 'pods', '-l', 'group=runtime', '-o', 'jsonpath={.items[*].status.phase}');
    expect(phases).toBe('Running Running Running');

    await cluster.lab('node', 'start', 'node-2');
    await untilNode('node-2', /^True$/);
    await kubectl.until('pod/dies', '{.status.containerStatuses[0].restartCount}', /^1$/);
    await kubectl.run('wait', '--for=condition=Ready', 'pod', '-l', 'group=runtime', '--timeout=120s');
    const after = await containersOf('group=runtime');
    for (const name of ['lives-1', 'lives-2']) expect(after.get(name)).toEqual(before.get(name));
    expect(after.get('dies')!.id).not.toBe(before.get('dies')!.id);
    await kubectl.run('delete', 'pod', '-l', 'group=runtime');
    expect(await tasksOf('node-2')).toEqual([]);
  });

  test('containerd that lost all it knew: pods are made anew, and what ran of them before does not run beside them', async () => {
    const marked = ['sh', '-c', 'exec sleep 4242'];
    await startPods('lost', ['lost-1', 'lost-2'], 'node-2', marked);
    const before = await containersOf('group=lost');
    const sleeping = async () => {
      const processes = await cluster.inNode('node-2', 'ps', '-eo', 'pid,args');
      return [...processes.matchAll(/^\s*(\d+) sleep 4242$/gm)].map((m) => m[1]!);
    };
    const old = await sleeping();
    expect(old).toHaveLength(2);
    await killNow((await labState()).nodes[1]?.containerd);
    const wipe = [
      'for at in $(grep -o "/run/containerd/[^ ]*" /proc/mounts); do umount -l "$at"; done',
      `rm -rf /run/containerd/* ${cluster.dir}/nodes/node-2/containerd/*`,
    ];
    await cluster.inNode('node-2', 'sh', '-c', wipe.join('; '));
    expect(await sleeping()).toEqual(old);

    await cluster.lab('node', 'start', 'node-2');
    for (const [name, { id }] of before) {
      await kubectl.until(`pod/${name}`, '{.status.containerStatuses[0].containerID}', new RegExp(`^(?!.*${id}).+`));
    }
    await kubectl.run('wait', '--for=condition=Ready', 'pod', '-l', 'group=lost', '--timeout=120s');
    const now = await sleeping();
    expect(now).toHaveLength(2);
    expect(now.filter((pid) => old.includes(pid))).toEqual([]);
    await kubectl.run('delete', 'pod', '-l', 'group=lost');
    expect(await sleeping()).toEqual([]);
  });

  test('API server killed for 20 s: pods run on and restart, their status catches up', async () => {
    await startPods('api', ['steady'], 'node-1');
    await startPods('api', ['restarts'], 'node-1', ['sh', '-c', 'trap "exit 0" TERM; sleep 5 & wait; exit 1']);
    const before = await containersOf('group=api');
    await killNow((await labState()).apiserver);
    expect((await cluster.status()).apiserver.healthy).toBe(false);
    await systemClock.sleep(20_000); // the length of the outage is what is tried
    // The first restart needs no back-off: it came during the outage, and nobody but the runtime could tell.
    const running = await tasksOf('node-1');
    expect(running).toContain(before.get('steady')!.id);
    expect(running).not.toContain(before.get('restarts')!.id);
    await cluster.lab('apiserver', 'start');

    await kubectl.until('pod/restarts', '{.status.containerStatuses[0].restartCount}', /^[1-9]/);
    await untilNode('node-1', /^True$/);
    await startPods('api-again', ['afterwards'], 'node-1');
    const after = await containersOf('group=api');
    expect(after.get('steady')).toEqual(before.get('steady'));
    await kubectl.run('delete', 'pod', '-l', 'group in (api, api-again)');
  });

  test('node switched off: NotReady, its pods are replaced elsewhere, and it comes back empty', async () => {
    const soon = ['not-ready', 'unreachable'].map((what) => ({
      key: `node.kubernetes.io/${what}`,
      operator: 'Exists' as const,
      effect: 'NoExecute' as const,
      tolerationSeconds: 1,
    }));
    const spec = { ...pod('moving').spec!, tolerations: soon };
    await kubectl.apply({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'moving' },
      spec: {
        replicas: 4,
        selector: { matchLabels: { app: 'moving' } },
        template: { metadata: { labels: { app: 'moving' } }, spec },
      },
    });
    await kubectl.run('rollout', 'status', 'deployment/moving', '--timeout=120s');
    const nodes = '{range .items[*]}{.spec.nodeName}{"\\n"}{end}';
    const placed = () => kubectl.run('get', 'pods', '-l', 'app=moving', '-o', `jsonpath=${nodes}`);
    expect(await placed()).toContain('node-2');

    await cluster.lab('node', 'stop', 'node-2');
    await untilNode('node-2', /^(Unknown|False)$/);
    expect(await kubectl.run('get', 'node', 'node-2')).toMatch(/^node-2\s+NotReady\s/m);
    const alive = async () => {
      const { items } = await kubectl.json<{ items: Pod[] }>('get', 'pods', '-l', 'app=moving');
      return items.filter((p) => p.metadata?.deletionTimestamp === undefined).map((p) => p.spec?.nodeName);
    };
    await expect.poll(alive, { timeout: 120_000 }).toEqual(['node-1', 'node-1', 'node-1', 'node-1']);
    await kubectl.until(
      'deployment/moving',
      '{.status.conditions[?(@.type=="Available")].status} {.status.readyReplicas}',
      /^True 4$/,
    );

    await cluster.lab('node', 'start', 'node-2');
    await untilNode('node-2', /^True$/);
    await kubectl.until('node/node-2', '{.spec.taints}#', /^(\[\])?#$/);
    // The pods that were replaced were only marked; now the agent confirms that they are gone.
    await kubectl.run('delete', 'deployment', 'moving');
    await kubectl
      .run('wait', '--for=delete', 'pod', '-l', 'app=moving', '--timeout=120s')
      .catch(async (err: unknown) => {
        if ((await kubectl.run('get', 'pods', '-l', 'app=moving')) !== '') throw err;
      });
    expect(await tasksOf('node-2')).toEqual([]);
  });
});
