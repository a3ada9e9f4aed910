// Keys and certificates of a cluster: a CA, what it issues to servers and clients, and certificate signing requests.
// Keys are ECDSA P-256, signatures ECDSA with SHA-256 (RSA keys sign with SHA-256 too). Everything is PEM outside.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
  X509Certificate,
} from 'node:crypto';
import { isIP } from 'node:net';
import * as der from './der.ts';

/** A certificate and the private key it belongs to, both PEM (PKCS #8 for the key). */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

export interface Subject {
  readonly commonName: string;
  /** Kubernetes reads each as a group. */
  readonly organizations?: readonly string[];
}

export interface SubjectAltNames {
  readonly dnsNames?: readonly string[];
  /** IPv4 or IPv6, without brackets or zone. */
  readonly ipAddresses?: readonly string[];
}

/** What a certificate may be used for, in the words of CertificateSigningRequest.spec.usages. */
export type CertUsage =
  | 'server auth'
  | 'client auth'
  | 'digital signature'
  | 'key encipherment'
  | 'cert sign'
  | 'crl sign';

export interface Validity {
  /** Wall time, ms. Certificates are valid a little earlier (up to 5 min), for peers whose clocks lag. */
  readonly nowMs: number;
  readonly lifetimeMs: number;
}

/** What a CertificateSigningRequest asks for. The signature has been checked. */
export interface ParsedCsr {
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly emailAddresses: readonly string[];
  readonly uris: readonly string[];
  /** DER, kept as sent: what is signed is what was asked. */
  readonly subject: Uint8Array;
  readonly publicKey: Uint8Array;
}

export class PkiError extends Error {
  override readonly name = 'PkiError';
}

const OID = {
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectAltName: '2.5.29.17',
  subjectKeyId: '2.5.29.14',
  authorityKeyId: '2.5.29.35',
  extensionRequest: '1.2.840.113549.1.9.14',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  ecdsaSha256: '1.2.840.10045.4.3.2',
  rsaSha256: '1.2.840.113549.1.1.11',
  rsa: '1.2.840.113549.1.1.1',
};

/** Bit numbers of KeyUsage, RFC 5280 4.2.1.3. */
const KEY_USAGE_BIT: Readonly<Partial<Record<CertUsage, number>>> = {
  'digital signature': 0,
  'key encipherment': 2,
  'cert sign': 5,
  'crl sign': 6,
};

export const YEAR_MS = 365 * 24 * 3600 * 1000;
/** Go's signers allow for clocks that lag by this much; here by a tenth of its life for what lives less than an hour. */
const BACKDATE_MS = 5 * 60 * 1000;

/** A self-signed CA. Ten years suit a cluster that nobody rotates. */
export function createCa(commonName: string, validity: Validity): KeyPair {
  const keys = newKey();
  const subject = encodeName({ commonName });
  const usages: CertUsage[] = ['digital signature', 'key encipherment', 'cert sign', 'crl sign'];
  const request: Issue = { subject, spki: keys.spki, usages, isCa: true };
  return { cert: issue(request, { subject, spki: keys.spki, key: keys.key }, validity), key: keys.pem };
}

export function issueServerCert(ca: KeyPair, subject: Subject, names: SubjectAltNames, validity: Validity): KeyPair {
  return issueCert(ca, subject, names, ['server auth', 'digital signature', 'key encipherment'], validity);
}

/** `commonName` becomes the user name and `organizations` its groups. */
export function issueClientCert(ca: KeyPair, subject: Subject, validity: Validity): KeyPair {
  return issueCert(ca, subject, {}, ['client auth', 'digital signature', 'key encipherment'], validity);
}

/** The kubelet's serving certificate when no CA signs one: nobody can verify it, as upstream's default. */
export function createSelfSignedServingCert(hostname: string, names: SubjectAltNames, validity: Validity): KeyPair {
  const keys = newKey();
  const subject = encodeName({ commonName: `${hostname}@${Math.floor(validity.nowMs / 1000)}` });
  const usages: CertUsage[] = ['server auth', 'digital signature', 'key encipherment'];
  const request: Issue = { subject, spki: keys.spki, usages, isCa: false, names };
  return { cert: issue(request, { subject, spki: keys.spki, key: keys.key }, validity), key: keys.pem };
}

