// PersistentVolumeClaim. Source: pkg/apis/core/validation ValidatePersistentVolumeClaim.
import { isDeepStrictEqual } from 'node:util';
import type { PersistentVolumeClaim } from '../../../api/kinds.ts';
import { compareQuantities, parseQuantity, ZERO_QUANTITY } from '../../../api/quantity.ts';
import type { AnyObject } from '../definition.ts';
import { type FieldError, forbiddenField, invalid, required } from '../field-errors.ts';

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
