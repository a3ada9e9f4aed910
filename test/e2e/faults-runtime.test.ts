// Faults below the agent: containerd that hangs, processes of sandboxes and shims that die, a network plugin that talks
// nonsense, a disk that is full or read-only, state files that are broken. The node says what is wrong, nothing is doubled,
// and when the fault is over everything comes about by itself.
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { pods } from '../../api/resources.ts';
import { systemClock } from '../../core/clock.ts';
import { readLabState } from '../../lab/state.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, NODE, until } from '../harness/fault-node.ts';
import { LabPods } from '../harness/lab-pods.ts';

const NAMESPACE = 'below';
const HANG_MS = 3_000;
const WAIT_MS = 90_000;
const missing = labMissing();
if (missing !== undefined) console.warn(`tests of faults below the agent are skipped: ${missing}`);

describe.skipIf(missing !== undefined)('faults below the agent', () => {
  let node: FaultNode;
  let labPods: LabPods;

  beforeAll(async () => {
    node = await FaultNode.start();
    labPods = await LabPods.create(node, NAMESPACE);
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  const inNode = (program: string, ...args: string[]) => node.cluster.inNode(NODE, program, ...args);
  const restartsOf = (pod: Pod) => pod.status?.containerStatuses?.[0]?.restartCount;
  const isReady = (pod: Pod) => pod.status?.containerStatuses?.[0]?.ready === true;
  const sandboxesOf = async (name: string) =>
    (await node.runtime.listPodSandboxes()).filter((s) => s.metadata?.name === name);

  /** Of process 1 of a sandbox or container, as the node sees it. */
  const pidOf = async (id: string): Promise<string> => {
    const pid = new RegExp(`^${id}\\s+(\\d+)`, 'm').exec(await node.cluster.ctr(NODE, 'tasks', 'list'))?.[1];
    if (pid === undefined) throw new Error(`${id} has no task`);
    return pid;
  };

  /** The kernel refuses while a file is being written. */
  const untilReadOnly = async (dir: string) => {
    const remounted = () =>
      inNode('mount', '-o', 'remount,ro', dir).then(
        () => true,
        () => false,
      );
    if (!(await until(remounted, Boolean, WAIT_MS))) throw new Error(`${dir} cannot be made read-only`);
  };

  test('containerd that hangs for a while: what was wished for meanwhile comes about once, what runs goes on', async () => {
    const steady = await labPods.start('steady', {});
    await labPods.start('leaves', {});
    const containerd = (await readLabState(node.cluster.dir)).nodes[0]?.containerd;
    if (containerd === undefined) throw new Error('the node has no containerd');
    // Whoever waits for it stops with it.
    const parent = Number(/^PPid:\s*(\d+)/m.exec(await readFile(`/proc/${containerd.pid}/status`, 'utf8'))?.[1]);
    process.kill(containerd.pid, 'SIGSTOP');
    try {
      await labPods.apply('comes', {});
      await labPods.delete(pods, 'leaves');
      await systemClock.sleep(HANG_MS); // its length is what is tried
    } finally {
      process.kill(containerd.pid, 'SIGCONT');
      process.kill(parent, 'SIGCONT');
    }
    expect(restartsOf(await labPods.ready('comes'))).toBe(0);
    expect(await sandboxesOf('comes')).toHaveLength(1);
    const now = await labPods.ready('steady');
    expect(now.status?.containerStatuses).toEqual(steady.status?.containerStatuses);
  });

  test('the process of a sandbox dies: the sandbox is made anew, and its container restarted', async () => {
    await labPods.start('loses-sandbox', {});
    const [before] = await sandboxesOf('loses-sandbox');
    await inNode('kill', '-KILL', await pidOf(before!.id));
    await labPods.until('loses-sandbox', (pod) => restartsOf(pod) === 1 && isReady(pod));
    const message = 'Pod sandbox changed, it will be killed and re-created.';
    await labPods.untilEvent('loses-sandbox', 'SandboxChanged', message);
  });

  test('a shim dies, and with it its pod: the pod is made anew', async () => {
    await labPods.start('loses-shim', {});
    const [before] = await sandboxesOf('loses-shim');
    const processes = (await inNode('ps', '-eo', 'pid,args')).split('\n');
    const shim = processes.find((line) => line.includes('containerd-shim') && line.includes(before!.id));
    await inNode('kill', '-KILL', shim!.trim().split(' ')[0]!);
    const after = await labPods.until('loses-shim', (pod) => restartsOf(pod) === 1 && isReady(pod));
    expect(after.status?.containerStatuses?.[0]?.lastState?.terminated?.exitCode).toBe(255);
  });

  test('a network plugin that talks nonsense: the pod waits and says why, and leaves nothing', async () => {
    const plugins = /^cniBinDir: (.*)$/m.exec(await readFile(node.paths.agentConfig, 'utf8'))?.[1];
    const bridge = path.join(plugins!, 'bridge');
    const nonsense = path.join(node.paths.dir, 'nonsense');
    await writeFile(nonsense, "#!/bin/sh\nprintf '\\001\\377 nonsense'\nexit 0\n");
    await chmod(nonsense, 0o755);
    await inNode('mount', '--bind', nonsense, bridge);
    try {
      await labPods.apply('unconnected', {});
      await labPods.untilEventMatching('unconnected', 'FailedCreatePodSandBox', /plugin type="bridge" failed/);
    } finally {
      await inNode('umount', '--lazy', bridge); // it may be running
    }
    await labPods.deletePods();
    await node.untilClean(WAIT_MS);
  });

  test('state files that hold nonsense: the agent starts all the same, and what runs goes on', async () => {
    const steady = await labPods.start('outlives', {});
    const root = node.paths.kubeletRoot;
    await node.killAgent();
    const harmless = ['allocated_pods_state', 'actuated_pods_state', 'graceful_node_shutdown_state'];
    harmless.push('device-plugins/kubelet_internal_checkpoint', `image_manager/pulled/sha256-${'0'.repeat(64)}`);
    for (const name of harmless) await writeFile(path.join(root, name), '{"data":5,"Data":7');
    await (await node.startAgent())();
    await labPods.start('comes-after', {});
    expect((await labPods.ready('outlives')).status?.containerStatuses).toEqual(steady.status?.containerStatuses);
    await labPods.deletePods();
    await node.untilClean(WAIT_MS);
  });

  test('a disk that is full, then read-only: pods say so, one starts once there is room, nothing is left', async () => {
    const root = node.paths.kubeletRoot;
    await node.killAgent();
    await inNode('mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', root);
    try {
      await (await node.startAgent())();
      const fill = path.join(root, 'fill');
      await inNode('sh', '-c', `dd if=/dev/zero of=${fill} bs=4k 2>/dev/null; test -s ${fill}`);
      const volume = {
        name: 'files',
        downwardAPI: { items: [{ path: 'a', fieldRef: { fieldPath: 'metadata.uid' } }] },
      };
      await labPods.apply('needs-room', {}, { hostNetwork: true, volumes: [volume] });
      await labPods.until('needs-room', (pod) => pod.status?.containerStatuses?.[0]?.state?.waiting !== undefined);
      await labPods.untilEventMatching('needs-room', /^Failed/, /no space left on device/);
      expect(await node.agentRuns()).toBe(true);
      await inNode('rm', fill);
      await labPods.ready('needs-room');

      await untilReadOnly(root);
      await labPods.apply('needs-writing', {}, { hostNetwork: true });
      await labPods.untilEventMatching('needs-writing', 'Failed', /read-only file system/);
    } finally {
      await inNode('mount', '-o', 'remount,rw', root);
      await labPods.deletePods();
      await labPods.untilNoPods();
      await node.killAgent();
      await inNode('umount', '--recursive', '--lazy', root);
      await mkdir(root, { recursive: true });
      await (await node.startAgent())();
    }
    await node.untilClean(WAIT_MS);
  });
});
