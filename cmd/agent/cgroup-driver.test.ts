import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { silentLog } from '../../core/log.ts';
import { CriError } from '../../cri/errors.ts';
import type { CgroupDriver } from '../../cri/gen/messages.ts';
import type { AgentConfig } from '../config/agent-config.ts';
import { adoptDriver, registerOldRuntime } from './cgroup-driver.ts';

const config = {
  kubelet: { cgroupDriver: 'cgroupfs', maxPods: 7 },
  configz: { cgroupDriver: 'cgroupfs' },
} as unknown as AgentConfig;
const says = (cgroupDriver: CgroupDriver) => ({ runtimeConfig: async () => ({ linux: { cgroupDriver } }) });

test("the runtime's driver wins, in /configz as well", async () => {
  const adopted = await adoptDriver(config, says('SYSTEMD'), silentLog);
  const wanted = { kubelet: { cgroupDriver: 'systemd', maxPods: 7 }, configz: { cgroupDriver: 'systemd' } };
  expect(adopted).toEqual({ config: wanted, isRuntimeOld: false });
});

test.each([
  ['the same', says('CGROUPFS'), false],
  ['none, as on another system', { runtimeConfig: async () => ({}) }, false],
  [
    'no such call',
    { runtimeConfig: () => Promise.reject(new CriError('RuntimeConfig', 'UNIMPLEMENTED', 'unknown method')) },
    true,
  ],
  [
    'no runtime',
    { runtimeConfig: () => Promise.reject(new CriError('RuntimeConfig', 'UNAVAILABLE', 'no socket')) },
    false,
  ],
])('the configuration stays: %s', async (_name, runtime, isRuntimeOld) => {
  const settled = await adoptDriver(config, runtime, silentLog);
  expect(settled).toEqual({ config, isRuntimeOld });
  expect(settled.config).toBe(config);
});

test('a metric names the version that would not start with an old runtime', async () => {
  const registry = new Registry();
  registerOldRuntime(registry);
  expect(await registry.metrics()).toContain('kubelet_cri_losing_support{version="1.37.0"} 1');
});
