import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { healthy, TestDevicePlugin } from '../../test/harness/device-plugin.ts';
import { createDevicesPart } from './devices-part.ts';
import type { AgentContext } from './shared.ts';

const GPU = 'example.com/gpu';

let rootDir: string;
beforeEach(() => {
  rootDir = mkdtempSync(path.join(tmpdir(), 'nodelet-devices-part-'));
});
afterEach(() => rmSync(rootDir, { recursive: true }));

async function create(gates: Record<string, boolean> = {}) {
  const told = Promise.withResolvers<void>();
  const registry = new Registry();
  const config = { featureGates: new Map(Object.entries(gates)) };
  const poked: string[] = [];
  const part = await createDevicesPart(
    { config, registry, clock: systemClock, log: silentLog } as unknown as AgentContext,
    {
      rootDir,
      kubelet: () => ({ isContainerRunning: () => false, retryPod: (uid) => poked.push(uid) }),
      requestNodeStatus: () => told.resolve(),
    },
  );
  const stop = new AbortController();
  const ended = part.task(stop.signal);
  const socket = path.join(rootDir, 'device-plugins', 'kubelet.sock');
  const mode = () => (statSync(socket, { throwIfNoEntry: false })?.mode ?? 0) & 0o777;
  while (mode() !== 0o600) await systemClock.sleep(5); // nothing says when it listens
  const close = async () => {
    stop.abort();
    await ended;
    part[Symbol.dispose]();
  };
  return { part, registry, poked, told: told.promise, [Symbol.asyncDispose]: close };
}

const limits = { [GPU]: '1' };
const pod = { metadata: { uid: 'p' }, spec: { containers: [{ name: 'c', resources: { limits } }] } };

test('a plugin registers, is counted and timed, and the node’s status is asked for', async () => {
  await using made = await create();
  const { part, registry } = made;
  const settings = { dir: path.join(rootDir, 'device-plugins'), resource: GPU, devices: healthy('a') };
  await using plugin = new TestDevicePlugin(settings);
  await plugin.serve();
  await plugin.register();
  await made.told;
  expect([...part.manager.amounts()]).toEqual([[GPU, { capacity: 1, allocatable: 1 }]]);
  await part.manager.allocate(pod, pod.spec.containers[0]!, { nodes: undefined, preferred: false });
  const text = await registry.metrics();
  expect(text).toContain(`kubelet_device_plugin_registration_total{resource_name="${GPU}"} 1`);
  expect(text).toContain(`kubelet_device_plugin_alloc_duration_seconds_count{resource_name="${GPU}"} 1`);
  expect(part.healthCheck.name).toBe('device-plugin');
  expect(part.healthCheck.error()).toBeUndefined();
  expect(part.health?.('p', 'c')).toEqual([{ name: GPU, resources: [{ resourceID: 'a', health: 'Healthy' }] }]);
});

test('names that somebody invents are not all counted', async () => {
  await using made = await create();
  await using plugin = new TestDevicePlugin({ dir: path.join(rootDir, 'device-plugins'), resource: GPU, devices: [] });
  await plugin.serve();
  plugin.faults.set('GetDevicePluginOptions', 'no');
  for (let i = 0; i < 260; i++) {
    await expect(plugin.register({ resourceName: `example.com/r${i}` })).rejects.toThrow('no');
  }
  const text = await made.registry.metrics();
  expect(text.match(/^kubelet_device_plugin_registration_total\{/gm)).toHaveLength(256);
  expect(made.part.manager.amounts().size).toBe(0);
});

test('without the gate ResourceHealthStatus pods are told nothing of their devices', async () => {
  await using made = await create({ ResourceHealthStatus: false });
  expect(made.part.health).toBeUndefined();
});
