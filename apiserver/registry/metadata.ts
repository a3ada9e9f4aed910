// Rules of metadata that hold for every kind.
import type { ObjectMeta } from '../../api/meta.ts';
import type { KindDefinition } from './definition.ts';
import { type FieldError, forbiddenField, invalid, required, tooLong } from './field-errors.ts';

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const QUALIFIED = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/;

const LABEL_TEXT =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an " +
  "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end " +
  "with an alphanumeric character (e.g. 'example.com', regex used for validation is " +
  "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED_TEXT =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric " +
  "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is " +
  "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_TEXT =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end " +
  "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is " +
  "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const MAX_ANNOTATION_BYTES = 262_144;

export function labelFaults(field: string, value: string): FieldError[] {
  if (value.length > 63) return [invalid(field, value, 'must be no more than 63 characters')];
  return LABEL.test(value) ? [] : [invalid(field, value, LABEL_TEXT)];
}

export function subdomainFaults(field: string, value: string): FieldError[] {
  if (value.length > 253) return [invalid(field, value, 'must be no more than 253 characters')];
  return SUBDOMAIN.test(value) ? [] : [invalid(field, value, SUBDOMAIN_TEXT)];
}

export function nameFaults(field: string, name: string, rule: KindDefinition['nameRule']): FieldError[] {
  if (rule === 'label') return labelFaults(field, name);
  if (rule !== 'path-segment') return subdomainFaults(field, name);
  if (name === '.' || name === '..') return [invalid(field, name, `may not be '${name}'`)];
  const bad = ['/', '%'].find((c) => name.includes(c));
  return bad === undefined ? [] : [invalid(field, name, `may not contain '${bad}'`)];
}

export function metadataFaults(meta: ObjectMeta, definition: Pick<KindDefinition, 'nameRule'>): FieldError[] {
  const faults: FieldError[] = [];
  if (!meta.name) faults.push(required('metadata.name', 'name or generateName is required'));
  else faults.push(...nameFaults('metadata.name', meta.name, definition.nameRule));
  faults.push(...labelsFaults('metadata.labels', meta.labels ?? {}));
  faults.push(...annotationFaults(meta.annotations ?? {}));
  for (const [i, finalizer] of (meta.finalizers ?? []).entries()) {
    faults.push(...qualifiedNameFaults(`metadata.finalizers[${i}]`, finalizer));
  }
  faults.push(...ownerFaults(meta));
  return faults;
}

function annotationFaults(annotations: Readonly<Record<string, string>>): FieldError[] {
  let bytes = 0;
  const faults: FieldError[] = [];
  for (const [key, value] of Object.entries(annotations)) {
    faults.push(...qualifiedNameFaults('metadata.annotations', key.toLowerCase()));
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (bytes > MAX_ANNOTATION_BYTES) faults.push(tooLong('metadata.annotations', MAX_ANNOTATION_BYTES));
  return faults;
}

export function labelsFaults(field: string, labels: Readonly<Record<string, string>>): FieldError[] {
  return Object.entries(labels).flatMap(([key, value]) => [
    ...qualifiedNameFaults(field, key),
    ...labelValueFaults(field, value),
  ]);
}

export function labelValueFaults(field: string, value: string): FieldError[] {
  if (value.length > 63) return [invalid(field, value, 'must be no more than 63 bytes')];
  return LABEL_VALUE.test(value) ? [] : [invalid(field, value, LABEL_VALUE_TEXT)];
}

/** `name` or `prefix.dns/name`. */
export function qualifiedNameFaults(field: string, key: string): FieldError[] {
  const parts = key.split('/');
  if (parts.length > 2) return [invalid(field, key, `a qualified name ${QUALIFIED_TEXT.slice('name part '.length)}`)];
  const name = parts.at(-1)!;
  const faults: FieldError[] = [];
  if (parts.length === 2 && parts[0] === '') faults.push(invalid(field, key, 'prefix part must be non-empty'));
  else if (parts.length === 2 && (parts[0]!.length > 253 || !SUBDOMAIN.test(parts[0]!))) {
    faults.push(invalid(field, key, `prefix part ${SUBDOMAIN_TEXT}`));
  }
  if (name === '') faults.push(invalid(field, key, 'name part must be non-empty'));
  else if (name.length > 63) faults.push(invalid(field, key, 'name part must be no more than 63 bytes'));
  if (!QUALIFIED.test(name)) faults.push(invalid(field, key, QUALIFIED_TEXT));
  return faults;
}

function ownerFaults(meta: ObjectMeta): FieldError[] {
  const owners = meta.ownerReferences ?? [];
  const faults = owners.flatMap((owner, i) =>
    (['apiVersion', 'kind', 'name', 'uid'] as const)
      .filter((member) => !owner[member])
      .map((member) => invalid(`metadata.ownerReferences[${i}].${member}`, owner[member] ?? '', 'must not be empty')),
  );
  const controllers = owners.filter((o) => o.controller === true);
  if (controllers.length > 1) {
    const names = controllers.map((o) => `${o.kind}/${o.name}`).join(' and ');
    faults.push(
      invalid(
        'metadata.ownerReferences',
        owners,
        `Only one reference can have Controller set to true. Found "true" in references for ${names}`,
      ),
    );
  }
  return faults;
}

/** Once deletion has begun, finalizers may only be removed. */
export function metadataUpdateFaults(next: ObjectMeta, old: ObjectMeta): FieldError[] {
  if (old.deletionTimestamp === undefined) return [];
  const known = new Set(old.finalizers ?? []);
  const added = (next.finalizers ?? []).filter((f) => !known.has(f));
  if (added.length === 0) return [];
  const list = added.map((f) => JSON.stringify(f)).join(', ');
  return [
    forbiddenField(
      'metadata.finalizers',
      `no new finalizers can be added if the object is being deleted, found new finalizers []string{${list}}`,
    ),
  ];
}

export const MAX_NAME_BASE = 58;
const SUFFIX_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';

/** Five characters that cannot form words, as apiserver pkg/storage/names. */
export function randomSuffix(random: () => number = Math.random): string {
  let text = '';
  for (let i = 0; i < 5; i++) text += SUFFIX_ALPHABET[Math.floor(random() * SUFFIX_ALPHABET.length)];
  return text;
}
