import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Container, Pod } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { maskOf } from '../managers/numa-mask.ts';
import { parseCheckpoint } from './device-checkpoint.ts';
import { DeviceManager } from './device-manager.ts';
import { FakeDevicePlugin, told } from './fake-device-plugin.ts';

const GPU = 'example.com/gpu';
const NIC = 'example.com/nic';
const ANYWHERE = { nodes: undefined, preferred: false };

let dir: string;
let clock: FakeClock;
let manager: DeviceManager;
let plugin: FakeDevicePlugin;
let running: Set<string>;
let poked: string[];
let news: number;
let numaNodes: number[];

beforeEach(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'nodelet-devices-'));
  clock = new FakeClock();
  plugin = new FakeDevicePlugin();
  running = new Set();
  poked = [];
  news = 0;
  numaNodes = [0, 1];
  await open();
});
afterEach(async () => {
  manager[Symbol.dispose]();
  await settled();
  rmSync(dir, { recursive: true, maxRetries: 5 }); // a save may still be under way
});

async function open(): Promise<void> {
  manager = await DeviceManager.open(path.join(dir, 'device-plugins'), {
    isRunning: (uid, container) => running.has(`${uid}/${container}`),
    numaNodes: () => numaNodes,
    onAmountsChanged: () => news++,
    onPodHealthChanged: (uid) => poked.push(uid),
    clock,
    log: silentLog,
  });
}

/** An agent that ended is followed by another. */
async function restart(): Promise<void> {
  manager[Symbol.dispose]();
  await settled();
  await open();
  manager.inventory.opened();
}

/** What was not waited for has been written. */
async function settled(): Promise<void> {
  await manager.flush();
}

const file = () => path.join(dir, 'device-plugins', 'kubelet_internal_checkpoint');
const onDisk = () => parseCheckpoint(readFileSync(file(), 'utf8'));

type Options = Partial<Awaited<ReturnType<FakeDevicePlugin['options']>>>;
function offer(devices: string, resource = GPU, options: Options = {}, by = plugin): void {
  const defaults = { preStartRequired: false, getPreferredAllocationAvailable: false };
  manager.inventory.connected(resource, { plugin: by, options: { ...defaults, ...options } });
  manager.inventory.update(resource, by, told(devices));
}

const wants = (name: string, amounts: Record<string, string>, more: Partial<Container> = {}): Container => ({
  name,
  resources: { limits: amounts, requests: amounts },
  ...more,
});

function pod(uid: string, containers: Container[], initContainers: Container[] = []): Pod {
  return { metadata: { uid, name: uid, namespace: 'default' }, spec: { containers, initContainers } };
}

async function admit(p: Pod, nodes?: bigint): Promise<void> {
  await manager.awaited(p);
  for (const c of [...(p.spec?.initContainers ?? []), ...(p.spec?.containers ?? [])]) {
    await manager.allocate(p, c, { ...ANYWHERE, nodes });
  }
}

const idsOf = (uid: string, container: string) => manager.devicesOf(uid, container).map((d) => d.deviceId);
const one = (uid: string, count = '1') => pod(uid, [wants('main', { [GPU]: count })]);

describe('a container', () => {
  test('gets as many devices as it asks for, which are nobody else’s', async () => {
    offer('a b c');
    await admit(one('p1', '2'));
    await admit(one('p2'));
    expect(idsOf('p1', 'main')).toHaveLength(2);
    expect(new Set([...idsOf('p1', 'main'), ...idsOf('p2', 'main')]).size).toBe(3);
    expect(manager.heldAmounts()).toEqual(new Map([[GPU, 3]]));
    expect(await manager.grant(one('p2'), 'main')).toMatchObject({
      envs: [{ name: 'IDS', value: idsOf('p2', 'main')[0] }],
    });
  });

  test('of another kind, or that asks for nothing, is not the manager’s concern', async () => {
    offer('a');
    const plain = pod('p', [wants('main', { cpu: '1', 'hugepages-2Mi': '2Mi', 'kubernetes.io/x': '1' })]);
    expect(manager.concerns(plain)).toBe(false);
    expect(manager.grant(plain, 'main')).toBeUndefined();
    expect(manager.grant(one('p'), 'debugger')).toBeUndefined();
    expect(manager.concerns(one('p'))).toBe(true);
    expect(manager.concerns(pod('p', [wants('main', {})], [wants('init', { [GPU]: '1' })]))).toBe(true);
  });

  test('that asks for a resource without a plugin is none of it', async () => {
    await admit(one('p'));
    expect(idsOf('p', 'main')).toEqual([]);
    expect(await manager.grant(one('p'), 'main')).toBeUndefined();
  });

  test('keeps what it has, and the plugin is asked once', async () => {
    offer('a b');
    await admit(one('p'));
    const before = idsOf('p', 'main');
    await admit(one('p'));
    expect(idsOf('p', 'main')).toEqual(before);
    expect(plugin.allocated).toHaveLength(1);
  });

  test('may ask for several resources', async () => {
    const other = new FakeDevicePlugin();
    offer('a');
    offer('eth0', NIC, {}, other);
    const p = pod('p', [wants('main', { [GPU]: '1', [NIC]: '1' })]);
    await admit(p);
    expect(manager.devicesOf('p', 'main')).toEqual([
      { resourceName: GPU, deviceId: 'a', numaNodes: [] },
      { resourceName: NIC, deviceId: 'eth0', numaNodes: [] },
    ]);
    manager.forget('p');
    manager.forget('p');
    expect(manager.heldAmounts().size).toBe(0);
  });
});

