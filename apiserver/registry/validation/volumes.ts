// The volumes of a pod. Source: pkg/apis/core/validation ValidateVolumes.
import type {
  DownwardAPIVolumeSource,
  HostPathVolumeSource,
  KeyToPath,
  ProjectedVolumeSource,
  Volume,
} from '../../../api/pod.ts';
import { duplicate, type FieldError, forbiddenField, invalid, notSupported, required } from '../field-errors.ts';
import { labelFaults } from '../metadata.ts';
import { pathBelowFaults } from './security-context.ts';

type VolumeProjection = NonNullable<ProjectedVolumeSource['sources']>[number];

const HOST_PATH_TYPES = [
  '',
  'BlockDevice',
  'CharDevice',
  'Directory',
  'DirectoryOrCreate',
  'File',
  'FileOrCreate',
  'Socket',
];
/** A file shows whole maps too, but nothing that is known only when the pod runs. */
const FILE_FIELDS = ['metadata.annotations', 'metadata.labels', 'metadata.name', 'metadata.namespace', 'metadata.uid'];
const VARIABLE_FIELDS = /^(spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?))$/;
const MAP_ENTRY = /^metadata\.(annotations|labels)\['[^']+'\]$/;
const MIN_TOKEN_SECONDS = 600;
const ONE_ONLY = 'may not specify more than 1 volume type';

export function volumesFaults(volumes: readonly Volume[], path: string): FieldError[] {
  const faults: FieldError[] = [];
  const names = new Set<string>();
  volumes.forEach((volume, i) => {
    const field = `${path}[${i}]`;
    if (!volume.name) faults.push(required(`${field}.name`));
    else faults.push(...labelFaults(`${field}.name`, volume.name));
    if (names.has(volume.name)) faults.push(duplicate(`${field}.name`, volume.name));
    names.add(volume.name);
    faults.push(...sourceFaults(volume, field));
  });
  return faults;
}

function sourceFaults(volume: Volume, field: string): FieldError[] {
  const sources = Object.keys(volume).filter((member) => member !== 'name');
  if (sources.length === 0) return [required(field, 'must specify a volume type')];
  const { hostPath, secret, configMap, downwardAPI, projected, csi, ephemeral } = volume;
  const { persistentVolumeClaim: claim } = volume;
  const faults = sources.slice(1).map((s) => forbiddenField(`${field}.${s}`, ONE_ONLY));
  if (hostPath !== undefined) faults.push(...hostPathFaults(hostPath, `${field}.hostPath`));
  if (secret !== undefined) faults.push(...filesFaults(secret, `${field}.secret`, 'secretName', secret.secretName));
  if (configMap !== undefined) faults.push(...filesFaults(configMap, `${field}.configMap`, 'name', configMap.name));
  if (downwardAPI !== undefined) {
    faults.push(...modeFaults(`${field}.downwardAPI.defaultMode`, downwardAPI.defaultMode));
    faults.push(...downwardFaults(downwardAPI.items, `${field}.downwardAPI`));
  }
  if (projected !== undefined) {
    faults.push(...modeFaults(`${field}.projected.defaultMode`, projected.defaultMode));
    (projected.sources ?? []).forEach((source, i) => {
      faults.push(...projectionFaults(source, `${field}.projected.sources[${i}]`));
    });
  }
  if (claim !== undefined && !claim.claimName) faults.push(required(`${field}.persistentVolumeClaim.claimName`));
  if (csi !== undefined && !csi.driver) faults.push(required(`${field}.csi.driver`));
  if (ephemeral !== undefined && ephemeral.volumeClaimTemplate === undefined) {
    faults.push(required(`${field}.ephemeral.volumeClaimTemplate`));
  }
  return faults;
}

function hostPathFaults({ path, type = '' }: HostPathVolumeSource, field: string): FieldError[] {
  const faults: FieldError[] = [];
  if (!path) faults.push(required(`${field}.path`));
  else if (path.split('/').includes('..')) faults.push(invalid(`${field}.path`, path, "must not contain '..'"));
  if (!HOST_PATH_TYPES.includes(type)) faults.push(notSupported(`${field}.type`, type, HOST_PATH_TYPES));
  return faults;
}

