import { expect, test } from 'vitest';
import { silentLog } from '../../core/log.ts';
import { CriError } from '../../cri/errors.ts';
import type { CgroupDriver } from '../../cri/gen/messages.ts';
import type { AgentConfig } from '../config/agent-config.ts';
import { adoptDriver } from './cgroup-driver.ts';

const config = {
  kubelet: { cgroupDriver: 'cgroupfs', maxPods: 7 },
  configz: { cgroupDriver: 'cgroupfs' },
} as unknown as AgentConfig;
const says = (cgroupDriver: CgroupDriver) => ({ runtimeConfig: async () => ({ linux: { cgroupDriver } }) });

test("the runtime's driver wins, in /configz as well", async () => {
  const adopted = await adoptDriver(config, says('SYSTEMD'), silentLog);
  expect(adopted).toEqual({ kubelet: { cgroupDriver: 'systemd', maxPods: 7 }, configz: { cgroupDriver: 'systemd' } });
});

test.each([
  ['the same', says('CGROUPFS')],
  ['none, as on another system', { runtimeConfig: async () => ({}) }],
  [
    'no such call',
    { runtimeConfig: () => Promise.reject(new CriError('RuntimeConfig', 'UNIMPLEMENTED', 'unknown method')) },
  ],
  ['no runtime', { runtimeConfig: () => Promise.reject(new CriError('RuntimeConfig', 'UNAVAILABLE', 'no socket')) }],
])('the configuration stays: %s', async (_name, runtime) => {
  expect(await adoptDriver(config, runtime, silentLog)).toBe(config);
});
