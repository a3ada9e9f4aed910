// Faults of the smaller kinds.
import { isDeepStrictEqual } from 'node:util';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { Role, RoleBinding } from 'kubernetes-types/rbac/v1.js';
import type { PriorityClass } from 'kubernetes-types/scheduling/v1.js';
import type { Lease } from '../../../api/kinds.ts';
import type { AnyObject } from '../definition.ts';
import { type FieldError, forbiddenField, invalid, notSupported, required, tooMany } from '../field-errors.ts';

const MAX_ENDPOINTS = 1000;
const MAX_ADDRESSES = 100;
const MAX_SLICE_PORTS = 20_000;
const HIGHEST_USER_PRIORITY = 1_000_000_000;

/** Members of the object, or of nothing else, that may never change. */
export function immutable(next: AnyObject, old: AnyObject, members: readonly string[]): FieldError[] {
  const [a, b] = [next as unknown as Record<string, unknown>, old as unknown as Record<string, unknown>];
  return members
    .filter((member) => !isDeepStrictEqual(a[member], b[member]))
    .map((member) => invalid(member, a[member], 'field is immutable'));
}

export function leaseFaults(object: AnyObject): FieldError[] {
  const { spec } = object as Lease;
  const faults: FieldError[] = [];
  if (spec?.leaseDurationSeconds !== undefined && spec.leaseDurationSeconds <= 0) {
    faults.push(invalid('spec.leaseDurationSeconds', spec.leaseDurationSeconds, 'must be greater than 0'));
  }
  if (spec?.leaseTransitions !== undefined && spec.leaseTransitions < 0) {
    faults.push(invalid('spec.leaseTransitions', spec.leaseTransitions, 'must be greater than or equal to 0'));
  }
  if (spec?.holderIdentity === '') faults.push(required('spec.holderIdentity', 'holderIdentity must not be empty'));
  return faults;
}

export function endpointSliceFaults(object: AnyObject): FieldError[] {
  const slice = object as unknown as EndpointSlice;
  const faults: FieldError[] = [];
  const types = ['FQDN', 'IPv4', 'IPv6'];
  if (!slice.addressType) faults.push(required('addressType'));
  else if (!types.includes(slice.addressType)) faults.push(notSupported('addressType', slice.addressType, types));
  const endpoints = slice.endpoints ?? [];
  if (endpoints.length > MAX_ENDPOINTS) faults.push(tooMany('endpoints', endpoints.length, MAX_ENDPOINTS));
  endpoints.forEach((endpoint, i) => {
    const count = endpoint.addresses?.length ?? 0;
    const field = `endpoints[${i}].addresses`;
    if (count === 0) faults.push(required(field, 'must contain at least 1 address'));
    if (count > MAX_ADDRESSES) faults.push(tooMany(field, count, MAX_ADDRESSES));
  });
  const ports = slice.ports ?? [];
  if (ports.length > MAX_SLICE_PORTS) faults.push(tooMany('ports', ports.length, MAX_SLICE_PORTS));
  return faults;
}

export function endpointSliceUpdateFaults(next: AnyObject, old: AnyObject): FieldError[] {
  return immutable(next, old, ['addressType']);
}

export function roleFaults(object: AnyObject): FieldError[] {
  return ((object as unknown as Role).rules ?? []).flatMap((rule, i) =>
    (rule.verbs?.length ?? 0) === 0 ? [required(`rules[${i}].verbs`, 'verbs must contain at least one value')] : [],
  );
}

export function roleBindingFaults(binding: RoleBinding): FieldError[] {
  const faults: FieldError[] = [];
  const { roleRef } = binding;
  const kinds = ['Role', 'ClusterRole'];
  if (!kinds.includes(roleRef?.kind)) faults.push(notSupported('roleRef.kind', roleRef?.kind ?? '', kinds));
  if (!roleRef?.name) faults.push(required('roleRef.name'));
  (binding.subjects ?? []).forEach((subject, i) => {
    if (!subject.name) faults.push(required(`subjects[${i}].name`));
    if (subject.kind === 'ServiceAccount' && !subject.namespace) faults.push(required(`subjects[${i}].namespace`));
  });
  return faults;
}

export function roleBindingUpdateFaults(next: RoleBinding, old: RoleBinding): FieldError[] {
  if (isDeepStrictEqual(next.roleRef, old.roleRef)) return [];
  return [invalid('roleRef', next.roleRef, 'cannot change roleRef')];
}

export function priorityClassFaults(object: AnyObject): FieldError[] {
  const { metadata, value } = object as unknown as PriorityClass;
  const name = metadata?.name ?? '';
  if (name === 'system-cluster-critical' || name === 'system-node-critical') return [];
  const faults: FieldError[] = [];
  if (name.startsWith('system-')) {
    faults.push(
      forbiddenField(
        'metadata.name',
        "priority class names with 'system-' prefix are reserved for system use only. error: " +
          `"${name}" is not a known system priority class`,
      ),
    );
  }
  if (value > HIGHEST_USER_PRIORITY) {
    faults.push(
      forbiddenField('value', `maximum allowed value of a user defined priority is ${HIGHEST_USER_PRIORITY}`),
    );
  }
  return faults;
}
