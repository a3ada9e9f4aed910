import { describe, expect, test } from 'vitest';
import type { Node, PersistentVolume, PersistentVolumeClaim } from '../../../api/kinds.ts';
import type { Pod } from '../../../api/pod.ts';
import { claimFault, claimOf, groupOf, isReachable, modeFault, mountOptionsOf, volumeFault } from './claim-rules.ts';

const pod: Pod = { metadata: { namespace: 'ns', name: 'p', uid: 'pod-uid' }, spec: { containers: [] } };
const ref = { name: 'c', readOnly: false, isOwned: false };
const bound: PersistentVolumeClaim = {
  metadata: { namespace: 'ns', name: 'c', uid: 'claim-uid' },
  spec: { volumeName: 'pv' },
  status: { phase: 'Bound', capacity: { storage: '1Gi' } },
};
const pv = (spec: NonNullable<PersistentVolume['spec']>): PersistentVolume => ({ metadata: { name: 'pv' }, spec });

test('the claim of a volume', () => {
  const source = { claimName: 'c', readOnly: true };
  expect(claimOf(pod, { name: 'v', persistentVolumeClaim: source })).toEqual({ ...ref, readOnly: true });
  expect(claimOf(pod, { name: 'v', ephemeral: {} })).toEqual({ name: 'p-v', readOnly: false, isOwned: true });
  expect(claimOf(pod, { name: 'v', emptyDir: {} })).toBeUndefined();
});

describe('a claim', () => {
  const gone = { ...bound, metadata: { ...bound.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } };
  const kept = { ...gone, metadata: { ...gone.metadata, finalizers: ['kubernetes.io/pvc-protection'] } };
  const owned = (uid: string): PersistentVolumeClaim => ({
    ...bound,
    metadata: {
      ...bound.metadata,
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'p', uid, controller: true }],
    },
  });
  test.each<[string, PersistentVolumeClaim, boolean, string | undefined]>([
    ['bound', bound, false, undefined],
    ['being deleted', gone, false, 'PVC is being deleted'],
    ['being deleted, but protected', kept, false, undefined],
    ['pending', { ...bound, status: { phase: 'Pending' } }, false, 'PVC is not bound'],
    ['bound to nothing', { ...bound, spec: {} }, false, 'PVC has empty pvc.Spec.VolumeName'],
    ['of the pod itself', owned('pod-uid'), true, undefined],
    ['of another pod', owned('x'), true, 'PVC ns/c was not created for pod ns/p (pod is not owner)'],
    ['of nobody', bound, true, 'PVC ns/c was not created for pod ns/p (pod is not owner)'],
  ])('%s', (_, claim, isOwned, fault) => {
    expect(claimFault(pod, { ...ref, isOwned }, claim)).toBe(fault);
  });
});

test('a PersistentVolume must be claimed by this very claim', () => {
  expect(volumeFault(bound, pv({}))).toBe(
    'found PV object pv but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim',
  );
  expect(volumeFault(bound, pv({ claimRef: { uid: 'other' } }))).toBe(
    'found PV object pv but its pv.Spec.ClaimRef.UID other does not point to claim.UID claim-uid',
  );
  expect(volumeFault(bound, pv({ claimRef: { uid: 'claim-uid' } }))).toBeUndefined();
});

test('devices are not mounted and file systems are no devices', () => {
  const uses = (use: object): Pod => ({ ...pod, spec: { containers: [{ name: 'c', ...use }] } });
  const mounts = uses({ volumeMounts: [{ name: 'v', mountPath: '/v' }] });
  const devices = uses({ volumeDevices: [{ name: 'v', devicePath: '/dev/v' }] });
  expect(modeFault(mounts, 'v', pv({ volumeMode: 'Block' }))).toBe(
    'volume v has volumeMode Block, but is specified in volumeMounts',
  );
  expect(modeFault(devices, 'v', pv({}))).toBe('volume v has volumeMode Filesystem, but is specified in volumeDevices');
  expect(modeFault(mounts, 'v', pv({}))).toBeUndefined();
  expect(modeFault(devices, 'v', pv({ volumeMode: 'Block' }))).toBeUndefined();
});

test('node affinity', () => {
  const node: Node = { metadata: { name: 'n', labels: { zone: 'a' } } };
  const at = (zone: string) => {
    const matchExpressions = [{ key: 'zone', operator: 'In', values: [zone] }];
    return pv({ nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions }] } } });
  };
  expect(isReachable(at('a'), node)).toBe(true);
  expect(isReachable(at('b'), node)).toBe(false);
  expect(isReachable(pv({}), node)).toBe(true);
});

test.each([
  ['1234', 1234],
  ['0', undefined],
  ['-1', undefined],
  ['4294967295', undefined],
  ['staff', undefined],
  [undefined, undefined],
])('the group that a PersistentVolume names: %s', (text, gid) => {
  const annotations = text === undefined ? {} : { 'pv.beta.kubernetes.io/gid': text };
  expect(groupOf({ metadata: { name: 'pv', annotations } })).toBe(gid);
});

test('mount options are those of the annotation, else of the field', () => {
  const mountOptions = ['hard'];
  const annotations = { 'volume.beta.kubernetes.io/mount-options': 'ro,,soft' };
  expect(mountOptionsOf({ metadata: {}, spec: { mountOptions } })).toEqual(['hard']);
  expect(mountOptionsOf({ metadata: { annotations }, spec: { mountOptions } })).toEqual(['ro', 'soft']);
  expect(mountOptionsOf({ metadata: {} })).toEqual([]);
});
