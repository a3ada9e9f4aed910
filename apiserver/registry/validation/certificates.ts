// Faults of signing requests. After pkg/apis/certificates/validation.
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.js';
import { PkiError, parseCsr } from '../../../api/pki.ts';
import {
  duplicate,
  type FieldError,
  forbiddenField,
  invalid,
  notSupported,
  required,
  tooLong,
} from '../field-errors.ts';

const USAGES: readonly string[] = [
  ...['signing', 'digital signature', 'content commitment', 'key encipherment', 'key agreement', 'data encipherment'],
  ...['cert sign', 'crl sign', 'encipher only', 'decipher only', 'any', 'server auth', 'client auth', 'code signing'],
  ...['email protection', 's/mime', 'ipsec end system', 'ipsec tunnel', 'ipsec user', 'timestamping', 'ocsp signing'],
  ...['microsoft sgc', 'netscape sgc'],
];
const MIN_LIFETIME_SECONDS = 600;
/** A domain and a path, each of DNS labels. */
const SIGNER = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+\/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;
const MAX_SIGNER = 253 + 1 + 317;

export function signingRequestFaults({ spec }: CertificateSigningRequest): FieldError[] {
  return [
    ...requestFaults(spec?.request),
    ...signerFaults(spec?.signerName),
    ...usagesFaults(spec?.usages ?? []),
    ...lifetimeFaults(spec?.expirationSeconds),
  ];
}

function requestFaults(request: string | undefined): FieldError[] {
  if (!request) return [required('spec.request')];
  try {
    parseCsr(Buffer.from(request, 'base64').toString('utf8'));
    return [];
  } catch (err) {
    if (!(err instanceof PkiError)) throw err;
    return [invalid('spec.request', request, `unable to parse csr: ${err.message}`)];
  }
}

function signerFaults(name: string | undefined): FieldError[] {
  if (!name) return [required('spec.signerName')];
  if (name.length > MAX_SIGNER) return [tooLong('spec.signerName', MAX_SIGNER)];
  const shape = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
  return SIGNER.test(name) ? [] : [invalid('spec.signerName', name, shape)];
}

function usagesFaults(usages: readonly string[]): FieldError[] {
  if (usages.length === 0) return [required('spec.usages', 'usages must contain at least one value')];
  return usages.flatMap((usage, i) => {
    const at = `spec.usages[${i}]`;
    if (!USAGES.includes(usage)) return [notSupported(at, usage, USAGES.toSorted())];
    return usages.indexOf(usage) < i ? [duplicate(at, usage)] : [];
  });
}

function lifetimeFaults(seconds: number | undefined): FieldError[] {
  if (seconds === undefined || seconds >= MIN_LIFETIME_SECONDS) return [];
  const least = 'may not specify a duration less than 600 seconds (10 minutes)';
  return [invalid('spec.expirationSeconds', seconds, least)];
}

/** A decision is final: it can neither be withdrawn nor turned round. */
export function approvalFaults(next: CertificateSigningRequest, old: CertificateSigningRequest): FieldError[] {
  const conditions = next.status?.conditions ?? [];
  const has = (type: string) => conditions.some((c) => c.type === type);
  const faults: FieldError[] = [];
  if (has('Approved') && has('Denied')) {
    faults.push(invalid('status.conditions', conditions, 'Approved and Denied conditions are mutually exclusive'));
  }
  for (const { type } of old.status?.conditions ?? []) {
    if (!has(type))
      faults.push(forbiddenField('status.conditions', `updates may not remove a condition of type "${type}"`));
  }
  return faults;
}
