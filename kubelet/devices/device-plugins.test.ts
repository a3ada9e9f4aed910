// Registration and what follows from it, with plugins on grpc-js at real sockets.
import { chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { healthy, TestDevicePlugin } from '../../test/harness/device-plugin.ts';
import { DeviceInventory, type ResourceAmounts } from './device-inventory.ts';
import { DevicePlugins, endpointPath } from './device-plugins.ts';
import { RegistrationServer } from './registration-server.ts';

const GPU = 'example.com/gpu';
/** For plugins that are not to answer: they register under these. */
const SHORT = { optionsMs: 1_000, allocateMs: 1_000, preferredMs: 1_000, preStartMs: 1_000 };
const LONG = { optionsMs: 60_000, allocateMs: 60_000, preferredMs: 60_000, preStartMs: 60_000 };

let timeouts: typeof LONG;
let dir: string;
let inventory: DeviceInventory;
let plugins: DevicePlugins;
let server: RegistrationServer;
let registered: string[];
let wake: () => void;
let stop: AbortController;
let ended: Promise<void>;
const made: TestDevicePlugin[] = [];

beforeEach(async () => {
  dir = path.join(mkdtempSync(path.join(tmpdir(), 'nodelet-devices-')), 'device-plugins');
  registered = [];
  wake = () => {};
  timeouts = { ...LONG };
  inventory = new DeviceInventory({ amountsChanged: () => wake(), healthChanged: () => {} }, { clock: systemClock });
  plugins = new DevicePlugins({ inventory, clock: systemClock, log: silentLog, timeouts });
  server = new RegistrationServer(dir, {
    plugins,
    onRegister: (resource) => registered.push(resource),
    clock: systemClock,
    log: silentLog,
  });
});
afterEach(async () => {
  for (const plugin of made.splice(0)) await plugin[Symbol.asyncDispose]();
  stop?.abort();
  await ended;
  plugins[Symbol.dispose]();
  inventory[Symbol.dispose]();
  rmSync(path.dirname(dir), { recursive: true, maxRetries: 5 }); // a save may still be under way
});

const socket = () => path.join(dir, 'kubelet.sock');

async function start(): Promise<void> {
  stop = new AbortController();
  ended = server.run(stop.signal);
  while (!existsSync(socket()) || (statSync(socket()).mode & 0o777) !== 0o600) await systemClock.sleep(5);
}

function plugin(resource = GPU, devices = healthy('a', 'b'), endpoint = `${made.length}.sock`): TestDevicePlugin {
  const created = new TestDevicePlugin({ dir, resource, devices, endpoint });
  made.push(created);
  return created;
}

async function serving(...args: Parameters<typeof plugin>): Promise<TestDevicePlugin> {
  const created = plugin(...args);
  await created.serve();
  return created;
}

/** Waits until the node would tell this of the resource. */
async function told(capacity: number, allocatable: number, resource = GPU): Promise<void> {
  const isTold = (a: ResourceAmounts | undefined) => a?.capacity === capacity && a.allocatable === allocatable;
  while (!isTold(inventory.amounts().get(resource))) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}

describe('a plugin that registers', () => {
  test('is asked for its options, then followed', async () => {
    await start();
    const p = await serving();
    await p.register();
    await told(2, 2);
    expect(p.calls).toEqual(['GetDevicePluginOptions', 'ListAndWatch']);
    p.setDevices([...healthy('a'), { ID: 'b', health: 'Unhealthy' }]);
    await told(2, 1);
    p.setDevices(healthy('a', 'b', 'c'));
    await told(3, 3);
    expect(registered).toEqual([GPU]);
  });

  test('before it serves is waited for', async () => {
    await start();
    const p = plugin();
    const registering = p.register();
    await p.serve();
    await registering;
    await told(2, 2);
  });

  test('whose options cannot be had is not used, and hears why', async () => {
    await start();
    const p = await serving();
    p.faults.set('GetDevicePluginOptions', 'no options today');
    await expect(p.register()).rejects.toThrow(
      'failed to get device plugin options: rpc error: code = Unknown desc = no options today',
    );
    expect(p.calls).toEqual(['GetDevicePluginOptions']);
    p.faults.set('GetDevicePluginOptions', ''); // no answer at all
    Object.assign(timeouts, SHORT);
    await expect(p.register()).rejects.toThrow('code = DeadlineExceeded desc = context deadline exceeded');
    expect(inventory.amounts().size).toBe(0);
  });

  test('and ends its stream has no healthy devices, and is not asked again', async () => {
    await start();
    const p = await serving();
    await p.register();
    await told(2, 2);
    p.breakWatch('gone');
    await told(2, 0);
    expect(p.calls).toEqual(['GetDevicePluginOptions', 'ListAndWatch']);
    await p.register();
    await told(2, 2);
  });

  test('whose stream fails at once has a resource without devices', async () => {
    await start();
    const p = await serving();
    p.faults.set('ListAndWatch', 'never');
    await p.register();
    await told(0, 0);
  });

  test('and dies has no healthy devices until another one comes', async () => {
    await start();
    const p = await serving();
    await p.register();
    await told(2, 2);
    await p[Symbol.asyncDispose]();
    await told(2, 0);
    const next = await serving(GPU, healthy('x'));
    await next.register();
    await told(1, 1);
  });

  test('takes the place of one that goes on, for as long as it lives', async () => {
    await start();
    const [first, second] = [await serving(), await serving(GPU, healthy('x', 'y', 'z'))];
    await first.register();
    await told(2, 2);
    await second.register();
    await told(3, 3);
    first.setDevices(healthy('a'));
    second.setDevices(healthy('x', 'y', 'z', 'w'));
    await told(4, 4);
    await second[Symbol.asyncDispose]();
    await told(1, 1); // what the first has told meanwhile
    expect([...inventory.healthy(GPU)]).toEqual(['a']);
  });

  test('outlives one whose place it took', async () => {
    await start();
    const [first, second] = [await serving(), await serving(GPU, healthy('x', 'y', 'z'))];
    await first.register();
    await told(2, 2);
    await second.register();
    await told(3, 3);
    await first[Symbol.asyncDispose]();
    second.setDevices(healthy('x'));
    await told(1, 1);
  });

  test('again is the same one; of many for one resource the oldest are let go', async () => {
    await start();
    const many = [];
    for (let i = 0; i < 6; i++) {
      const p = await serving(GPU, healthy(...Array.from({ length: i + 1 }, (_, n) => `d${n}`)));
      await p.register();
      await p.register();
      await told(i + 1, i + 1);
      many.push(p);
    }
    for (const p of many.slice(3).toReversed()) await p[Symbol.asyncDispose]();
    await told(3, 3);
    await many[2]![Symbol.asyncDispose]();
    await told(3, 0); // the first two would have been there
  });

  test('keeps the one before it where it cannot be used itself', async () => {
    await start();
    const [first, second] = [await serving(), await serving(GPU, healthy('x'))];
    await first.register();
    await told(2, 2);
    second.faults.set('GetDevicePluginOptions', 'broken');
    await expect(second.register()).rejects.toThrow('broken');
    first.setDevices(healthy('a'));
    await told(1, 1);
  });

  test.each([
    [
      'another version',
      { version: 'v1alpha1' },
      'requested API version "v1alpha1" is not supported by kubelet. Supported version is ["v1beta1"]',
    ],
    ['no version', { version: '' }, 'requested API version "" is not supported'],
    ['a name without a domain', { resourceName: 'gpu' }, 'the ResourceName "gpu" is invalid'],
    ['a name of Kubernetes', { resourceName: 'kubernetes.io/gpu' }, 'the ResourceName "kubernetes.io/gpu" is invalid'],
    ['a name that is too long', { resourceName: `a.com/${'x'.repeat(70_000)}` }, 'the ResourceName'],
    ['a socket elsewhere', { endpoint: '../../../run/containerd/containerd.sock' }, 'is outside of'],
    ['no socket', { endpoint: '' }, 'is outside of'],
    ['the directory', { endpoint: '.' }, 'is outside of'],
    ['a name with a zero byte', { endpoint: 'a\0b' }, 'is outside of'],
  ])('with %s is refused', async (_what, change, text) => {
    await start();
    const p = await serving();
    await expect(p.register(change)).rejects.toThrow(text);
    expect(p.calls).toEqual([]);
    expect(inventory.names.size).toBe(0);
  });

  test('for more resources than a node has is refused', async () => {
    await start();
    inventory.restore(Array.from({ length: 128 }, (_, i) => `example.com/r${i}`));
    const p = await serving();
    await expect(p.register()).rejects.toThrow('there are 128 resources of device plugins on this node already');
    await p.register({ resourceName: 'example.com/r5' });
    await told(2, 2, 'example.com/r5');
  });

  test('with more bytes of devices than a message may have is left', async () => {
    await start();
    const p = await serving(GPU, healthy(...Array.from({ length: 100_000 }, (_, i) => `${'x'.repeat(40)}${i}`)));
    await p.register();
    await told(0, 0);
  });
});

describe('calls', () => {
  test('that are never answered end', async () => {
    await start();
    const p = await serving();
    Object.assign(timeouts, { ...SHORT, optionsMs: LONG.optionsMs });
    await p.register();
    await told(2, 2);
    const { plugin: client } = inventory.serving(GPU)!;
    const late = { grpcCode: 'DEADLINE_EXCEEDED', message: 'context deadline exceeded' };
    for (const method of ['Allocate', 'GetPreferredAllocation', 'PreStartContainer'] as const) p.faults.set(method, '');
    await expect(client.allocate(['a'])).rejects.toMatchObject(late);
    await expect(client.preferred(['a'], [], 1)).rejects.toMatchObject(late);
    await expect(client.preStart(['a'])).rejects.toMatchObject(late);
    p.faults.clear();
    // On a busy machine the limits of here are short for plugins that do answer.
    const allocated = async () => (await client.allocate(['b', 'a']))?.envs;
    await vi.waitFor(async () => expect(await allocated()).toEqual({ TEST_DEVICES: 'a,b' }), 60_000);
    await vi.waitFor(async () => expect(await client.preferred(['b', 'a'], [], 1)).toEqual(['b']), 60_000);
  });

  test('that are answered without a container say so by nothing', async () => {
    await start();
    const p = await serving();
    await p.register();
    await told(2, 2);
    p.answer = () => ({ containerResponses: [] });
    expect(await inventory.serving(GPU)!.plugin.allocate(['a'])).toBeUndefined();
  });

  test('of a plugin that dies meanwhile end', async () => {
    await start();
    const p = await serving();
    await p.register();
    await told(2, 2);
    p.faults.set('Allocate', '');
    const called = new Promise<void>((resolve) => {
      p.onCall = () => resolve();
    });
    const ended = expect(inventory.serving(GPU)!.plugin.allocate(['a'])).rejects.toMatchObject({
      grpcCode: 'UNAVAILABLE',
    });
    await called;
    await p[Symbol.asyncDispose]();
    await ended;
  });
});

test('a plugin that never stops talking is heard less and less often', async () => {
  const sleeps: number[] = [];
  const clock = {
    ...systemClock,
    sleep: async (ms: number, signal?: AbortSignal) => {
      sleeps.push(ms);
      await systemClock.sleep(Math.min(ms, 1), signal);
    },
  };
  using talked = new DevicePlugins({ inventory, clock, log: silentLog });
  mkdirSync(dir, { recursive: true });
  const p = await serving();
  await talked.connect(GPU, p.socket, new AbortController().signal);
  for (let i = 1; i <= 9; i++) {
    p.setDevices(healthy(...Array.from({ length: i }, (_, n) => `d${n}`)));
    await told(i, i);
  }
  expect(sleeps.slice(0, 8)).toEqual([50, 100, 200, 400, 800, 1600, 2000, 2000]);
});

describe('sockets', () => {
  test.runIf(process.getuid?.() === 0)('of other users are not dialled', async () => {
    await start();
    const p = await serving();
    chownSync(p.socket, 65534, 65534);
    await expect(p.register()).rejects.toThrow(`${p.socket} belongs to user 65534, not to root`);
    expect(p.calls).toEqual([]);
  });

  test('that are links or files are not followed', async () => {
    await start();
    const p = await serving();
    symlinkSync(p.socket, path.join(dir, 'link.sock'));
    await expect(p.register({ endpoint: 'link.sock' })).rejects.toThrow('link.sock is no socket');
    writeFileSync(path.join(dir, 'file.sock'), '');
    await expect(p.register({ endpoint: 'file.sock' })).rejects.toThrow('file.sock is no socket');
  });

  test('of plugins may be in a directory below', () => {
    expect(endpointPath('/d', 'p.sock')).toBe('/d/p.sock');
    expect(endpointPath('/d', 'sub/p.sock')).toBe('/d/sub/p.sock');
    expect(endpointPath('/d', '/etc/p.sock')).toBe('/d/etc/p.sock');
    expect(endpointPath('/d', '..p')).toBe('/d/..p');
    for (const outside of ['..', '../p', 'sub/../../p', './', '']) expect(endpointPath('/d', outside)).toBeUndefined();
  });

  test('that earlier agents and plugins left go when the server starts; other files stay', async () => {
    mkdirSync(path.join(dir, 'sub'), { recursive: true });
    writeFileSync(path.join(dir, 'kubelet_internal_checkpoint'), '{}');
    const left = ['kubelet.sock', 'old.sock'].map((name) => {
      const listener = createServer();
      return new Promise<ReturnType<typeof createServer>>((resolve) =>
        listener.listen(path.join(dir, name), () => resolve(listener)),
      );
    });
    const listeners = await Promise.all(left);
    await start();
    expect(existsSync(path.join(dir, 'old.sock'))).toBe(false);
    expect(existsSync(path.join(dir, 'kubelet_internal_checkpoint'))).toBe(true);
    expect(existsSync(path.join(dir, 'sub'))).toBe(true);
    const p = await serving();
    await p.register();
    await told(2, 2);
    stop.abort();
    await ended;
    expect(existsSync(socket())).toBe(false);
    for (const listener of listeners) await new Promise((resolve) => listener.close(resolve));
  });
});

test('a directory that cannot be used shows in the health check', async () => {
  mkdirSync(path.dirname(dir), { recursive: true });
  writeFileSync(dir, 'in the way');
  const failed = Promise.withResolvers<void>();
  const clock = { ...systemClock, sleep: async () => failed.resolve() };
  const broken = new RegistrationServer(dir, { plugins, clock, log: silentLog });
  expect(broken.error()).toBeUndefined();
  stop = new AbortController();
  ended = broken.run(stop.signal);
  await failed.promise;
  expect(broken.error()).toBe('device plugin registration gRPC server failed and no device plugins can register');
  stop.abort();
});

describe('a plugin in the registration directory', () => {
  const info = (change: object) => ({
    type: 'DevicePlugin',
    name: GPU,
    endpoint: '',
    supportedVersions: ['v1beta1'],
    ...change,
  });

  test('has to speak this version, and a proper name', () => {
    expect(() => plugins.validate(info({}))).not.toThrow();
    expect(() => plugins.validate(info({ supportedVersions: ['v1', 'v2'] }))).toThrow(
      'manager version, v1beta1, is not among plugin supported versions [v1 v2]',
    );
    expect(() => plugins.validate(info({ name: 'gpu' }))).toThrow(
      'invalid name of device plugin socket: the ResourceName "gpu" is invalid',
    );
  });

  test('is used from its endpoint until its socket goes', async () => {
    mkdirSync(dir);
    const p = await serving();
    const signal = new AbortController().signal;
    await plugins.register(info({ endpoint: p.socket }), signal);
    await told(2, 2);
    await plugins.deregister(info({ endpoint: p.socket }));
    await plugins.deregister(info({ endpoint: p.socket }));
    await told(2, 0);
  });
});
