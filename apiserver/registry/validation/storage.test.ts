import { describe, expect, test } from 'vitest';
import type { AnyObject } from '../definition.ts';
import type { FieldError } from '../field-errors.ts';
import {
  csiDriverFaults,
  persistentVolumeFaults,
  persistentVolumeUpdateFaults,
  storageClassFaults,
} from './storage.ts';

const texts = (faults: readonly FieldError[]) => faults.map((f) => `${f.field}: ${f.message}`);
const withSpec = (spec: object) => ({ metadata: { name: 'x' }, spec }) as unknown as AnyObject;

describe('a PersistentVolume', () => {
  const pv = (spec: object) => withSpec({ accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, ...spec });
  const csi = { driver: 'd', volumeHandle: 'h' };

  test.each<[object, ...string[]]>([
    [{ hostPath: { path: '/x' } }],
    [{ csi }],
    [{ local: { path: '/x' }, nodeAffinity: { required: { nodeSelectorTerms: [] } } }],
    [{}, 'spec: Required value: must specify a volume type'],
    [
      { accessModes: [], capacity: {}, hostPath: { path: '' } },
      'spec.accessModes: Required value',
      'spec.capacity: Required value',
      'spec.hostPath.path: Required value',
    ],
    [{ capacity: { cpu: '1' }, csi }, 'spec.capacity: Unsupported value: {"cpu":"1"}: supported values: "storage"'],
    [{ csi, nfs: {} }, 'spec.nfs: Forbidden: may not specify more than 1 volume type'],
    [{ csi: {} }, 'spec.csi.driver: Required value', 'spec.csi.volumeHandle: Required value'],
    [
      { local: {} },
      'spec.local.path: Required value',
      'spec.nodeAffinity: Required value: Local volume requires node affinity',
    ],
  ])('%j', (spec, ...faults) => {
    expect(texts(persistentVolumeFaults(pv(spec)))).toEqual(faults);
  });

  test('stays where it is', () => {
    const update = (next: object, old: object) => texts(persistentVolumeUpdateFaults(pv(next), pv(old)));
    const secret = { name: 's', namespace: 'n' };
    expect(update({ csi, capacity: { storage: '2Gi' } }, { csi })).toEqual([]);
    expect(update({ csi: { ...csi, nodeExpandSecretRef: secret } }, { csi })).toEqual([]);
    const immutable = [
      'spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation',
    ];
    expect(update({ csi: { ...csi, volumeHandle: 'other' } }, { csi })).toEqual(immutable);
    expect(update({ hostPath: { path: '/x' } }, { csi })).toEqual(immutable);
  });
});

test('a StorageClass', () => {
  const faultsOf = (more: object) => texts(storageClassFaults({ metadata: { name: 'x' }, ...more } as AnyObject));
  expect(faultsOf({ provisioner: 'p', reclaimPolicy: 'Delete', volumeBindingMode: 'Immediate' })).toEqual([]);
  expect(faultsOf({ reclaimPolicy: 'Recycle', volumeBindingMode: 'Late' })).toEqual([
    'provisioner: Required value',
    'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"',
    'volumeBindingMode: Unsupported value: "Late": supported values: "Immediate", "WaitForFirstConsumer"',
  ]);
});

test('a CSIDriver', () => {
  const fine = { fsGroupPolicy: 'File', volumeLifecycleModes: ['Ephemeral'], tokenRequests: [{ audience: 'a' }] };
  expect(csiDriverFaults(withSpec(fine))).toEqual([]);
  const bad = {
    fsGroupPolicy: 'Foo',
    volumeLifecycleModes: ['Never'],
    tokenRequests: [{ audience: 'a' }, { audience: 'a', expirationSeconds: 60 }],
    nodeAllocatableUpdatePeriodSeconds: 9,
  };
  expect(texts(csiDriverFaults(withSpec(bad)))).toEqual([
    'spec.fsGroupPolicy: Unsupported value: "Foo": supported values: "File", "None", "ReadWriteOnceWithFSType"',
    'spec.volumeLifecycleModes: Unsupported value: "Never": supported values: "Ephemeral", "Persistent"',
    'spec.tokenRequests[1].audience: Duplicate value: "a"',
    'spec.tokenRequests[1].expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes',
    'spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds',
  ]);
});
