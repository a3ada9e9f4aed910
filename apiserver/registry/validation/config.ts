// ConfigMap and Secret. Source: pkg/apis/core/validation.
import { isDeepStrictEqual } from 'node:util';
import type { ConfigMap, Secret } from '../../../api/kinds.ts';
import { type FieldError, forbiddenField, invalid, required, tooLong } from '../field-errors.ts';

const MAX_TOTAL_BYTES = 1024 * 1024;
const KEY_TEXT =
  "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or " +
  "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

function keyFaults(field: string, data: Readonly<Record<string, string>> | undefined): FieldError[] {
  return Object.keys(data ?? {}).flatMap((key) => {
    const path = `${field}[${key}]`;
    if (key.length > 253) return [invalid(path, key, 'must be no more than 253 characters')];
    if (!/^[-._a-zA-Z0-9]+$/.test(key)) return [invalid(path, key, KEY_TEXT)];
    return key === '.' || key === '..' || key.startsWith('..') ? [invalid(path, key, `may not be '${key}'`)] : [];
  });
}

const bytesOf = (data: Readonly<Record<string, string>> | undefined): number =>
  Object.values(data ?? {}).reduce((sum, text) => sum + Buffer.byteLength(text), 0);

const decodedBytesOf = (data: Readonly<Record<string, string>> | undefined): number =>
  Object.values(data ?? {}).reduce((sum, text) => sum + Buffer.byteLength(text, 'base64'), 0);

export function configMapFaults(object: ConfigMap): FieldError[] {
  const faults = [...keyFaults('data', object.data), ...keyFaults('binaryData', object.binaryData)];
  for (const key of Object.keys(object.binaryData ?? {})) {
    if (Object.hasOwn(object.data ?? {}, key))
      faults.push(invalid(`data[${key}]`, key, 'duplicate of key present in binaryData'));
  }
  if (bytesOf(object.data) + decodedBytesOf(object.binaryData) > MAX_TOTAL_BYTES)
    faults.push(tooLong('', MAX_TOTAL_BYTES));
  return faults;
}

const REQUIRED_KEYS: Readonly<Record<string, readonly string[]>> = {
  'kubernetes.io/tls': ['tls.crt', 'tls.key'],
  'kubernetes.io/dockerconfigjson': ['.dockerconfigjson'],
  'kubernetes.io/dockercfg': ['.dockercfg'],
  'kubernetes.io/ssh-auth': ['ssh-privatekey'],
};

export function secretFaults(object: Secret): FieldError[] {
  const faults = keyFaults('data', object.data);
  if (decodedBytesOf(object.data) > MAX_TOTAL_BYTES) faults.push(tooLong('data', MAX_TOTAL_BYTES));
  for (const key of REQUIRED_KEYS[object.type ?? ''] ?? []) {
    const value = object.data?.[key];
    if (value === undefined) faults.push(required(`data[${key}]`));
    else if (key.startsWith('.docker') && !isJson(Buffer.from(value, 'base64').toString())) {
      faults.push(invalid(`data[${key}]`, '<secret contents redacted>', 'invalid character in JSON'));
    }
  }
  if (object.type === 'kubernetes.io/basic-auth' && !object.data?.username && !object.data?.password) {
    faults.push(required('data[username]'), required('data[password]'));
  }
  if (object.type === 'kubernetes.io/service-account-token') {
    const account = object.metadata?.annotations?.['kubernetes.io/service-account.name'];
    if (!account) faults.push(required('metadata.annotations[kubernetes.io/service-account.name]'));
  }
  return faults;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false; // that is the answer
  }
}

interface MaybeImmutable {
  readonly immutable?: boolean;
}

export function immutableDataFaults<T extends MaybeImmutable>(
  next: T,
  old: T,
  members: readonly (keyof T & string)[],
): FieldError[] {
  if (old.immutable !== true) return [];
  const text = 'field is immutable when `immutable` is set';
  const faults = next.immutable === true ? [] : [forbiddenField('immutable', text)];
  for (const member of members)
    if (!isDeepStrictEqual(next[member], old[member])) faults.push(forbiddenField(member, text));
  return faults;
}

export function secretUpdateFaults(next: Secret, old: Secret): FieldError[] {
  const faults = immutableDataFaults(next, old, ['data']);
  if (next.type !== old.type) faults.push(invalid('type', next.type, 'field is immutable'));
  return faults;
}