interface Files {
  readonly items?: readonly KeyToPath[];
  readonly defaultMode?: number;
}

/** A configMap or a secret. */
function filesFaults(source: Files, field: string, nameField: string, name: string | undefined): FieldError[] {
  const faults = name ? [] : [required(`${field}.${nameField}`)];
  faults.push(...modeFaults(`${field}.defaultMode`, source.defaultMode));
  (source.items ?? []).forEach(({ key, path, mode }, i) => {
    const item = `${field}.items[${i}]`;
    if (!key) faults.push(required(`${item}.key`));
    faults.push(...pathFaults(`${item}.path`, path), ...modeFaults(`${item}.mode`, mode));
  });
  return faults;
}

function downwardFaults(items: DownwardAPIVolumeSource['items'], field: string): FieldError[] {
  return (items ?? []).flatMap(({ path, mode, fieldRef, resourceFieldRef }, i) => {
    const item = `${field}.items[${i}]`;
    const faults = pathFaults(`${item}.path`, path);
    if (fieldRef !== undefined) {
      faults.push(...fieldPathFaults(`${item}.fieldRef.fieldPath`, fieldRef.fieldPath));
      if (resourceFieldRef !== undefined) {
        const both = 'fieldRef and resourceFieldRef can not be specified simultaneously';
        faults.push(invalid(item, 'resource', both));
      }
    } else if (resourceFieldRef === undefined) {
      faults.push(required(item, 'one of fieldRef and resourceFieldRef is required'));
    } else if (!resourceFieldRef.containerName) {
      faults.push(required(`${item}.resourceFieldRef.containerName`));
    } else if (!resourceFieldRef.resource) {
      faults.push(required(`${item}.resourceFieldRef.resource`));
    }
    return [...faults, ...modeFaults(`${item}.mode`, mode)];
  });
}

function fieldPathFaults(field: string, fieldPath: string): FieldError[] {
  if (!fieldPath) return [required(field)];
  if (FILE_FIELDS.includes(fieldPath) || MAP_ENTRY.test(fieldPath)) return [];
  if (VARIABLE_FIELDS.test(fieldPath)) return [notSupported(field, fieldPath, FILE_FIELDS)];
  const why = `error converting fieldPath: field label not supported: ${fieldPath}`;
  return [invalid(field, fieldPath, why)];
}

function projectionFaults(source: VolumeProjection, field: string): FieldError[] {
  const faults = Object.keys(source)
    .slice(1)
    .map((s) => forbiddenField(`${field}.${s}`, ONE_ONLY));
  const { secret, configMap, downwardAPI, serviceAccountToken: token } = source;
  if (secret !== undefined) faults.push(...filesFaults(secret, `${field}.secret`, 'name', secret.name));
  if (configMap !== undefined) faults.push(...filesFaults(configMap, `${field}.configMap`, 'name', configMap.name));
  if (downwardAPI !== undefined) faults.push(...downwardFaults(downwardAPI.items, `${field}.downwardAPI`));
  if (token !== undefined) {
    const at = `${field}.serviceAccountToken`;
    const seconds = token.expirationSeconds;
    if (seconds !== undefined && seconds < MIN_TOKEN_SECONDS) {
      faults.push(invalid(`${at}.expirationSeconds`, seconds, 'may not specify a duration less than 10 minutes'));
    }
    faults.push(...pathFaults(`${at}.path`, token.path));
  }
  return faults;
}

const pathFaults = (field: string, path: string): FieldError[] =>
  path ? pathBelowFaults(field, path) : [required(field)];

function modeFaults(field: string, mode: number | undefined): FieldError[] {
  if (mode === undefined || (mode >= 0 && mode <= 0o777)) return [];
  return [invalid(field, mode, 'must be a number between 0 and 0777 (octal), both inclusive')];
}
