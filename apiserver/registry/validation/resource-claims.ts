// Claims of devices, their classes and what drivers advertise. Source: pkg/apis/resource/validation, what a node and the
// writers of a claim's status depend on; selectors in CEL are taken as they are.
import { isDeepStrictEqual } from 'node:util';
import type { AnyObject } from '../definition.ts';
import {
  duplicate,
  type FieldError,
  forbiddenField,
  invalid,
  notSupported,
  required,
  tooMany,
} from '../field-errors.ts';
import { immutable } from './others.ts';

const MAX_REQUESTS = 32;
const MAX_RESERVATIONS = 256;
const MAX_DEVICES = 128;
const LABEL = /^(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN = /^(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL_TEXT =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const MODES = ['All', 'ExactCount'];

interface Wanted {
  readonly name?: string;
  readonly deviceClassName?: string;
  readonly allocationMode?: string;
  readonly count?: number;
}

interface ClaimSpec {
  readonly devices?: {
    readonly requests?: readonly {
      readonly name?: string;
      readonly exactly?: Wanted;
      readonly firstAvailable?: readonly Wanted[];
    }[];
  };
}

export function resourceClaimFaults({ spec }: AnyObject): FieldError[] {
  return specFaults(spec, 'spec');
}

export function resourceClaimTemplateFaults({ spec }: AnyObject): FieldError[] {
  return specFaults(spec?.spec, 'spec.spec');
}

export function claimUpdateFaults(next: AnyObject, old: AnyObject): FieldError[] {
  return immutable(next, old, ['spec']);
}

export const templateUpdateFaults = claimUpdateFaults;

function specFaults(spec: ClaimSpec | undefined, at: string): FieldError[] {
  const requests = spec?.devices?.requests ?? [];
  const field = `${at}.devices.requests`;
  const faults = requests.length > MAX_REQUESTS ? [tooMany(field, requests.length, MAX_REQUESTS)] : [];
  const names = new Set<string>();
  requests.forEach(({ name, exactly, firstAvailable = [] }, i) => {
    const here = `${field}[${i}]`;
    faults.push(...nameFaults(name, `${here}.name`, names));
    if (exactly !== undefined && firstAvailable.length > 0) {
      faults.push(
        invalid(here, null, 'exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set'),
      );
    } else if (exactly === undefined && firstAvailable.length === 0) {
      faults.push(required(here, 'exactly one of `exactly` or `firstAvailable` is required'));
    }
    if (exactly !== undefined) faults.push(...wantedFaults(exactly, `${here}.exactly`));
    const subNames = new Set<string>();
    firstAvailable.forEach((wanted, j) => {
      const below = `${here}.firstAvailable[${j}]`;
      faults.push(...nameFaults(wanted.name, `${below}.name`, subNames), ...wantedFaults(wanted, below));
    });
  });
  return faults;
}

function nameFaults(name: string | undefined, field: string, seen: Set<string>): FieldError[] {
  if (!name) return [required(field)];
  if (!LABEL.test(name)) return [invalid(field, name, LABEL_TEXT)];
  if (seen.has(name)) return [duplicate(field, name)];
  seen.add(name);
  return [];
}

function wantedFaults({ deviceClassName, allocationMode, count }: Wanted, at: string): FieldError[] {
  const faults = deviceClassName ? [] : [required(`${at}.deviceClassName`)];
  if (!MODES.includes(allocationMode ?? '')) faults.push(notSupported(`${at}.allocationMode`, allocationMode, MODES));
  if (allocationMode === 'ExactCount' && (count ?? 0) <= 0) {
    faults.push(invalid(`${at}.count`, count ?? 0, 'must be greater than zero'));
  }
  if (allocationMode === 'All' && (count ?? 0) !== 0) {
    faults.push(invalid(`${at}.count`, count, "must not be specified when allocationMode is 'All'"));
  }
  return faults;
}

interface ClaimStatus {
  readonly allocation?: object;
  readonly reservedFor?: readonly { readonly resource?: string; readonly name?: string; readonly uid?: string }[];
}

/** What was allocated stays as it is until nobody uses it. */
export function claimStatusFaults(next: AnyObject, old: AnyObject): FieldError[] {
  const { allocation, reservedFor = [] } = (next.status ?? {}) as ClaimStatus;
  const before = ((old.status ?? {}) as ClaimStatus).allocation;
  const faults: FieldError[] = [];
  if (reservedFor.length > MAX_RESERVATIONS) {
    faults.push(tooMany('status.reservedFor', reservedFor.length, MAX_RESERVATIONS));
  }
  const uids = new Set<string>();
  reservedFor.forEach(({ resource, name, uid }, i) => {
    const at = `status.reservedFor[${i}]`;
    if (!resource) faults.push(required(`${at}.resource`));
    if (!name) faults.push(required(`${at}.name`));
    if (!uid) faults.push(required(`${at}.uid`));
    else if (uids.has(uid)) faults.push(duplicate(`${at}.uid`, uid));
    else uids.add(uid);
  });
  if (reservedFor.length > 0 && allocation === undefined) {
    faults.push(forbiddenField('status.reservedFor', 'may not be specified when `allocated` is not set'));
  }
  if (before !== undefined && allocation !== undefined && !isDeepStrictEqual(before, allocation)) {
    faults.push(invalid('status.allocation', allocation, 'field is immutable'));
  }
  return faults;
}

export function deviceClassFaults({ spec }: AnyObject): FieldError[] {
  const selectors: { cel?: { expression?: string } }[] = spec?.selectors ?? [];
  return selectors.flatMap(({ cel }, i) =>
    cel?.expression ? [] : [required(`spec.selectors[${i}].cel${cel === undefined ? '' : '.expression'}`)],
  );
}

const SELECTIONS = ['nodeName', 'nodeSelector', 'allNodes', 'perDeviceNodeSelection'] as const;

export function resourceSliceFaults({ spec }: AnyObject): FieldError[] {
  const faults: FieldError[] = [];
  if (!spec?.driver) faults.push(required('spec.driver'));
  else if (!SUBDOMAIN.test(spec.driver)) faults.push(invalid('spec.driver', spec.driver, SUBDOMAIN_TEXT));
  if (!spec?.pool?.name) faults.push(required('spec.pool.name'));
  if (!((spec?.pool?.resourceSliceCount ?? 0) > 0)) {
    const count = spec?.pool?.resourceSliceCount ?? 0;
    faults.push(invalid('spec.pool.resourceSliceCount', count, 'must be greater than zero'));
  }
  const set = SELECTIONS.filter((member) => spec?.[member] !== undefined && spec[member] !== false);
  const rule = 'exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required';
  if (set.length === 0) faults.push(required('spec', rule));
  if (set.length > 1) faults.push(invalid('spec', `{${set.join(', ')}}`, rule));
  const devices: { name?: string }[] = spec?.devices ?? [];
  if (devices.length > MAX_DEVICES) faults.push(tooMany('spec.devices', devices.length, MAX_DEVICES));
  const names = new Set<string>();
  for (const [i, { name }] of devices.entries()) faults.push(...nameFaults(name, `spec.devices[${i}].name`, names));
  return faults;
}

export function resourceSliceUpdateFaults(next: AnyObject, old: AnyObject): FieldError[] {
  const changed = (member: string, a: unknown, b: unknown) =>
    a === b ? [] : [invalid(`spec.${member}`, a, 'field is immutable')];
  return [
    ...changed('driver', next.spec?.driver, old.spec?.driver),
    ...changed('pool.name', next.spec?.pool?.name, old.spec?.pool?.name),
    ...changed('nodeName', next.spec?.nodeName, old.spec?.nodeName),
  ];
}
