// Drivers of dynamic resources on real sockets: which of their plugins is asked, and what becomes of what they advertise
// when they go.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { DraPlugins, WIPE_DELAY_MS } from '../../kubelet/dra/dra-plugins.ts';
import type { PluginInfo } from '../../kubelet/plugins/plugin-handler.ts';
import { type DraPluginOptions, TestDraPlugin } from '../harness/dra-plugin.ts';

const DRIVER = 'gpu.example.com';
const signal = AbortSignal.timeout(300_000);
const eventually = { timeout: 120_000, interval: 20 };
const claim = { namespace: 'ns', uid: 'u', name: 'c' };

let dir = '';
let clock: FakeClock;
let plugins: DraPlugins;
let wiped: string[];
let usable: string[];
let observed: string[];
let health: string[];
let made: TestDraPlugin[];

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'dra-plugins-'));
  clock = new FakeClock();
  [wiped, usable, observed, health, made] = [[], [], [], [], []];
  plugins = new DraPlugins({
    wipe: (driver) => wiped.push(driver),
    onUsable: (driver) => usable.push(driver),
    observe: (driver, method, status) => observed.push(`${driver} ${method} ${status}`),
    onHealth: (driver, devices) =>
      health.push(`${driver} ${devices?.map((d) => `${d.device?.deviceName}=${d.health}`)}`),
    clock,
    log: silentLog,
  });
});
afterEach(async () => {
  plugins[Symbol.dispose]();
  for (const plugin of made) await plugin[Symbol.asyncDispose]();
  await rm(dir, { recursive: true });
});

async function serve(more: Partial<DraPluginOptions> = {}): Promise<TestDraPlugin> {
  const plugin = new TestDraPlugin({ name: DRIVER, rootDir: dir, cdiDir: path.join(dir, 'cdi'), ...more });
  made.push(plugin);
  await plugin.start();
  return plugin;
}

const infoOf = (plugin: TestDraPlugin, supportedVersions: readonly string[] = ['v1.DRAPlugin']): PluginInfo => ({
  type: 'DRAPlugin',
  name: DRIVER,
  endpoint: plugin.socket,
  supportedVersions,
});

const untilUsable = (times: number) => vi.waitFor(() => expect(usable).toHaveLength(times), eventually);

test('the plugin that came last is asked; when it has gone, the one before', async () => {
  const old = await serve();
  await plugins.register(infoOf(old));
  const next = await serve({ instance: '-2' });
  await plugins.register(infoOf(next));
  await untilUsable(2);
  await plugins.connect(DRIVER).prepare([claim], signal);
  expect([old.calls, next.calls]).toEqual([[], ['NodePrepareResources c']]);
  await plugins.deregister(infoOf(next));
  await plugins.connect(DRIVER).prepare([claim], signal);
  expect(old.calls).toEqual(['NodePrepareResources c']);
  await plugins.deregister(infoOf(old));
  await plugins.deregister(infoOf(old));
  expect(() => plugins.connect(DRIVER)).toThrow(`DRA driver ${DRIVER} is not registered`);
});

test('a driver that speaks the older version alone is asked in it', async () => {
  const plugin = await serve({ versions: ['v1beta1.DRAPlugin'] });
  await plugins.register(infoOf(plugin, ['v1alpha9.Other', 'v1beta1.DRAPlugin']));
  const results = await plugins.connect(DRIVER).prepare([claim], signal);
  expect(results.get('u')).toMatchObject({ error: '', devices: [{ cdiDeviceIds: [`${DRIVER}/test=u`] }] });
  expect(await plugins.connect(DRIVER).unprepare([claim], signal)).toEqual(new Map([['u', { error: '' }]]));
  const service = '/k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin';
  expect(observed).toEqual([
    `${DRIVER} ${service}/NodePrepareResources OK`,
    `${DRIVER} ${service}/NodeUnprepareResources OK`,
  ]);
});

test('what a driver advertises is taken back half a minute after its last plugin has gone, once', async () => {
  const plugin = await serve();
  await plugins.register(infoOf(plugin));
  await untilUsable(1);
  await plugins.deregister(infoOf(plugin));
  await clock.advance(WIPE_DELAY_MS - 1);
  expect(wiped).toEqual([]);
  await clock.advance(1);
  expect(wiped).toEqual([DRIVER]);
  await clock.advance(10 * WIPE_DELAY_MS);
  expect(wiped).toEqual([DRIVER]);
});

test('a plugin that dies without a word is missed, and found again when it is back', async () => {
  const first = await serve();
  await plugins.register(infoOf(first));
  await untilUsable(1);
  await first[Symbol.asyncDispose]();
  // It is waited for, and what it advertises is doomed.
  await vi.waitFor(() => expect(clock.sleeping).toBeGreaterThanOrEqual(2), eventually);
  await expect(plugins.connect(DRIVER).prepare([claim], signal)).rejects.toMatchObject({ grpcCode: 'UNAVAILABLE' });
  await serve();
  await clock.advance(2_000); // the second try comes after so long
  await untilUsable(2);
  await clock.advance(10 * WIPE_DELAY_MS);
  expect(wiped).toEqual([]);
});

test('what a driver says of its devices is heard until it goes, and again when it is back', async () => {
  const first = await serve({ hasHealth: true });
  await plugins.register(infoOf(first));
  await vi.waitFor(() => expect(first.watchers).toBe(1), eventually);
  first.say(1);
  first.say(2);
  await vi.waitFor(() => expect(health).toEqual([`${DRIVER} dev=1`, `${DRIVER} dev=2`]), eventually);
  await first[Symbol.asyncDispose]();
  await vi.waitFor(() => expect(health.at(-1)).toBe(`${DRIVER} undefined`), eventually);
  const second = await serve({ hasHealth: true });
  await vi.waitFor(async () => {
    await clock.advance(10_000); // it is looked for now and then
    expect(second.watchers).toBe(1);
  }, eventually);
  second.say(1);
  await vi.waitFor(() => expect(health.at(-1)).toBe(`${DRIVER} dev=1`), eventually);
  await plugins.deregister(infoOf(second));
  await vi.waitFor(() => expect(health.at(-1)).toBe(`${DRIVER} undefined`), eventually);
});

test('what cannot be taken is refused: the same socket twice, unknown services, names that are none', async () => {
  const plugin = await serve();
  const info = infoOf(plugin);
  await plugins.register(info);
  await expect(plugins.register(info)).rejects.toThrow(
    `endpoint ${plugin.socket} already registered for DRA driver plugin ${DRIVER}`,
  );
  const what = `invalid supported gRPC versions of DRA driver plugin ${DRIVER} at endpoint ${plugin.socket}`;
  expect(() => plugins.validate({ ...info, supportedVersions: [] })).toThrow(
    `${what}: empty list of supported gRPC services (aka supported versions)`,
  );
  expect(() => plugins.validate({ ...info, supportedVersions: ['v9'] })).toThrow(
    `${what}: none of services supported by the plugin (["v9"]) are supported by the kubelet (["v1.DRAPlugin" "v1beta1.DRAPlugin"])`,
  );
  for (const name of ['', 'a,spec.nodeName!=x', 'A', 'x'.repeat(64)]) {
    expect(() => plugins.validate({ ...info, name })).toThrow('invalid name of a DRA driver');
  }
});
