import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { PodDevices } from './pod-devices.ts';

const RESOURCE = 'example.com/gpu';
const response = { envs: {}, mounts: [], devices: [], annotations: {}, cdiDevices: [] };

function held(entries: Readonly<Record<string, string>>, podUid = 'uid'): PodDevices {
  const pods = new PodDevices();
  for (const [container, ids] of Object.entries(entries)) {
    pods.set({ podUid, container, resource: RESOURCE, grant: { devices: new Map([[-1, ids.split(' ')]]), response } });
  }
  return pods;
}

const pod: Pod = {
  metadata: { uid: 'uid' },
  spec: {
    initContainers: [{ name: 'first' }, { name: 'sidecar', restartPolicy: 'Always' }, { name: 'second' }],
    containers: [{ name: 'main' }, { name: 'other' }],
  },
};

test.each([
  ['nothing before the first', {}, 'first', ''],
  ['of an init container', { first: 'a b' }, 'sidecar', 'a b'],
  ['not what a sidecar took over', { first: 'a b', sidecar: 'a' }, 'second', 'b'],
  ['of all init containers', { first: 'a', second: 'c' }, 'main', 'a c'],
  ['not what the container before took over', { first: 'a b', second: 'a b', main: 'b' }, 'other', 'a'],
])('reusable: %s', (_what, entries, container, expected) => {
  const reusable = held(entries as Record<string, string>).reusable(pod, container, RESOURCE);
  expect([...reusable].join(' ')).toBe(expected);
});

test('a device that was handed on is held once, by the pod', () => {
  const pods = held({ first: 'a', main: 'a', other: 'b' });
  expect(pods.held()).toEqual(new Map([[RESOURCE, new Set(['a', 'b'])]]));
  expect(pods.idsOfPod('uid', RESOURCE)).toEqual(new Set(['a', 'b']));
  expect(pods.holders(RESOURCE, new Set(['b', 'x']))).toEqual(new Set(['uid']));
  expect(pods.holders(RESOURCE, new Set(['x']))).toEqual(new Set());
  expect(pods.holders('other.com/x', new Set(['a']))).toEqual(new Set());
});

test('a pod that is gone holds nothing; it goes once', () => {
  const pods = held({ main: 'a' });
  expect([...pods.uids()]).toEqual(['uid']);
  expect(pods.delete('uid')).toBe(true);
  expect(pods.delete('uid')).toBe(false);
  expect(pods.held().size).toBe(0);
  expect(pods.ids('uid', 'main', RESOURCE)).toBeUndefined();
});
