// CSINode. Source: pkg/apis/storage/validation ValidateCSINode, ValidateCSINodeUpdate.
import { isDeepStrictEqual } from 'node:util';
import type { CSINodeDriver } from 'kubernetes-types/storage/v1.js';
import type { AnyObject } from '../definition.ts';
import { duplicate, type FieldError, invalid, required } from '../field-errors.ts';
import { qualifiedNameFaults, subdomainFaults } from '../metadata.ts';

const MAX_NODE_ID = 256;
const MAX_DRIVER_NAME = 63;

const driversOf = (object: AnyObject): readonly CSINodeDriver[] => object.spec?.drivers ?? [];

export function csiNodeFaults(object: AnyObject): FieldError[] {
  const drivers = driversOf(object);
  return drivers.flatMap((driver, i) => {
    const at = `spec.drivers[${i}]`;
    const twice = drivers.findIndex((d) => d.name === driver.name) < i;
    return [
      ...nameFaults(`${at}.name`, driver.name ?? ''),
      ...nodeIdFaults(`${at}.nodeID`, driver.nodeID ?? ''),
      ...countFaults(`${at}.allocatable.count`, driver.allocatable?.count ?? 0),
      ...(twice ? [duplicate(`${at}.name`, driver.name)] : []),
      ...topologyFaults(at, driver.topologyKeys ?? []),
    ];
  });
}

function nameFaults(field: string, name: string): FieldError[] {
  if (name === '') return [required(field)];
  const long =
    name.length > MAX_DRIVER_NAME ? [invalid(field, name, `must be ${MAX_DRIVER_NAME} characters or less`)] : [];
  return [...long, ...subdomainFaults(field, name.toLowerCase())];
}

function nodeIdFaults(field: string, id: string): FieldError[] {
  if (id === '') return [required(field)];
  return id.length > MAX_NODE_ID ? [invalid(field, id, `must be ${MAX_NODE_ID} characters or less`)] : [];
}

function countFaults(field: string, count: number): FieldError[] {
  return count < 0 ? [invalid(field, count, 'must be greater than or equal to 0')] : [];
}

function topologyFaults(field: string, keys: readonly string[]): FieldError[] {
  return keys.flatMap((key, i) => [
    ...(key === '' ? [required(field, key)] : []),
    ...(keys.indexOf(key) < i ? [duplicate(field, key)] : []),
    ...qualifiedNameFaults(field, key),
  ]);
}

/** Of a driver that is there only the number of volumes may change. */
export function csiNodeUpdateFaults(next: AnyObject, old: AnyObject): FieldError[] {
  const lasting = ({ name, nodeID, topologyKeys }: CSINodeDriver) => ({
    name,
    nodeID,
    topologyKeys: topologyKeys ?? [],
  });
  return driversOf(next).flatMap((driver) => {
    const known = driversOf(old).find((d) => d.name === driver.name);
    if (known === undefined || isDeepStrictEqual(lasting(known), lasting(driver))) return [];
    return [invalid('CSINodeDriver', driver, 'field is immutable')];
  });
}
