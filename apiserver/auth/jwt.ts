// Compact JSON Web Signatures (RFC 7515) as far as service account tokens need them: RS256 and ES256, one `kid` per key.
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { AgentError, errorMessage } from '../../core/errors.ts';

export type JwtAlgorithm = 'RS256' | 'ES256';

export interface VerificationKey {
  readonly alg: JwtAlgorithm;
  /** base64url SHA-256 of the public key's SubjectPublicKeyInfo. */
  readonly kid: string;
  readonly publicKey: KeyObject;
}

export interface SigningKey extends VerificationKey {
  readonly privateKey: KeyObject;
}

/** Longer texts are not looked at: every caller may send one. */
const MAX_TOKEN_LENGTH = 16 * 1024;

/** Reads a private key, PKCS #1, SEC 1 or PKCS #8. @throws {AgentError} KEY_INVALID */
export function parseSigningKey(pem: string): SigningKey {
  return signingKey(readKey(pem, createPrivateKey));
}

/** @throws {AgentError} KEY_INVALID for a kind of key that is not served. */
export function signingKey(privateKey: KeyObject): SigningKey {
  return { ...described(createPublicKey(privateKey)), privateKey };
}

/** Reads a public key, or the public half of a private one. @throws {AgentError} KEY_INVALID */
export function parseVerificationKey(pem: string): VerificationKey {
  return described(readKey(pem, createPublicKey));
}

export function signJwt(key: SigningKey, claims: object): string {
  const signed = `${encode({ alg: key.alg, kid: key.kid })}.${encode(claims)}`;
  return `${signed}.${sign('sha256', Buffer.from(signed), signatureOptions(key.privateKey)).toString('base64url')}`;
}

/** What a token says about itself. Nothing of it may be believed before `verifyJwt`. */
export interface DecodedJwt {
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
}

/** @returns undefined when `token` is no JWS with an object for header and for claims. */
export function decodeJwt(token: string): DecodedJwt | undefined {
  if (token.length > MAX_TOKEN_LENGTH || !/^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)) return undefined;
  const [head, body] = token.split('.') as [string, string];
  const header = decode(head);
  const claims = decode(body);
  return header === undefined || claims === undefined ? undefined : { header, claims };
}

/**
 * The claims when one of `keys` made the signature; undefined when none did. The key, not the token, says which
 * algorithm is meant: a token cannot choose a weaker one.
 */
export function verifyJwt(
  keys: readonly VerificationKey[],
  token: string,
): Readonly<Record<string, unknown>> | undefined {
  const jwt = decodeJwt(token);
  // Extensions marked critical must be understood, and none is (RFC 7515 §4.1.11).
  if (jwt === undefined || 'crit' in jwt.header) return undefined;
  const { alg, kid } = jwt.header;
  const end = token.lastIndexOf('.');
  const data = Buffer.from(token.slice(0, end));
  const signature = Buffer.from(token.slice(end + 1), 'base64url');
  const candidates = keys.filter((key) => key.alg === alg && (kid === undefined || key.kid === kid));
  return candidates.some((key) => verify('sha256', data, signatureOptions(key.publicKey), signature))
    ? jwt.claims
    : undefined;
}

function described(publicKey: KeyObject): VerificationKey {
  const der = publicKey.export({ format: 'der', type: 'spki' });
  return { alg: algorithmOf(publicKey), kid: createHash('sha256').update(der).digest('base64url'), publicKey };
}

function algorithmOf(key: KeyObject): JwtAlgorithm {
  if (key.asymmetricKeyType === 'rsa') return 'RS256';
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType === 'ec' && curve === 'prime256v1') return 'ES256';
  throw keyInvalid(`it is of type ${key.asymmetricKeyType ?? 'unknown'} ${curve ?? ''}`.trimEnd());
}

/** JWS wants r and s side by side, not the DER that OpenSSL makes by default. */
function signatureOptions(key: KeyObject): { key: KeyObject; dsaEncoding: 'ieee-p1363' } {
  return { key, dsaEncoding: 'ieee-p1363' };
}

function readKey(pem: string, read: (pem: string) => KeyObject): KeyObject {
  try {
    return read(pem);
  } catch (cause) {
    throw keyInvalid(errorMessage(cause), cause);
  }
}

function keyInvalid(why: string, cause?: unknown): AgentError {
  return new AgentError(`cannot use the service account key: ${why}`, {
    code: 'KEY_INVALID',
    cause,
    hint: 'give a PEM file with an RSA or an ECDSA P-256 key',
  });
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function decode(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined; // not JSON: not a token of ours
  }
}