function issueCert(
  ca: KeyPair,
  subject: Subject,
  names: SubjectAltNames,
  usages: readonly CertUsage[],
  validity: Validity,
): KeyPair {
  const keys = newKey();
  const request: Issue = { subject: encodeName(subject), spki: keys.spki, usages, isCa: false, names };
  return { cert: issue(request, issuerOf(ca), validity), key: keys.pem };
}

/** A PEM CERTIFICATE REQUEST for `keyPem`, or for a new key when none is given. */
export function createCsr(
  subject: Subject,
  names: SubjectAltNames = {},
  keyPem?: string,
): { readonly csr: string; readonly key: string } {
  const keys = keyPem === undefined ? newKey() : keyOf(keyPem);
  const san = encodeAltNames(names);
  const attributes =
    san === undefined
      ? der.explicit(0)
      : der.explicit(
          0,
          der.sequence(
            der.oid(OID.extensionRequest),
            der.setOf(der.sequence(extension(OID.subjectAltName, false, san))),
          ),
        );
  const info = der.sequence(der.smallInteger(0), encodeName(subject), keys.spki, attributes);
  return { csr: toPem('CERTIFICATE REQUEST', signed(info, keys.key)), key: keys.pem };
}

/**
 * Reads a PEM CERTIFICATE REQUEST and checks that its signature is by the key it carries.
 * @throws {PkiError} for anything else.
 */
export function parseCsr(pem: string): ParsedCsr {
  try {
    return parseCsrDer(fromPem('CERTIFICATE REQUEST', pem));
  } catch (err) {
    if (err instanceof PkiError) throw err;
    throw new PkiError(`malformed certificate request: ${err instanceof Error ? err.message : String(err)}`);
  }
}

function parseCsrDer(bytes: Uint8Array): ParsedCsr {
  const [info, , signature] = der.readAll(der.readOne(bytes, der.TAG.sequence).content);
  if (info === undefined || signature === undefined) throw new PkiError('malformed certificate request');
  const [, subject, spki, attributes] = der.readAll(info.content);
  if (subject === undefined || spki === undefined) throw new PkiError('malformed certificate request');
  const publicKey = createPublicKey({ key: Buffer.from(spki.raw), format: 'der', type: 'spki' });
  if (!verify('sha256', info.raw, publicKey, signature.content.subarray(1))) {
    throw new PkiError('the signature of the certificate request is wrong');
  }
  const name = readName(subject);
  const alt = attributes === undefined ? NO_ALT_NAMES : readRequestedAltNames(attributes);
  return {
    commonName: name.get(OID.commonName)?.[0] ?? '',
    organizations: name.get(OID.organization) ?? [],
    ...alt,
    subject: subject.raw,
    publicKey: spki.raw,
  };
}

/** Signs what a CSR asks for; subject, key and names are copied, nothing else of it is. @returns the certificate, PEM. */
export function signCsr(ca: KeyPair, csr: ParsedCsr, usages: readonly CertUsage[], validity: Validity): string {
  const names = { dnsNames: csr.dnsNames, ipAddresses: csr.ipAddresses };
  const issuer = issuerOf(ca);
  const endMs = Math.min(validity.nowMs + validity.lifetimeMs, Date.parse(new X509Certificate(ca.cert).validTo));
  const capped = { nowMs: validity.nowMs, lifetimeMs: endMs - validity.nowMs };
  return issue({ subject: csr.subject, spki: csr.publicKey, usages, isCa: false, names }, issuer, capped);
}

/** An ECDSA P-256 private key, PKCS #8 PEM, e.g. for signing service account tokens. */
export const createPrivateKeyPem = (): string => newKey().pem;

interface Issuer {
  readonly subject: Uint8Array;
  readonly spki: Uint8Array;
  readonly key: KeyObject;
}

interface Issue {
  readonly subject: Uint8Array;
  readonly spki: Uint8Array;
  readonly usages: readonly CertUsage[];
  readonly isCa: boolean;
  readonly names?: SubjectAltNames;
}

