import { describe, expect, test } from 'vitest';
import type { PersistentVolume } from '../../../api/kinds.ts';
import { asCsiVolume } from './csi-migration.ts';

type Spec = NonNullable<PersistentVolume['spec']>;

const csiOf = (spec: Spec, metadata: PersistentVolume['metadata'] = {}) =>
  asCsiVolume({ metadata: { name: 'pv', ...metadata }, spec }).spec?.csi;

describe('a volume of a cloud is one of its CSI driver', () => {
  const secretRef = { secretName: 'azure-storage-account-acc-secret', shareName: 'share' };
  test.each<[string, Spec, object]>([
    [
      'AWS',
      { awsElasticBlockStore: { volumeID: 'aws://us-east-1a/vol-12', fsType: 'xfs', partition: 1, readOnly: true } },
      {
        driver: 'ebs.csi.aws.com',
        volumeHandle: 'vol-12',
        fsType: 'xfs',
        readOnly: true,
        volumeAttributes: { partition: '1' },
      },
    ],
    [
      'AWS, its own id',
      { awsElasticBlockStore: { volumeID: 'vol-3' } },
      { volumeHandle: 'vol-3', volumeAttributes: { partition: '0' } },
    ],
    [
      'GCE, of no zone',
      { gcePersistentDisk: { pdName: 'd', fsType: 'ext4' } },
      {
        driver: 'pd.csi.storage.gke.io',
        volumeHandle: 'projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d',
        fsType: 'ext4',
        volumeAttributes: { partition: '' },
      },
    ],
    [
      'a disk of Azure',
      { azureDisk: { diskName: 'd', diskURI: '/subscriptions/s/disks/d', cachingMode: 'None', fsType: 'ext4' } },
      {
        driver: 'disk.csi.azure.com',
        volumeHandle: '/subscriptions/s/disks/d',
        fsType: 'ext4',
        volumeAttributes: { kind: 'Managed', cachingMode: 'None', fsType: 'ext4', 'csi-migration': 'true' },
      },
    ],
    [
      'a share of Azure',
      { azureFile: { ...secretRef, readOnly: true }, claimRef: { namespace: 'ns' } },
      {
        driver: 'file.csi.azure.com',
        volumeHandle: '#acc#share#pv#ns',
        nodeStageSecretRef: { name: secretRef.secretName, namespace: 'ns' },
        readOnly: true,
        volumeAttributes: { sharename: 'share' },
      },
    ],
    [
      'OpenStack',
      { cinder: { volumeID: 'v', fsType: 'ext4' } },
      { driver: 'cinder.csi.openstack.org', volumeHandle: 'v', fsType: 'ext4' },
    ],
    [
      'vSphere',
      { vsphereVolume: { volumePath: '[ds] v.vmdk', storagePolicyName: 'gold' } },
      {
        driver: 'csi.vsphere.vmware.com',
        volumeHandle: '[ds] v.vmdk',
        volumeAttributes: { storagepolicyname: 'gold' },
      },
    ],
    [
      'Portworx',
      { portworxVolume: { volumeID: 'v', readOnly: true } },
      { driver: 'pxd.portworx.com', volumeHandle: 'v', readOnly: false },
    ],
  ])('%s', (_, spec, csi) => {
    expect(csiOf(spec)).toMatchObject(csi);
  });
});

test.each([
  ['failure-domain.beta.kubernetes.io/zone', 'europe-west1-b', 'zones/europe-west1-b'],
  ['topology.kubernetes.io/zone', 'europe-west1-b__europe-west1-c', 'regions/europe-west1'],
])('a disk of GCE is where its label %s says: %s', (label, value, place) => {
  const csi = csiOf({ gcePersistentDisk: { pdName: 'd' } }, { labels: { [label]: value } });
  expect(csi?.volumeHandle).toBe(`projects/UNSPECIFIED/${place}/disks/d`);
});

test.each([
  [['ReadWriteMany'], 'ReadWriteOnce'],
  [['ReadWriteOnce', 'ReadOnlyMany'], 'ReadWriteOnce'],
  [['ReadOnlyMany'], 'ReadOnlyMany'],
])('GCE: access modes %j are %s', (accessModes, mode) => {
  expect(asCsiVolume({ spec: { gcePersistentDisk: { pdName: 'd' }, accessModes } }).spec?.accessModes).toEqual([mode]);
});

test.each<[string, Spec, PersistentVolume['metadata']]>([
  ['Invalid format for AWS volume (aws://z/x)', { awsElasticBlockStore: { volumeID: 'aws://z/x' } }, {}],
  ['a secret namespace', { azureFile: { secretName: 's', shareName: 'x' } }, {}],
  [
    'not those of one region',
    { gcePersistentDisk: { pdName: 'd' } },
    { labels: { 'topology.kubernetes.io/zone': 'us-east1-b__us-west1-c' } },
  ],
])('refused: %s', (text, spec, metadata) => {
  expect(() => csiOf(spec, metadata)).toThrow(text);
});

test('others are as they are', () => {
  for (const spec of [{ local: { path: '/x' } }, { csi: { driver: 'd', volumeHandle: 'h' } }]) {
    const pv: PersistentVolume = { metadata: { name: 'pv' }, spec };
    expect(asCsiVolume(pv)).toBe(pv);
  }
});