describe('init containers', () => {
  test('hand their devices on; sidecars keep theirs', async () => {
    offer('a b');
    const sidecar = wants('sidecar', { [GPU]: '1' }, { restartPolicy: 'Always' });
    await admit(pod('p', [wants('main', { [GPU]: '1' })], [wants('init', { [GPU]: '1' }), sidecar]));
    expect(idsOf('p', 'sidecar')).toEqual(idsOf('p', 'init'));
    expect(idsOf('p', 'main')).not.toEqual(idsOf('p', 'sidecar'));
    expect(manager.heldAmounts()).toEqual(new Map([[GPU, 2]]));
  });

  test('that had fewer are joined by others', async () => {
    offer('a b c');
    await admit(pod('p', [wants('main', { [GPU]: '3' })], [wants('init', { [GPU]: '1' })]));
    expect(idsOf('p', 'main')).toEqual(['a', 'b', 'c']);
  });
});

describe('a pod is refused', () => {
  const refusal = (p: Pod) =>
    admit(p).then(
      () => 'none',
      (err: Error) => err.message,
    );

  test('for too few devices, with figures', async () => {
    offer('a b !c');
    await admit(one('other'));
    expect(await refusal(one('p', '2'))).toBe(
      `requested number of devices unavailable for ${GPU}. Requested: 2, Available: 1`,
    );
  });

  test('while no device is healthy, also for those it had', async () => {
    offer('!a');
    const text = `no healthy devices present; cannot allocate unhealthy devices ${GPU}`;
    expect(await refusal(one('p'))).toBe(text);
    offer('a');
    await admit(one('p'));
    manager.inventory.disconnected(GPU, plugin);
    expect(await refusal(one('p'))).toBe(text);
  });

  test('when a device that it had is broken and others are not', async () => {
    offer('a');
    await admit(one('p'));
    offer('!a b');
    expect(await refusal(one('p'))).toBe(
      `previously allocated devices are no longer healthy; cannot allocate unhealthy devices ${GPU}`,
    );
  });

  test('when it asks for another number than it was given', async () => {
    offer('a b');
    await admit(one('p'));
    expect(await refusal(one('p', '2'))).toBe(
      `pod "p" container "main" changed request for resource "${GPU}" from 1 to 2`,
    );
  });

  test('when its plugin has been away for too long, and it held devices', async () => {
    offer('a');
    await admit(one('p'));
    manager.inventory.disconnected(GPU, plugin);
    await clock.advance(300_000);
    expect(await refusal(one('p'))).toBe(`cannot allocate unregistered device ${GPU}`);
    await expect(manager.grant(one('p'), 'main')).rejects.toThrow(
      `endpoint not found in cache for a registered resource: ${GPU}`,
    );
  });

  test('when the plugin fails, and the devices are free for others', async () => {
    offer('a');
    plugin.fault = 'it smokes';
    expect(await refusal(one('p'))).toBe('rpc error: code = Unknown desc = it smokes');
    plugin.isEmpty = true;
    expect(await refusal(one('p'))).toBe('no containers return in allocation response');
    plugin.isEmpty = false;
    await admit(one('q'));
    expect(idsOf('q', 'main')).toEqual(['a']);
  });

  test('when the plugin cannot say what it prefers', async () => {
    offer('a b', GPU, { getPreferredAllocationAvailable: true });
    plugin.fault = 'no idea';
    expect(await refusal(one('p'))).toBe(
      'device plugin GetPreferredAllocation rpc failed with err: rpc error: code = Unknown desc = no idea',
    );
  });
});

