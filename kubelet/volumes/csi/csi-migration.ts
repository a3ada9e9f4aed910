// PersistentVolumes of clouds, whose own plugins have left Kubernetes: their CSI drivers serve them, once a volume is told
// as CSI tells it. Pure; after k8s.io/csi-translation-lib. Node affinity stays as it is: nodes of clouds have the labels of
// either form.
import type { PersistentVolume } from '../../../api/kinds.ts';
import { AgentError } from '../../../core/errors.ts';

type Spec = NonNullable<PersistentVolume['spec']>;
type CsiSource = NonNullable<Spec['csi']>;

/** On the CSINode: what the node hands to CSI drivers. The attaching controller asks their drivers for such volumes too. */
export const MIGRATED_ANNOTATION = 'storage.alpha.kubernetes.io/migrated-plugins';
export const MIGRATED_PLUGINS = [
  'kubernetes.io/aws-ebs',
  'kubernetes.io/azure-disk',
  'kubernetes.io/azure-file',
  'kubernetes.io/cinder',
  'kubernetes.io/gce-pd',
  'kubernetes.io/portworx-volume',
  'kubernetes.io/vsphere-volume',
].join(',');

/** The volume with a CSI source in its cloud's place; others as they are. @throws {AgentError} CSI_VOLUME_REFUSED */
export function asCsiVolume(pv: PersistentVolume): PersistentVolume {
  const { spec = {} } = pv;
  const csi = cloudSource(pv, spec);
  if (csi === undefined) return pv;
  const accessModes = spec.gcePersistentDisk === undefined ? spec.accessModes : [gceAccessMode(spec.accessModes)];
  return { ...pv, spec: { ...spec, csi, ...(accessModes === undefined ? {} : { accessModes }) } };
}

function cloudSource(pv: PersistentVolume, spec: Spec): CsiSource | undefined {
  const { awsElasticBlockStore: ebs, gcePersistentDisk: gce, azureDisk, azureFile } = spec;
  const { cinder, vsphereVolume: vsphere, portworxVolume: portworx } = spec;
  if (ebs !== undefined) {
    const volumeAttributes = { partition: String(ebs.partition ?? 0) };
    return { driver: 'ebs.csi.aws.com', volumeHandle: ebsHandle(ebs.volumeID), ...usual(ebs), volumeAttributes };
  }
  if (gce !== undefined) {
    const volumeAttributes = { partition: gce.partition ? String(gce.partition) : '' };
    return {
      driver: 'pd.csi.storage.gke.io',
      volumeHandle: gceHandle(pv, gce.pdName),
      ...usual(gce),
      volumeAttributes,
    };
  }
  if (azureDisk !== undefined) {
    const { cachingMode, fsType, kind = 'Managed' } = azureDisk;
    const told = {
      kind,
      ...(cachingMode === undefined ? {} : { cachingMode }),
      ...(fsType === undefined ? {} : { fsType }),
    };
    const volumeAttributes = { ...told, 'csi-migration': 'true' };
    return { driver: 'disk.csi.azure.com', volumeHandle: azureDisk.diskURI, ...usual(azureDisk), volumeAttributes };
  }
  if (azureFile !== undefined) return azureFileSource(pv, azureFile);
  if (cinder !== undefined) {
    return {
      driver: 'cinder.csi.openstack.org',
      volumeHandle: cinder.volumeID,
      ...usual(cinder),
      volumeAttributes: {},
    };
  }
  if (vsphere !== undefined) {
    const { storagePolicyName, volumePath } = vsphere;
    const volumeAttributes: Record<string, string> = storagePolicyName ? { storagepolicyname: storagePolicyName } : {};
    return { driver: 'csi.vsphere.vmware.com', volumeHandle: volumePath, ...usual(vsphere), volumeAttributes };
  }
  if (portworx === undefined) return undefined;
  const { fsType, volumeID } = portworx;
  return { driver: 'pxd.portworx.com', volumeHandle: volumeID, ...usual({ fsType }), volumeAttributes: {} };
}

function usual({ fsType = '', readOnly = false }: { fsType?: string | undefined; readOnly?: boolean }) {
  return { fsType, readOnly };
}

/** `aws://ZONE/vol-…` or `vol-…`. */
function ebsHandle(volumeId: string): string {
  if (!volumeId.startsWith('aws://')) return volumeId;
  const id = /^aws:\/\/[^/]*\/+(vol-[^/]*)\/*$/.exec(volumeId)?.[1];
  if (id === undefined) throw refusal(`Invalid format for AWS volume (${volumeId})`);
  return id;
}

/** The labels of the volume name its zone, or the zones of its region, e.g. `europe-west1-b__europe-west1-c`. */
function gceHandle({ metadata }: PersistentVolume, disk: string): string {
  const labels = metadata?.labels ?? {};
  const text = labels['failure-domain.beta.kubernetes.io/zone'] || labels['topology.kubernetes.io/zone'] || '';
  const zones = text.split('__');
  if (zones.length === 1) return `projects/UNSPECIFIED/zones/${zones[0] || 'UNSPECIFIED'}/disks/${disk}`;
  const regions = new Set(zones.map((zone) => /^([^-]+-[^-]+)-[^-]+$/.exec(zone)?.[1]));
  const [region] = regions;
  if (regions.size !== 1 || region === undefined) throw refusal(`zones ${text} are not those of one region`);
  return `projects/UNSPECIFIED/regions/${region}/disks/${disk}`;
}

/** The in-tree plugin took any mode and attached the disk to one node, or for reading; its driver refuses other modes. */
function gceAccessMode(modes: readonly string[] = []): string {
  return modes.length > 0 && modes.every((mode) => mode === 'ReadOnlyMany') ? 'ReadOnlyMany' : 'ReadWriteOnce';
}

function azureFileSource({ metadata, spec }: PersistentVolume, file: NonNullable<Spec['azureFile']>): CsiSource {
  const { secretName, shareName, readOnly = false } = file;
  const namespace = file.secretNamespace ?? spec?.claimRef?.namespace ?? '';
  if (namespace === '') throw refusal('could not find a secret namespace in PersistentVolumeSource or ClaimRef');
  const account = /azure-storage-account-(.+)-secret/.exec(secretName)?.[1] ?? secretName;
  const group = metadata?.annotations?.['kubernetes.io/azure-file-resource-group'] ?? '';
  return {
    driver: 'file.csi.azure.com',
    volumeHandle: [group, account, shareName, metadata?.name ?? '', namespace].join('#'),
    nodeStageSecretRef: { name: secretName, namespace },
    readOnly,
    volumeAttributes: { sharename: shareName },
  };
}

function refusal(text: string): AgentError {
  return new AgentError(text, { code: 'CSI_VOLUME_REFUSED' });
}
