import { describe, expect, test } from 'vitest';
import type { CSIDriver } from '../../../api/kinds.ts';
import type { Pod } from '../../../api/pod.ts';
import type { NodeCapability } from './csi-client.ts';
import { type CsiSpec, capabilityOf, needsAttach, ownsByFsGroup, persistentSpec, podInfo } from './csi-spec.ts';

const driver = (spec: CSIDriver['spec']): CSIDriver => ({ spec });
const spec: CsiSpec = {
  specName: 'pv',
  driver: 'd',
  handle: 'h',
  lifecycle: 'Persistent',
  isBlock: false,
  readOnly: false,
  fsType: 'ext4',
  attributes: {},
  accessModes: ['ReadWriteOnce'],
  mountOptions: ['ro'],
  secrets: { stage: undefined, publish: undefined, expand: undefined },
};
const none = new Set<NodeCapability>();
const writers = new Set<NodeCapability>(['SINGLE_NODE_MULTI_WRITER']);

test.each([
  ['ReadWriteOnce', none, 'SINGLE_NODE_WRITER'],
  ['ReadWriteOnce', writers, 'SINGLE_NODE_MULTI_WRITER'],
  ['ReadWriteOncePod', none, 'SINGLE_NODE_WRITER'],
  ['ReadWriteOncePod', writers, 'SINGLE_NODE_SINGLE_WRITER'],
  ['ReadOnlyMany', none, 'MULTI_NODE_READER_ONLY'],
  ['ReadWriteMany', none, 'MULTI_NODE_MULTI_WRITER'],
])('access mode %s', (mode, capabilities, expected) => {
  expect(capabilityOf({ ...spec, accessModes: [mode] }, capabilities, undefined).accessMode).toEqual({
    mode: expected,
  });
});

test('a block volume has no mount, a mount its options and the group that the driver is to set', () => {
  expect(capabilityOf({ ...spec, isBlock: true }, none, '5')).toEqual({
    block: {},
    accessMode: { mode: 'SINGLE_NODE_WRITER' },
  });
  expect(capabilityOf(spec, none, '5').mount).toEqual({ fsType: 'ext4', mountFlags: ['ro'], volumeMountGroup: '5' });
});

describe('fsGroupPolicy', () => {
  test.each<[string | undefined, Partial<CsiSpec>, boolean]>([
    ['None', {}, false],
    ['File', { fsType: '', accessModes: ['ReadWriteMany'] }, true],
    ['ReadWriteOnceWithFSType', {}, true],
    [undefined, {}, true],
    [undefined, { fsType: '' }, false],
    [undefined, { accessModes: ['ReadWriteMany'] }, false],
    [undefined, { accessModes: ['ReadWriteOncePod'] }, true],
    ['File', { readOnly: true }, false],
    [undefined, { lifecycle: 'Ephemeral', accessModes: [] }, true],
  ])('%s with %j', (fsGroupPolicy, over, owns) => {
    const object = driver(fsGroupPolicy === undefined ? {} : { fsGroupPolicy });
    expect(ownsByFsGroup({ ...spec, ...over }, object)).toBe(owns);
  });
});

test('what needs attaching: persistent volumes, unless the driver says no', () => {
  expect(needsAttach(spec, undefined)).toBe(true);
  expect(needsAttach(spec, driver({}))).toBe(true);
  expect(needsAttach(spec, driver({ attachRequired: false }))).toBe(false);
  expect(needsAttach({ ...spec, lifecycle: 'Ephemeral' }, undefined)).toBe(false);
});

test('a driver is told of the pod only when it asks', () => {
  const pod: Pod = {
    metadata: { namespace: 'ns', name: 'p', uid: 'u' },
    spec: { containers: [], serviceAccountName: 'sa' },
  };
  expect(podInfo(pod, spec, undefined)).toEqual({});
  expect(podInfo(pod, spec, driver({ podInfoOnMount: true }))).toEqual({
    'csi.storage.k8s.io/pod.name': 'p',
    'csi.storage.k8s.io/pod.namespace': 'ns',
    'csi.storage.k8s.io/pod.uid': 'u',
    'csi.storage.k8s.io/serviceAccount.name': 'sa',
    'csi.storage.k8s.io/ephemeral': 'false',
  });
});

test('a PersistentVolume is read-only when either it or the pod says so', () => {
  const pv = (readOnly: boolean) => ({
    metadata: { name: 'pv' },
    spec: { csi: { driver: 'd', volumeHandle: 'h', readOnly } },
  });
  expect(persistentSpec(pv(false), false).readOnly).toBe(false);
  expect(persistentSpec(pv(true), false).readOnly).toBe(true);
  expect(persistentSpec(pv(false), true).readOnly).toBe(true);
});
