import { expect, test } from 'vitest';
import { grantedEnvironment, mergeGrants, withGrant } from './grants.ts';

test('what several managers grant comes together in their order', () => {
  const merged = mergeGrants([
    { envs: [{ name: 'A', value: '1' }], cdiDevices: ['x.com/gpu=0'], annotations: { a: '1' } },
    { cpusetCpus: '1-2' },
    { cpusetMems: '0', envs: [{ name: 'B', value: '2' }], annotations: { a: '2' } },
  ]);
  expect(merged).toMatchObject({ cpusetCpus: '1-2', cpusetMems: '0', annotations: { a: '2' } });
  expect(merged?.envs?.map(({ name }) => name)).toEqual(['A', 'B']);
  expect(merged?.cdiDevices).toEqual(['x.com/gpu=0']);
  expect(mergeGrants([])).toBeUndefined();
});

test('the configuration keeps what it has', () => {
  const config = {
    mounts: [{ containerPath: '/own' }],
    devices: [],
    annotations: { kept: 'yes' },
    CDIDevices: [{ name: 'claim.com/gpu=1' }],
    linux: { resources: { cpuQuota: 100_000, cpuShares: 1024 }, securityContext: { privileged: true } },
  };
  const granted = withGrant(config, {
    cpusetCpus: '3',
    mounts: [{ containerPath: '/granted' }],
    devices: [{ hostPath: '/dev/x', containerPath: '/dev/x', permissions: 'rw' }],
    annotations: { more: 'yes' },
    cdiDevices: ['x.com/gpu=0'],
  });
  expect(granted).toEqual({
    mounts: [{ containerPath: '/granted' }, { containerPath: '/own' }],
    devices: [{ hostPath: '/dev/x', containerPath: '/dev/x', permissions: 'rw' }],
    annotations: { kept: 'yes', more: 'yes' },
    CDIDevices: [{ name: 'claim.com/gpu=1' }, { name: 'x.com/gpu=0' }],
    linux: {
      resources: { cpuQuota: 100_000, cpuShares: 1024, cpusetCpus: '3' },
      securityContext: { privileged: true },
    },
  });
  expect(withGrant(config, undefined)).toBe(config);
});

test('a variable of the pod wins over one that was granted', () => {
  const env = grantedEnvironment(new Map([['A', 'own']]), { envs: ['A', 'B'].map((name) => ({ name, value: 'x' })) });
  expect([...env]).toEqual([
    ['A', 'own'],
    ['B', 'x'],
  ]);
});