describe('a plugin', () => {
  test('that has preferences is asked', async () => {
    offer('a b c', GPU, { getPreferredAllocationAvailable: true });
    plugin.preference = ['c'];
    await admit(pod('p', [wants('main', { [GPU]: '1' })]));
    expect(idsOf('p', 'main')).toEqual(['c']);
    expect(plugin.asked).toEqual([[['a', 'b', 'c'], [], 1]]);
  });

  test('that prepares devices is called before each start', async () => {
    offer('a', GPU, { preStartRequired: true });
    await admit(one('p'));
    await manager.grant(one('p'), 'main');
    await manager.grant(one('p'), 'main');
    expect(plugin.preStarted).toEqual([['a'], ['a']]);
    plugin.fault = 'not ready';
    await expect(manager.grant(one('p'), 'main')).rejects.toThrow(
      'device plugin PreStartContainer rpc failed with err: rpc error: code = Unknown desc = not ready',
    );
    await expect(Promise.resolve(manager.grant(one('q'), 'main'))).rejects.toThrow(
      `no devices found allocated in local cache for pod q, container main, resource ${GPU}`,
    );
  });

  test('that came after the pod was admitted is asked when the container is made', async () => {
    await admit(one('p'));
    offer('a');
    expect(await manager.grant(one('p'), 'main')).toMatchObject({ envs: [{ name: 'IDS', value: 'a' }] });
    expect(idsOf('p', 'main')).toEqual(['a']);
  });

  test('gives nothing to a container before it is on disk that it has it, however often that fails', async () => {
    await admit(one('p'));
    offer('a');
    await settled();
    rmSync(file());
    mkdirSync(path.join(file(), 'in-the-way'), { recursive: true });
    for (let i = 0; i < 2; i++) await expect(manager.grant(one('p'), 'main')).rejects.toThrow(/EISDIR|ENOTEMPTY/);
    rmSync(file(), { recursive: true });
    expect(await manager.grant(one('p'), 'main')).toMatchObject({ envs: [{ name: 'IDS', value: 'a' }] });
    expect(onDisk()?.grants).toMatchObject([{ podUid: 'p', container: 'main', resource: GPU }]);
  });

  test('that is slow gives no device twice', async () => {
    offer('a');
    const gate = Promise.withResolvers<void>();
    plugin.gate = gate.promise;
    const first = admit(one('p'));
    const second = admit(one('q'));
    gate.resolve();
    await first;
    await expect(second).rejects.toThrow('Requested: 1, Available: 0');
  });

  test('that breaks a device has the pods looked at that hold it', async () => {
    offer('a b c');
    await admit(one('p'));
    await admit(one('q'));
    poked = [];
    const [id] = idsOf('p', 'main');
    offer(['a', 'b', 'c'].map((d) => (d === id ? `!${d}` : d)).join(' '));
    expect(poked).toEqual(['p']);
    const resources = [{ resourceID: id, health: 'Unhealthy' }];
    expect(manager.health('p', 'main')).toEqual([{ name: GPU, resources }]);
    expect(manager.health('q', 'main')![0]!.resources![0]!.health).toBe('Healthy');
    expect(manager.health('q', 'other')).toBeUndefined();
  });
});