function issue(request: Issue, issuer: Issuer, validity: Validity): string {
  const algorithm = signatureAlgorithm(issuer.key);
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40; // positive and always the same length
  const tbs = der.sequence(
    der.explicit(0, der.smallInteger(2)), // v3
    der.unsignedInteger(serial),
    algorithm,
    issuer.subject,
    der.sequence(
      der.time(validity.nowMs - Math.min(BACKDATE_MS, validity.lifetimeMs / 10)),
      der.time(validity.nowMs + validity.lifetimeMs),
    ),
    request.subject,
    request.spki,
    der.explicit(3, der.sequence(...extensions(request, issuer))),
  );
  return toPem('CERTIFICATE', signed(tbs, issuer.key));
}

function extensions(request: Issue, issuer: Issuer): Uint8Array[] {
  const list = [
    extension(OID.keyUsage, true, encodeKeyUsage(request.usages)),
    extension(OID.basicConstraints, true, request.isCa ? der.sequence(der.boolean(true)) : der.sequence()),
    extension(OID.subjectKeyId, false, der.encode(der.TAG.octetString, keyId(request.spki))),
    extension(OID.authorityKeyId, false, der.sequence(der.encode(0x80, keyId(issuer.spki)))),
  ];
  const extended = request.usages.flatMap((u) =>
    u === 'server auth' ? [OID.serverAuth] : u === 'client auth' ? [OID.clientAuth] : [],
  );
  if (extended.length > 0) list.push(extension(OID.extendedKeyUsage, false, der.sequence(...extended.map(der.oid))));
  const san = encodeAltNames(request.names ?? {});
  if (san !== undefined) list.push(extension(OID.subjectAltName, false, san));
  return list;
}

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  const flag = critical ? [der.boolean(true)] : [];
  return der.sequence(der.oid(id), ...flag, der.encode(der.TAG.octetString, value));
}

function encodeKeyUsage(usages: readonly CertUsage[]): Uint8Array {
  const bits = usages.flatMap((u) => KEY_USAGE_BIT[u] ?? []);
  const byte = bits.reduce((sum, bit) => sum | (0x80 >> bit), 0);
  return der.bitString(Uint8Array.of(byte), bits.length === 0 ? 0 : 7 - Math.max(...bits));
}

function encodeName(subject: Subject): Uint8Array {
  const attribute = (id: string, value: string): Uint8Array => der.sequence(der.oid(id), der.utf8(value));
  const groups = (subject.organizations ?? []).map((o) => attribute(OID.organization, o));
  // Go writes all organizations as one multi-valued RDN; both forms read the same.
  const rdns = groups.length > 0 ? [der.setOf(...groups)] : [];
  return der.sequence(...rdns, der.setOf(attribute(OID.commonName, subject.commonName)));
}

function readName(name: der.DerNode): Map<string, string[]> {
  const values = new Map<string, string[]>();
  for (const rdn of der.readAll(name.content)) {
    for (const pair of der.readAll(rdn.content)) {
      const [id, value] = der.readAll(pair.content);
      if (id === undefined || value === undefined) throw new PkiError('malformed name');
      const key = der.readOid(id);
      values.set(key, [...(values.get(key) ?? []), der.readText(value)]);
    }
  }
  return values;
}

const NO_ALT_NAMES = { dnsNames: [], ipAddresses: [], emailAddresses: [], uris: [] };

function encodeAltNames(names: SubjectAltNames): Uint8Array | undefined {
  const text = new TextEncoder();
  const entries = [
    ...(names.dnsNames ?? []).map((n) => der.encode(0x82, text.encode(n))),
    ...(names.ipAddresses ?? []).map((ip) => der.encode(0x87, encodeIp(ip))),
  ];
  return entries.length === 0 ? undefined : der.sequence(...entries);
}

function readRequestedAltNames(attributes: der.DerNode): typeof NO_ALT_NAMES & Pick<ParsedCsr, 'dnsNames'> {
  const found = {
    dnsNames: [] as string[],
    ipAddresses: [] as string[],
    emailAddresses: [] as string[],
    uris: [] as string[],
  };
  for (const attribute of der.readAll(attributes.content)) {
    const [id, values] = der.readAll(attribute.content);
    if (id === undefined || values === undefined || der.readOid(id) !== OID.extensionRequest) continue;
    for (const list of der.readAll(values.content))
      for (const ext of der.readAll(list.content)) readAltNames(ext, found);
  }
  return found as typeof NO_ALT_NAMES & Pick<ParsedCsr, 'dnsNames'>;
}

