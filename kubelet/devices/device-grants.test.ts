import { expect, test } from 'vitest';
import type { ContainerAllocateResponse } from '../../cri/gen/messages.ts';
import { containerGrant } from './device-grants.ts';

const NOTHING: ContainerAllocateResponse = { envs: {}, mounts: [], devices: [], annotations: {}, cdiDevices: [] };
const grants = (responses: Readonly<Record<string, Partial<ContainerAllocateResponse>>>) =>
  new Map(
    Object.entries(responses).map(([resource, r]) => [
      resource,
      { devices: new Map(), response: { ...NOTHING, ...r } },
    ]),
  );

test('a container without devices is granted nothing', () => {
  expect(containerGrant(new Map())).toBeUndefined();
});

test('what all plugins said comes together', () => {
  const mount = { containerPath: '/usr/lib/x', hostPath: '/opt/x', readOnly: true };
  const device = { containerPath: '/dev/x', hostPath: '/dev/null', permissions: 'rw' };
  const grant = containerGrant(
    grants({
      'b.com/b': { envs: { B: '2' }, annotations: { b: '2' }, cdiDevices: [{ name: 'v.com/c=1' }] },
      'a.com/a': {
        envs: { A: '1' },
        mounts: [mount],
        devices: [device],
        cdiDevices: [{ name: 'v.com/c=1' }, { name: 'v.com/c=2' }],
      },
    }),
  );
  expect(grant).toEqual({
    envs: [
      { name: 'A', value: '1' },
      { name: 'B', value: '2' },
    ],
    mounts: [{ containerPath: '/usr/lib/x', hostPath: '/opt/x', readonly: true, propagation: 'PROPAGATION_PRIVATE' }],
    devices: [device],
    annotations: { b: '2' },
    cdiDevices: ['v.com/c=1', 'v.com/c=2'],
  });
});

test('of two that say something else for one place the first by name counts', () => {
  const at = (hostPath: string) => ({
    envs: { X: hostPath },
    annotations: { x: hostPath },
    mounts: [{ containerPath: '/m', hostPath, readOnly: false }],
    devices: [{ containerPath: '/d', hostPath, permissions: 'r' }],
  });
  const grant = containerGrant(grants({ 'b.com/b': at('/second'), 'a.com/a': at('/first') }))!;
  expect(grant.envs).toEqual([{ name: 'X', value: '/first' }]);
  expect(grant.mounts!.map((m) => m.hostPath)).toEqual(['/first']);
  expect(grant.devices!.map((d) => d.hostPath)).toEqual(['/first']);
  expect(grant.annotations).toEqual({ x: '/first' });
});