describe('after a restart of the agent', () => {
  test('a running container needs no plugin; it has what it had', async () => {
    offer('a@1 b@1');
    await admit(one('p'));
    const [id] = idsOf('p', 'main');
    await restart();
    running.add('p/main');
    expect(manager.awaited(one('p'))).toBeUndefined();
    await admit(one('p'));
    expect(manager.devicesOf('p', 'main')).toEqual([{ resourceName: GPU, deviceId: id, numaNodes: [1] }]);
    expect([...manager.amounts()]).toEqual([[GPU, { capacity: 0, allocatable: 0 }]]);
    expect(await manager.grant(one('p'), 'main')).toMatchObject({ envs: [{ name: 'IDS', value: id }] });
    expect(manager.health('p', 'main')![0]!.resources).toEqual([{ resourceID: id, health: 'Healthy' }]);
  });

  test('one that does not run waits a moment for its plugin, then it is refused', async () => {
    offer('a');
    await admit(one('p'));
    await restart();
    const waiting = admit(one('p'));
    offer('a');
    await waiting;
    expect(idsOf('p', 'main')).toEqual(['a']);
    expect(plugin.allocated).toHaveLength(1);
    await restart();
    const refused = expect(admit(one('p'))).rejects.toThrow(
      `no healthy devices present; cannot allocate unhealthy devices ${GPU}`,
    );
    await clock.advance(15_000);
    await refused;
    await expect(admit(one('q'))).rejects.toThrow('no healthy devices present'); // at once: the moment is over
    offer('a');
    await admit(one('p'));
    expect(idsOf('p', 'main')).toEqual(['a']);
  });

  test('a resource of which nothing was given is known to have been there', async () => {
    offer('a');
    await settled();
    await restart();
    await clock.advance(15_000);
    await expect(admit(one('p'))).rejects.toThrow('no healthy devices present');
    expect(manager.isFresh).toBe(false);
  });

  test('a pod that went meanwhile is forgotten on disk, too', async () => {
    offer('a');
    await admit(one('p'));
    expect(onDisk().grants.map((g) => g.podUid)).toEqual(['p']);
    await restart();
    expect([...manager.uids()]).toEqual(['p']);
    manager.forget('p');
    await settled();
    expect(onDisk().grants).toEqual([]);
  });

  test('a checkpoint that is broken counts as one that holds nothing', async () => {
    offer('a');
    await admit(one('p'));
    writeFileSync(file(), readFileSync(file(), 'utf8').replace('"p"', '"q"'));
    await restart();
    expect([...manager.uids()]).toEqual([]);
    expect(manager.isFresh).toBe(false);
  });

  test('the node is new once', async () => {
    expect(manager.isFresh).toBe(true);
    await restart();
    expect(manager.isFresh).toBe(false);
    expect(statSync(path.dirname(file())).mode & 0o777).toBe(0o750);
  });
});

test('what is given is on disk before the pod is admitted, for the agent alone', async () => {
  offer('a');
  await admit(one('p'));
  expect(statSync(file()).mode & 0o777).toBe(0o600);
  expect(onDisk()).toMatchObject({ grants: [{ podUid: 'p', container: 'main', resource: GPU }] });
  expect([...onDisk().registered.keys()]).toEqual([GPU]);
  expect(news).toBe(1);
});

describe('where devices are', () => {
  const hinted = (p: Pod) => Object.fromEntries(manager.containerHints(p, p.spec!.containers[0]!));

  test('matters only when some device says so', () => {
    offer('a b');
    expect(hinted(one('p'))).toEqual({ [GPU]: 'any' });
    offer('a@0 b');
    expect(hinted(one('p'))[GPU]).toEqual([
      { nodes: maskOf([0]), preferred: true },
      { nodes: maskOf([0, 1]), preferred: false },
    ]);
    expect(hinted(pod('p', [wants('main', { 'other.com/x': '1' })]))).toEqual({});
  });

  test('of a container that has its devices is where those are', async () => {
    offer('a@0 b@1');
    await admit(one('p'), maskOf([1]));
    expect(idsOf('p', 'main')).toEqual(['b']);
    expect(hinted(one('p'))[GPU]).toEqual([
      { nodes: maskOf([1]), preferred: true },
      { nodes: maskOf([0, 1]), preferred: false },
    ]);
    expect(hinted(one('p', '2'))[GPU]).toEqual([]);
    expect(hinted(one('q', '2'))[GPU]).toEqual([]);
  });

  test('of a pod is for all of its containers together', async () => {
    offer('a@0 b@0 c@1');
    const p = pod('p', [wants('x', { [GPU]: '1' }), wants('y', { [GPU]: '1' })]);
    expect(manager.podHints(p).get(GPU)).toEqual([
      { nodes: maskOf([0]), preferred: true },
      { nodes: maskOf([0, 1]), preferred: false },
    ]);
    await admit(p, maskOf([0]));
    expect(manager.podHints(p).get(GPU)).toEqual([
      { nodes: maskOf([0]), preferred: true },
      { nodes: maskOf([0, 1]), preferred: false },
    ]);
  });
});

test('the podresources API is told of all healthy devices', () => {
  offer('b@1 a !c');
  expect(manager.allocatableDevices()).toEqual([
    { resourceName: GPU, deviceId: 'a', numaNodes: [] },
    { resourceName: GPU, deviceId: 'b', numaNodes: [1] },
  ]);
});