function readAltNames(
  ext: der.DerNode,
  into: Record<'dnsNames' | 'ipAddresses' | 'emailAddresses' | 'uris', string[]>,
): void {
  const parts = der.readAll(ext.content);
  const value = parts.at(-1);
  if (parts[0] === undefined || value === undefined || der.readOid(parts[0]) !== OID.subjectAltName) return;
  for (const name of der.readAll(der.readOne(value.content, der.TAG.sequence).content)) {
    if (name.tag === 0x82) into.dnsNames.push(der.readText(name));
    else if (name.tag === 0x87) into.ipAddresses.push(decodeIp(name.content));
    else if (name.tag === 0x81) into.emailAddresses.push(der.readText(name));
    else if (name.tag === 0x86) into.uris.push(der.readText(name));
  }
}

function encodeIp(ip: string): Uint8Array {
  if (isIP(ip) === 4) return Uint8Array.from(ip.split('.').map(Number));
  if (isIP(ip) !== 6) throw new PkiError(`not an IP address: ${ip}`);
  // The URL parser writes IPv6 without dotted tails, so that only `::` is left to expand.
  const [head = '', tail] = new URL(`http://[${ip}]/`).hostname.slice(1, -1).split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const words = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return Uint8Array.from(words.flatMap((w) => [Number.parseInt(w, 16) >> 8, Number.parseInt(w, 16) & 0xff]));
}

function decodeIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) throw new PkiError('an IP address in the request has the wrong length');
  const words = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16));
  return new URL(`http://[${words.join(':')}]/`).hostname.slice(1, -1);
}

function newKey(): { readonly key: KeyObject; readonly spki: Uint8Array; readonly pem: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
  return { key: privateKey, spki: publicKey.export({ format: 'der', type: 'spki' }), pem };
}

function keyOf(pem: string): ReturnType<typeof newKey> {
  const spki = createPublicKey(pem).export({ format: 'der', type: 'spki' });
  return { key: createPrivateKey(pem), spki, pem };
}

function issuerOf(ca: KeyPair): Issuer {
  const certificate = new X509Certificate(ca.cert);
  const key = createPrivateKey(ca.key);
  if (!certificate.checkPrivateKey(key)) throw new PkiError('the key of the CA does not belong to its certificate');
  const tbs = der.readAll(der.readOne(certificate.raw, der.TAG.sequence).content)[0]!;
  // version, serial, signature, issuer, validity, subject
  const subject = der.readAll(tbs.content)[5]!.raw;
  return { subject, spki: certificate.publicKey.export({ format: 'der', type: 'spki' }), key };
}

function signed(body: Uint8Array, key: KeyObject): Uint8Array {
  return der.sequence(body, signatureAlgorithm(key), der.bitString(sign('sha256', body, key)));
}

function signatureAlgorithm(key: KeyObject): Uint8Array {
  if (key.asymmetricKeyType === 'ec') return der.sequence(der.oid(OID.ecdsaSha256));
  if (key.asymmetricKeyType === 'rsa') return der.sequence(der.oid(OID.rsaSha256), der.encode(der.TAG.null));
  throw new PkiError(`keys of type ${key.asymmetricKeyType} cannot sign certificates here`);
}

/** SHA-1 of the key bits, RFC 5280 4.2.1.2 method 1: an identifier, not a protection. */
function keyId(spki: Uint8Array): Uint8Array {
  const bits = der.readAll(der.readOne(spki, der.TAG.sequence).content)[1]!;
  return createHash('sha1').update(bits.content.subarray(1)).digest();
}

export function toPem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** The bytes of the first block with this label. @throws {PkiError} when there is none. */
function fromPem(label: string, pem: string): Uint8Array {
  const match = new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]+)-----END ${label}-----`).exec(pem);
  if (match === null) throw new PkiError(`no PEM block "${label}"`);
  return Buffer.from(match[1]!, 'base64');
}
