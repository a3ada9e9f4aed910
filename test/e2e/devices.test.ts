// Pods with devices of a device plugin, as a user of a cluster has them: with a plugin in a process of its own, which is
// killed in the middle, as is the agent.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Container, Pod, PodSpec } from '../../api/pod.ts';
import type { ListPodResourcesResponse } from '../../cri/gen/messages.ts';
import { methodOf, RpcChannel } from '../../cri/rpc.ts';
import { parseCheckpoint } from '../../kubelet/devices/device-checkpoint.ts';
import { labMissing } from '../harness/cluster.ts';
import { type DevicePluginSettings, healthy, TestDevicePlugin } from '../harness/device-plugin.ts';
import { DevicePluginProcess } from '../harness/device-plugin-process.ts';
import { FaultNode, NODE } from '../harness/fault-node.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { pod, SLEEP } from '../harness/manifests.ts';
import { serveRegistration } from '../harness/plugin-socket.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`tests of devices are skipped: ${missing}`);

const RESOURCE = 'example.com/dev';
/** In a JSONPath. */
const KEY = 'example\\.com/dev';
const RUN_MS = 120_000;
/** Each test waits for several things in turn, each with a deadline of its own. */
const TEST_MS = 300_000;

describe.skipIf(missing !== undefined)('devices', { timeout: TEST_MS }, () => {
  let node: FaultNode;
  let kubectl: Kubectl;
  let plugin: DevicePluginProcess;
  let settings: DevicePluginSettings;

  beforeAll(async () => {
    node = await FaultNode.start();
    kubectl = await node.cluster.kubectl();
    const dataDir = path.join(node.cluster.dir, 'device-data');
    await mkdir(dataDir);
    await writeFile(path.join(dataDir, 'firmware'), 'v7\n');
    const dir = path.join(node.paths.kubeletRoot, 'device-plugins');
    settings = { dir, resource: RESOURCE, devices: healthy('one', 'two'), dataDir };
  });
  beforeEach(async () => {
    plugin = await DevicePluginProcess.start(settings);
    await amounts('2', '2');
  });
  afterEach(async () => {
    await kubectl?.run('delete', 'pod', '--all', '--wait'); // what they had is free then
    await plugin?.kill();
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  /** Waits until the Node tells so many devices in all, and so many to be had. */
  async function amounts(capacity: string, allocatable: string, key = KEY): Promise<void> {
    const both = `{.status.capacity.${key}} {.status.allocatable.${key}}`;
    await kubectl.until(`node/${NODE}`, both, new RegExp(`^${capacity} ${allocatable}$`), RUN_MS);
  }

  const asking = (count: number) => ({
    resources: { limits: { [RESOURCE]: String(count) }, requests: { [RESOURCE]: String(count) } },
  });

  function podWith(name: string, count = 1, more: Partial<Container> = {}, spec: Partial<PodSpec> = {}): Pod {
    const made = pod(name, SLEEP, spec);
    const main = made.spec!.containers[0]!;
    made.spec!.containers = [{ ...main, ...asking(count), ...more }];
    return made;
  }

  const untilPhase = (name: string, phase: string) =>
    kubectl.until(`pod/${name}`, '{.status.phase}', new RegExp(`^${phase}$`), RUN_MS);

  async function start(...args: Parameters<typeof podWith>): Promise<void> {
    await kubectl.apply(podWith(...args));
    await untilPhase(args[0], 'Running');
  }

  const inPod = async (name: string, script: string) =>
    (await kubectl.run('exec', name, '--', 'sh', '-c', script)).trim();
  /** Ids in the order of their names. */
  const devicesIn = (name: string) => inPod(name, 'echo $TEST_DEVICES');

  async function recorded(podName: string): Promise<string[]> {
    const uid = await kubectl.run('get', 'pod', podName, '-o', 'jsonpath={.metadata.uid}');
    const { grants } = parseCheckpoint(await readFile(path.join(settings.dir, 'kubelet_internal_checkpoint'), 'utf8'));
    return grants.filter((g) => g.podUid === uid).flatMap((g) => [...g.grant.devices.values()].flat());
  }

  /** As monitoring agents on the node ask for them. */
  async function reported(podName: string): Promise<string[]> {
    const channel = new RpcChannel(path.join(node.paths.kubeletRoot, 'pod-resources', 'kubelet.sock'));
    try {
      const list = methodOf('v1.PodResourcesLister', 'List', 'ListPodResourcesRequest', 'ListPodResourcesResponse');
      const { podResources } = await channel.call<ListPodResourcesResponse>(list, {}, 60_000);
      const devices = podResources.find((p) => p.name === podName)?.containers.flatMap((c) => c.devices) ?? [];
      return devices.map((d) => `${d.resourceName} ${d.deviceIds.join(',')}`).toSorted();
    } finally {
      channel.close();
    }
  }

  test('a container has what the plugin gives it: variables, files, devices', async () => {
    await start('all', 2);
    expect(await devicesIn('all')).toBe('one,two');
    expect(await inPod('all', 'cat /device-data/firmware')).toBe('v7');
    expect(await inPod('all', 'test -c /dev/test-one && test -c /dev/test-two && echo yes')).toBe('yes');
    expect(await inPod('all', 'touch /device-data/x 2>&1; echo x > /dev/test-one && echo written')).toMatch(
      /Read-only file system\nwritten$/,
    );
    expect((await recorded('all')).toSorted()).toEqual(['one', 'two']);
    expect(await reported('all')).toEqual([`${RESOURCE} one`, `${RESOURCE} two`]);
    const health = await kubectl.run(
      'get',
      'pod',
      'all',
      '-o',
      'jsonpath={.status.containerStatuses[0].allocatedResourcesStatus}',
    );
    expect(JSON.parse(health)).toEqual([
      {
        name: RESOURCE,
        resources: [
          { resourceID: 'one', health: 'Healthy' },
          { resourceID: 'two', health: 'Healthy' },
        ],
      },
    ]);
    const proxy = `/api/v1/nodes/${NODE}/proxy`;
    expect(await kubectl.run('get', '--raw', `${proxy}/healthz/device-plugin`)).toBe('ok');
    const metrics = await kubectl.run('get', '--raw', `${proxy}/metrics`);
    expect(metrics).toMatch(/kubelet_device_plugin_registration_total\{resource_name="example.com\/dev"\} [1-9]/);
    expect(metrics).toMatch(
      /kubelet_device_plugin_alloc_duration_seconds_count\{resource_name="example.com\/dev"\} [1-9]/,
    );
  });

  test('a pod for which there are too few is refused on the node, and waits at the scheduler', async () => {
    await start('first', 1);
    await kubectl.apply(podWith('bound', 2, {}, { nodeName: NODE }));
    await untilPhase('bound', 'Failed');
    const told = await kubectl.run('get', 'pod', 'bound', '-o', 'jsonpath={.status.reason}: {.status.message}');
    expect(told).toBe(
      'UnexpectedAdmissionError: Pod was rejected: Allocate failed due to requested number of devices unavailable for ' +
        `${RESOURCE}. Requested: 2, Available: 1, which is unexpected`,
    );
    await kubectl.apply(podWith('waits', 2));
    await kubectl.until(
      'pod/waits',
      '{.status.conditions[?(@.type=="PodScheduled")].message}',
      /Insufficient example.com\/dev/,
    );
    await kubectl.run('delete', 'pod', 'first', '--wait');
    await untilPhase('waits', 'Running');
    expect(await devicesIn('waits')).toBe('one,two');
  });

  test('a device that breaks cannot be had; whoever has it is told', async () => {
    await start('holder', 2);
    await plugin.order({ devices: [...healthy('one'), { ID: 'two', health: 'Unhealthy' }] });
    await amounts('2', '1');
    const health =
      '{.status.containerStatuses[0].allocatedResourcesStatus[0].resources[?(@.resourceID=="two")].health}';
    await kubectl.until('pod/holder', health, /^Unhealthy$/, RUN_MS);
    await plugin.order({ devices: settings.devices });
    await amounts('2', '2');
    await kubectl.until('pod/holder', health, /^Healthy$/, RUN_MS);
    expect(await kubectl.run('get', 'pod', 'holder', '-o', 'jsonpath={.status.phase}')).toBe('Running');
  });

  test('init containers hand their devices on', async () => {
    const init = {
      ...pod('x').spec!.containers[0]!,
      name: 'init',
      command: ['sh', '-c', 'echo had=$TEST_DEVICES'],
      ...asking(2),
    };
    await start('handed', 2, {}, { initContainers: [init] });
    expect(await devicesIn('handed')).toBe('one,two');
    expect(await kubectl.run('logs', 'handed', '-c', 'init')).toBe('had=one,two\n');
  });

  test('a plugin that is killed takes no pod with it; its devices are there again when it is', async () => {
    await start('stays', 1);
    const had = await devicesIn('stays');
    await plugin.kill();
    await amounts('2', '0');
    // Its container is made anew from what the plugin said when it was admitted.
    await kubectl.result(['exec', 'stays', '--', 'kill', '1']); // it may end with what it kills
    await kubectl.until(
      'pod/stays',
      '{.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}',
      /^1 true$/,
      RUN_MS,
    );
    expect(await devicesIn('stays')).toBe(had);
    plugin = await DevicePluginProcess.start(settings);
    await amounts('2', '2');
    await start('second', 1);
    expect([had, await devicesIn('second')].toSorted()).toEqual(['one', 'two']);
  });

  test('a plugin that is killed between the allocation and the start is not needed for the start', async () => {
    const env = [{ name: 'LATE', valueFrom: { configMapKeyRef: { name: 'late', key: 'k' } } }];
    await kubectl.apply(podWith('late', 1, { env }));
    await kubectl.until(
      'pod/late',
      '{.status.containerStatuses[0].state.waiting.reason}',
      /^CreateContainerConfigError$/,
      RUN_MS,
    );
    await plugin.kill();
    await amounts('2', '0');
    await kubectl.run('create', 'configmap', 'late', '--from-literal=k=v');
    await untilPhase('late', 'Running');
    expect(await devicesIn('late')).toBe((await recorded('late'))[0]);
    await kubectl.run('delete', 'configmap', 'late');
  });

  test('a plugin may be found in the registration directory', async () => {
    const found = { ...settings, resource: 'example.com/found', endpoint: 'found.sock' };
    await using served = new TestDevicePlugin(found);
    await served.serve();
    const told = Promise.withResolvers<object>();
    const socket = path.join(node.paths.kubeletRoot, 'plugins_registry', 'found-reg.sock');
    const info = { type: 'DevicePlugin', name: found.resource, endpoint: served.socket, versions: ['v1beta1'] };
    const registration = await serveRegistration(socket, { ...info, onStatus: (status) => told.resolve(status) });
    await amounts('2', '2', 'example\\.com/found');
    expect(await told.promise).toEqual({ pluginRegistered: true, error: '' });
    await registration[Symbol.asyncDispose]();
    await amounts('2', '0', 'example\\.com/found');
  });

  test('an agent that is killed finds all as it was; what ended meanwhile starts anew, with its device', async () => {
    await start('kept', 1);
    await start('ended', 1);
    const had = { kept: await devicesIn('kept'), ended: await devicesIn('ended') };
    expect([had.kept, had.ended].toSorted()).toEqual(['one', 'two']);
    const started = () =>
      kubectl.run('get', 'pod', 'kept', '-o', 'jsonpath={.status.containerStatuses[0].state.running.startedAt}');
    const before = await started();
    await node.killAgent();
    const containers = await node.runtime.listContainers();
    const ended = containers.find((c) => c.labels['io.kubernetes.pod.name'] === 'ended')!;
    await node.runtime.stopContainer(ended.id, 0);
    await (await node.startAgent())();
    await plugin.untilRegistered(2);
    await amounts('2', '2');
    expect(await started()).toBe(before);
    expect(await recorded('kept')).toEqual([had.kept]);
    const state = '{.status.phase} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}';
    if ((await kubectl.until('pod/ended', state, /^(Running 1 true|Failed.*)$/, RUN_MS)).startsWith('Running')) {
      expect(await devicesIn('ended')).toBe(had.ended);
      return;
    }
    // The plugin took longer to come back than the agent waits: the machine is busy.
    const told = await kubectl.run('get', 'pod', 'ended', '-o', 'jsonpath={.status.message}');
    expect(told).toContain(`no healthy devices present; cannot allocate unhealthy devices ${RESOURCE}`);
  });

  test('an agent that is killed while the plugin allocates asks again, and no device is lost', async () => {
    await plugin.order({ hang: 'Allocate' });
    await kubectl.apply(podWith('twice', 2));
    await plugin.untilCalled('Allocate');
    await node.killAgent();
    await (await node.startAgent())();
    await plugin.untilRegistered(2);
    // While the plugin was not back yet the pod may have been refused, as with any kubelet.
    const phase = await kubectl.until('pod/twice', '{.status.phase}', /^(Running|Failed)$/, RUN_MS);
    await amounts('2', '2');
    if (phase === 'Failed') {
      await kubectl.run('delete', 'pod', 'twice', '--wait');
      await start('twice', 2);
    }
    expect(await devicesIn('twice')).toBe('one,two');
  });

  test('after a reboot a pod that comes before its plugin is refused', async () => {
    await start('rebooted', 1);
    await plugin.kill();
    await node.killAgent();
    for (const { id } of await node.runtime.listPodSandboxes()) {
      await node.runtime.stopPodSandbox(id);
      await node.runtime.removePodSandbox(id);
    }
    await (await node.startAgent())();
    await untilPhase('rebooted', 'Failed');
    const told = await kubectl.run('get', 'pod', 'rebooted', '-o', 'jsonpath={.status.reason}: {.status.message}');
    expect(told).toBe(
      'UnexpectedAdmissionError: Pod was rejected: Allocate failed due to no healthy devices present; ' +
        `cannot allocate unhealthy devices ${RESOURCE}, which is unexpected`,
    );
    await amounts('0', '0');
  });
});
