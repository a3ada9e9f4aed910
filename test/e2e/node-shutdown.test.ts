// The node goes down: logind says so, the node's pods end in the order of their priority, and only then may it.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { labMissing } from '../harness/cluster.ts';
import { FakeLogind, logindMissing } from '../harness/fake-logind.ts';
import { FaultNode, NODE, until } from '../harness/fault-node.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { pod } from '../harness/manifests.ts';

const missing = labMissing() ?? logindMissing();
const WAIT_MS = 120_000;
const READY = '{.status.conditions[?(@.type=="Ready")].message}';

describe.skipIf(missing !== undefined)('a shutdown of the node', () => {
  let dir: string;
  let logind: FakeLogind;
  let node: FaultNode;
  let kubectl: Kubectl;

  beforeAll(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'nodelet-logind-'));
    logind = await FakeLogind.start(dir);
    node = await FaultNode.start();
    kubectl = await node.cluster.kubectl();
    await node.changeAgentConfig((text) =>
      text.replace(
        'kind: KubeletConfiguration\n',
        `$&shutdownGracePeriodByPodPriority:
  - priority: 0
    shutdownGracePeriodSeconds: 60
  - priority: 100
    shutdownGracePeriodSeconds: 60
`,
      ),
    );
    await node.killAgent();
    const { PATH, DBUS_SYSTEM_BUS_ADDRESS } = process.env;
    process.env.DBUS_SYSTEM_BUS_ADDRESS = logind.address;
    process.env.PATH = `${logind.bin}:${PATH}`;
    try {
      await (await node.startAgent())();
    } finally {
      process.env.PATH = PATH;
      if (DBUS_SYSTEM_BUS_ADDRESS === undefined) delete process.env.DBUS_SYSTEM_BUS_ADDRESS;
      else process.env.DBUS_SYSTEM_BUS_ADDRESS = DBUS_SYSTEM_BUS_ADDRESS;
    }
    await until(
      () => logind.isHeld(),
      (held) => held,
      WAIT_MS,
    );
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
    await logind?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  test('ends pods by priority, refuses new ones, and lets go when all have ended', async () => {
    await kubectl.apply({
      apiVersion: 'scheduling.k8s.io/v1',
      kind: 'PriorityClass',
      metadata: { name: 'late' },
      value: 100,
    });
    // Each says when it ends; the first one takes its time over it.
    const command = (pause: number) => [
      'sh',
      '-c',
      `trap "sleep ${pause}; echo $HOSTNAME >> /shared/ended; exit 0" TERM; touch /shared/up-$HOSTNAME; sleep 1000000 & wait`,
    ];
    const shared = path.join(node.paths.dir, 'shared');
    const spec = (pause: number) => {
      const [main] = pod('x', command(pause)).spec!.containers!;
      return {
        terminationGracePeriodSeconds: 30,
        containers: [{ ...main!, volumeMounts: [{ name: 'shared', mountPath: '/shared' }] }],
        volumes: [{ name: 'shared', hostPath: { path: shared, type: 'DirectoryOrCreate' } }],
      };
    };
    await kubectl.apply(pod('first', command(2), spec(2)));
    await kubectl.apply(pod('last', command(0), { ...spec(0), priorityClassName: 'late' }));
    for (const name of ['first', 'last']) {
      await kubectl.until(`pod/${name}`, '{.status.phase}', /Running/);
      await until(
        () => readFile(path.join(shared, `up-${name}`), 'utf8').catch(() => undefined),
        (there) => there !== undefined,
        WAIT_MS,
      );
    }

    logind.prepareForShutdown(true);
    await kubectl.until(`node/${NODE}`, READY, /node is shutting down/);
    expect(await logind.isHeld()).toBe(true);
    await kubectl.apply(pod('refused', undefined, { nodeName: NODE }));
    await kubectl.until('pod/refused', '{.status.reason}', /^NodeShutdown$/);
    expect(
      await until(
        () => logind.isHeld(),
        (held) => !held,
        WAIT_MS,
      ),
    ).toBe(false);

    expect(await readFile(path.join(shared, 'ended'), 'utf8')).toBe('first\nlast\n');
    const message = 'Pod was terminated in response to imminent node shutdown.';
    for (const name of ['first', 'last']) {
      const { status } = await kubectl.json<Pod>('get', 'pod', name);
      expect(status).toMatchObject({ phase: 'Failed', reason: 'Terminated', message });
      expect(status?.conditions).toContainEqual(
        expect.objectContaining({ type: 'DisruptionTarget', status: 'True', reason: 'TerminationByKubelet', message }),
      );
    }
    expect(await kubectl.run('get', 'pod', 'refused', '-o', 'jsonpath={.status.phase}: {.status.message}')).toBe(
      'Failed: Pod was rejected: Pod was rejected as the node is shutting down.',
    );
    const state = path.join(node.paths.kubeletRoot, 'graceful_node_shutdown_state');
    expect(Object.keys(JSON.parse(await readFile(state, 'utf8')) as object)).toEqual(['startTime', 'endTime']);
  });

  test('that is called off leaves a node that works', async () => {
    logind.prepareForShutdown(false);
    await kubectl.until(`node/${NODE}`, READY, /kubelet is posting ready status/);
    await until(
      () => logind.isHeld(),
      (held) => held,
      WAIT_MS,
    );
    await kubectl.apply(pod('after', undefined, { nodeName: NODE, tolerations: [{ operator: 'Exists' }] }));
    await kubectl.until('pod/after', '{.status.phase}', /Running/);
    const events = await kubectl.run(
      'get',
      'events',
      '--field-selector=reason=Shutdown',
      '-o',
      'jsonpath={.items[*].message}',
    );
    expect(events).toContain('Shutdown manager detected shutdown event');
    expect(events).toContain('Shutdown manager detected shutdown cancellation');
  });

  test('an agent that is stopped leaves its pods, --cleanup takes its network away and nothing else', async () => {
    const running = async () =>
      (await node.runtime.listContainers())
        .filter((c) => c.state === 'CONTAINER_RUNNING')
        .map((c) => c.id)
        .sort();
    const before = await running();
    expect(before.length).toBeGreaterThan(0);
    process.kill(node.agentPid, 'SIGTERM');
    expect(
      await until(
        () => node.agentRuns(),
        (runs) => !runs,
        WAIT_MS,
      ),
    ).toBe(false);
    expect(
      await until(
        () => logind.isHeld(),
        (held) => !held,
        WAIT_MS,
      ),
    ).toBe(false);
    expect(await running()).toEqual(before);
    const rules = () => node.cluster.inNode(NODE, 'iptables-save');
    expect(await rules()).toContain('-A KUBE-SERVICES');
    const kept = await node.leftovers();

    await node.startAgent((args) => [...args, '--cleanup']);
    expect(
      await until(
        () => node.agentRuns(),
        (runs) => !runs,
        WAIT_MS,
      ),
    ).toBe(false);
    expect(await rules()).not.toMatch(/KUBE-|FLANNEL/);
    expect(await running()).toEqual(before);
    expect(await node.leftovers()).toEqual(kept);
    await (await node.startAgent())(); // as if nothing had been
    expect(await rules()).toContain('-A KUBE-SERVICES');
    expect(await running()).toEqual(before);
  });
});
