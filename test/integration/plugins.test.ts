// Plugins on real sockets in a real directory: found, taken, refused, taken back.
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { registerPluginGauge } from '../../kubelet/metrics/plugin-gauge.ts';
import type { PluginHandler, PluginInfo } from '../../kubelet/plugins/plugin-handler.ts';
import { PluginManager } from '../../kubelet/plugins/plugin-manager.ts';
import { serveRegistration } from '../harness/plugin-socket.ts';

/** Takes every plugin but those that `refuse` names; keeps a list of what happened. */
class RecordingHandler implements PluginHandler {
  readonly steps: string[] = [];
  refuse: ((plugin: PluginInfo) => string | undefined) | undefined;

  validate(plugin: PluginInfo): void {
    const reason = this.refuse?.(plugin);
    if (reason !== undefined) throw new Error(reason);
  }

  async register(plugin: PluginInfo): Promise<void> {
    this.steps.push(`+${plugin.name}`);
  }

  async deregister(plugin: PluginInfo): Promise<void> {
    this.steps.push(`-${plugin.name}`);
  }
}

const eventually = { timeout: 120_000, interval: 20 };
let dir = '';
let handler: RecordingHandler;
let stop: AbortController;
let running: Promise<void>;
let said: string[];
let registry: Registry;

function start(): void {
  stop = new AbortController();
  const handlers = new Map([['CSIPlugin', handler]]);
  const manager = new PluginManager(dir, handlers, { clock: systemClock, log: silentLog });
  registry = new Registry();
  registerPluginGauge(registry, manager);
  running = manager.run(stop.signal);
}

/** A plugin whose answers from the node land in `said`, as `name: error`. */
function plugin(file: string, name: string, type = 'CSIPlugin') {
  return serveRegistration(path.join(dir, file), {
    type,
    name,
    onStatus: (s) => said.push(`${name}: ${s.pluginRegistered ? 'ok' : s.error}`),
  });
}

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'plugins-'));
  handler = new RecordingHandler();
  said = [];
});

afterEach(async () => {
  stop.abort();
  await running;
  await rm(dir, { recursive: true });
});

test('plugins that were there and that come later are taken, and taken back when their sockets go', async () => {
  await mkdir(path.join(dir, 'sub'));
  await writeFile(path.join(dir, 'no-socket.sock'), '');
  await using _hidden = await plugin('.hidden.sock', 'hidden');
  const early = await plugin('sub/early.sock', 'early');
  start();
  await vi.waitFor(() => expect(said).toEqual(['early: ok']), eventually);
  await using _late = await plugin('late.sock', 'late');
  await vi.waitFor(() => expect(said).toEqual(['early: ok', 'late: ok']), eventually);
  await early[Symbol.asyncDispose]();
  await vi.waitFor(() => expect(handler.steps).toEqual(['+early', '+late', '-early']), eventually);
  // A directory that comes with its socket in it: no event tells of the socket itself.
  await mkdir(path.join(dir, '.new'));
  await using _moved = await plugin('.new/moved.sock', 'moved');
  await rename(path.join(dir, '.new'), path.join(dir, 'new'));
  await vi.waitFor(() => expect(said.at(-1)).toBe('moved: ok'), eventually);
  expect(handler.steps).toEqual(['+early', '+late', '-early', '+moved']);
});

test('a plugin that starts again at the same socket is taken again', async () => {
  start();
  const first = await plugin('a.sock', 'a');
  await vi.waitFor(() => expect(said).toEqual(['a: ok']), eventually);
  await first[Symbol.asyncDispose]();
  await using _second = await plugin('a.sock', 'a');
  await vi.waitFor(() => expect(said).toEqual(['a: ok', 'a: ok']), eventually);
  expect(handler.steps).toEqual(['+a', '-a', '+a']);
});

test('a refused plugin is told why and tried again until it is taken', async () => {
  handler.refuse = () => 'not this one';
  await using _plugin = await plugin('a.sock', 'a');
  start();
  const refusal = 'a: RegisterPlugin error -- plugin validation failed with err: not this one';
  await vi.waitFor(() => expect(said[0]).toBe(refusal), eventually);
  expect(handler.steps).toEqual([]);
  handler.refuse = undefined;
  await vi.waitFor(() => expect(said.at(-1)).toBe('a: ok'), eventually);
  expect(handler.steps).toEqual(['+a']);
});

test('a plugin of an unknown kind is told so; a socket nobody serves holds up no other; all of them are counted', async () => {
  const dead = await plugin('.dead.sock', 'dead');
  await rename(path.join(dir, '.dead.sock'), path.join(dir, 'dead.sock'));
  await dead[Symbol.asyncDispose](); // the socket stays under its new name
  await using _odd = await plugin('odd.sock', 'odd', 'OddPlugin');
  await using _good = await plugin('good.sock', 'good');
  start();
  await vi.waitFor(() => expect(said).toContain('good: ok'), eventually);
  const socket = path.join(dir, 'odd.sock');
  const refusal = `odd: RegisterPlugin error -- no handler registered for plugin type: OddPlugin at socket ${socket}`;
  await vi.waitFor(() => expect(said).toContain(refusal), eventually);
  const series = (file: string, state: string) =>
    `plugin_manager_total_plugins{socket_path="${path.join(dir, file)}",state="${state}_state_of_world"} 1`;
  const lines = (await registry.metrics()).split('\n').filter((line) => line.startsWith('plugin_manager'));
  const desired = ['dead.sock', 'good.sock', 'odd.sock'].map((file) => series(file, 'desired'));
  expect(lines.sort()).toEqual([series('good.sock', 'actual'), ...desired].sort());
});

test('a plugin that cannot be told of its success is taken back and tried again', async () => {
  let isDeaf = true;
  await using _plugin = await serveRegistration(path.join(dir, 'a.sock'), {
    type: 'CSIPlugin',
    name: 'a',
    onStatus: (s) => {
      if (isDeaf) throw new Error('deaf');
      said.push(String(s.pluginRegistered));
    },
  });
  start();
  await vi.waitFor(() => expect(handler.steps.slice(0, 2)).toEqual(['+a', '-a']), eventually);
  isDeaf = false;
  await vi.waitFor(() => expect(said).toEqual(['true']), eventually);
  expect(handler.steps.at(-1)).toBe('+a');
});
