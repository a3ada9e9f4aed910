// Claims, PersistentVolumes, StorageClasses and CSIDrivers. Source: pkg/apis/core/validation
// (ValidatePersistentVolumeClaim, ValidatePersistentVolume) and pkg/apis/storage/validation.
import { isDeepStrictEqual } from 'node:util';
import type { StorageClass } from 'kubernetes-types/storage/v1.js';
import type { CSIDriver, PersistentVolume, PersistentVolumeClaim } from '../../../api/kinds.ts';
import { compareQuantities, parseQuantity, ZERO_QUANTITY } from '../../../api/quantity.ts';
import type { AnyObject } from '../definition.ts';
import { duplicate, type FieldError, forbiddenField, invalid, notSupported, required } from '../field-errors.ts';

export function claimFaults(object: AnyObject): FieldError[] {
  const { spec } = object as PersistentVolumeClaim;
  const faults: FieldError[] = [];
  if ((spec?.accessModes?.length ?? 0) === 0)
    faults.push(required('spec.accessModes', 'at least 1 access mode is required'));
  const storage = spec?.resources?.requests?.storage;
  if (storage === undefined) faults.push(required('spec.resources[storage]'));
  else if (compareQuantities(parseQuantity(storage), ZERO_QUANTITY) <= 0) {
    faults.push(invalid('spec.resources[storage]', storage, 'must be greater than zero'));
  }
  return faults;
}

/** Only growth and the attributes class may change; binding sets volumeName once. */
export function claimUpdateFaults(next: AnyObject, old: AnyObject): FieldError[] {
  const strip = (o: AnyObject) => {
    const { resources: _r, volumeAttributesClassName: _v, volumeName: _n, ...rest } = o.spec ?? {};
    return rest;
  };
  const renamed = old.spec?.volumeName && next.spec?.volumeName !== old.spec.volumeName;
  if (isDeepStrictEqual(strip(next), strip(old)) && !renamed) return [];
  return [
    forbiddenField(
      'spec',
      'spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims',
    ),
  ];
}

const VOLUME_SOURCES: ReadonlySet<string> = new Set([
  'awsElasticBlockStore',
  'azureDisk',
  'azureFile',
  'cephfs',
  'cinder',
  'csi',
  'fc',
  'flexVolume',
  'flocker',
  'gcePersistentDisk',
  'glusterfs',
  'hostPath',
  'iscsi',
  'local',
  'nfs',
  'photonPersistentDisk',
  'portworxVolume',
  'quobyte',
  'rbd',
  'scaleIO',
  'storageos',
  'vsphereVolume',
]);

const sourcesOf = (spec: object): [string, unknown][] =>
  Object.entries(spec).filter(([member]) => VOLUME_SOURCES.has(member));

export function persistentVolumeFaults(object: AnyObject): FieldError[] {
  const spec = (object as PersistentVolume).spec ?? {};
  const faults: FieldError[] = [];
  if ((spec.accessModes?.length ?? 0) === 0) faults.push(required('spec.accessModes'));
  if (Object.keys(spec.capacity ?? {}).length === 0) faults.push(required('spec.capacity'));
  else if (spec.capacity?.storage === undefined || Object.keys(spec.capacity).length !== 1) {
    faults.push(notSupported('spec.capacity', spec.capacity, ['storage']));
  }
  const sources = sourcesOf(spec);
  if (sources.length === 0) faults.push(required('spec', 'must specify a volume type'));
  for (const [source] of sources.slice(1)) {
    faults.push(forbiddenField(`spec.${source}`, 'may not specify more than 1 volume type'));
  }
  const { csi, hostPath, local } = spec;
  if (hostPath !== undefined && !hostPath.path) faults.push(required('spec.hostPath.path'));
  if (local !== undefined && !local.path) faults.push(required('spec.local.path'));
  if (local !== undefined && spec.nodeAffinity?.required === undefined) {
    faults.push(required('spec.nodeAffinity', 'Local volume requires node affinity'));
  }
  if (csi !== undefined && !csi.driver) faults.push(required('spec.csi.driver'));
  if (csi !== undefined && !csi.volumeHandle) faults.push(required('spec.csi.volumeHandle'));
  return faults;
}

/** Where the data lies never changes. */
export function persistentVolumeUpdateFaults(next: AnyObject, old: AnyObject): FieldError[] {
  if (isDeepStrictEqual(stored(next), stored(old))) return [];
  const field = 'spec.persistentvolumesource';
  return [forbiddenField(field, `${field} is immutable after creation`)];
}

/** A CSI driver may be given another secret for growing a volume. */
function stored(object: AnyObject): object {
  const sources = Object.fromEntries(sourcesOf(object.spec ?? {})) as { csi?: object };
  return sources.csi === undefined ? sources : { csi: { ...sources.csi, nodeExpandSecretRef: undefined } };
}

const RECLAIM_POLICIES = ['Delete', 'Retain'];
const BINDING_MODES = ['Immediate', 'WaitForFirstConsumer'];

export function storageClassFaults(object: AnyObject): FieldError[] {
  const { provisioner, reclaimPolicy, volumeBindingMode } = object as unknown as StorageClass;
  const faults = provisioner ? [] : [required('provisioner')];
  if (reclaimPolicy !== undefined && !RECLAIM_POLICIES.includes(reclaimPolicy)) {
    faults.push(notSupported('reclaimPolicy', reclaimPolicy, RECLAIM_POLICIES));
  }
  if (volumeBindingMode !== undefined && !BINDING_MODES.includes(volumeBindingMode)) {
    faults.push(notSupported('volumeBindingMode', volumeBindingMode, BINDING_MODES));
  }
  return faults;
}

const GROUP_POLICIES = ['File', 'None', 'ReadWriteOnceWithFSType'];
const LIFECYCLES = ['Ephemeral', 'Persistent'];
const MIN_TOKEN_SECONDS = 600;
const MIN_PERIOD_SECONDS = 10;

export function csiDriverFaults(object: AnyObject): FieldError[] {
  const spec = (object as unknown as CSIDriver).spec ?? {};
  const { nodeAllocatableUpdatePeriodSeconds: period } = spec as { nodeAllocatableUpdatePeriodSeconds?: number };
  const faults: FieldError[] = [];
  if (spec.fsGroupPolicy !== undefined && !GROUP_POLICIES.includes(spec.fsGroupPolicy)) {
    faults.push(notSupported('spec.fsGroupPolicy', spec.fsGroupPolicy, GROUP_POLICIES));
  }
  for (const mode of spec.volumeLifecycleModes ?? []) {
    if (!LIFECYCLES.includes(mode)) faults.push(notSupported('spec.volumeLifecycleModes', mode, LIFECYCLES));
  }
  const audiences = new Set<string>();
  (spec.tokenRequests ?? []).forEach(({ audience, expirationSeconds: seconds }, i) => {
    const field = `spec.tokenRequests[${i}]`;
    if (audiences.has(audience)) faults.push(duplicate(`${field}.audience`, audience));
    audiences.add(audience);
    if (seconds !== undefined && seconds < MIN_TOKEN_SECONDS) {
      faults.push(invalid(`${field}.expirationSeconds`, seconds, 'may not specify a duration less than 10 minutes'));
    }
  });
  if (period !== undefined && period < MIN_PERIOD_SECONDS) {
    const why = `must be greater than or equal to ${MIN_PERIOD_SECONDS} seconds`;
    faults.push(invalid('spec.nodeAllocatableUpdatePeriodSeconds', period, why));
  }
  return faults;
}
