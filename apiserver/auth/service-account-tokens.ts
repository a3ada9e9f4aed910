// Tokens of service accounts: issued for an audience and a time, bound to an object, and void when that object is gone.
// After pkg/serviceaccount/claims.go and pkg/serviceaccount/jwt.go.
import { createHash, randomUUID } from 'node:crypto';
import type { KubeObject } from '../../api/meta.ts';
import { nodes, pods, type ResourceType, secrets, serviceAccounts } from '../../api/resources.ts';
import type { ObjectReader } from '../registry/reader.ts';
import type { UserInfo } from '../request.ts';
import type { TokenAuthenticator, TokenIdentity } from './bearer-tokens.ts';
import { decodeJwt, type SigningKey, signJwt, type VerificationKey, verifyJwt } from './jwt.ts';

/** An object a token names: only that very one, hence the uid. */
export interface ObjectIdentity {
  readonly name: string;
  readonly uid: string;
}

export interface TokenBinding {
  readonly pod?: ObjectIdentity;
  readonly node?: ObjectIdentity;
  readonly secret?: ObjectIdentity;
}

/** Whose token it is, and what it is tied to. */
export interface TokenSubject extends TokenBinding {
  readonly namespace: string;
  readonly serviceaccount: ObjectIdentity;
}

export interface TokenClaims {
  readonly iss: string;
  readonly sub: string;
  readonly aud: readonly string[];
  /** Seconds since the epoch, as all times here. */
  readonly iat: number;
  readonly nbf: number;
  readonly exp: number;
  readonly jti: string;
  readonly 'kubernetes.io': TokenSubject;
}

export interface ServiceAccountTokenOptions {
  /** `--service-account-issuer`: what `iss` says, and where the discovery document is looked for. */
  readonly issuer: string;
  /** Audiences of this API server; the first is that of tokens asked for without any. */
  readonly audiences: readonly string[];
  readonly signingKey: SigningKey;
  /** Further keys whose signatures are accepted, e.g. the one before a rotation. */
  readonly otherKeys?: readonly VerificationKey[];
}

/** Clocks of nodes may differ by this much, s. */
const LEEWAY_S = 60;
/** How long after its deletion time an object still vouches for its tokens, ms. */
const DELETION_LEEWAY_MS = 60_000;
/** Tokens whose signature need not be checked again; 1,000 pods have one each. About 1 KB per entry. */
const MAX_VERIFIED = 4096;
const EXTRA = 'authentication.kubernetes.io/';

export class ServiceAccountTokens implements TokenAuthenticator {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly keys: readonly VerificationKey[];
  readonly #signingKey: SigningKey;
  readonly #reader: ObjectReader;
  readonly #nowMs: () => number;
  /** Digest of a token → its claims: the signature was right. Oldest first. */
  readonly #verified = new Map<string, TokenClaims>();

  constructor(
    options: ServiceAccountTokenOptions,
    deps: { readonly reader: ObjectReader; readonly nowMs: () => number },
  ) {
    this.issuer = options.issuer;
    this.audiences = options.audiences;
    this.#signingKey = options.signingKey;
    this.keys = [options.signingKey, ...(options.otherKeys ?? [])];
    this.#reader = deps.reader;
    this.#nowMs = deps.nowMs;
  }

  /** A new token, good from now until `expiresAtMs`. */
  issue(subject: TokenSubject, audiences: readonly string[], expiresAtMs: number): string {
    const now = Math.floor(this.#nowMs() / 1000);
    const claims: TokenClaims = {
      iss: this.issuer,
      sub: `system:serviceaccount:${subject.namespace}:${subject.serviceaccount.name}`,
      aud: audiences,
      iat: now,
      nbf: now,
      exp: Math.floor(expiresAtMs / 1000),
      jti: randomUUID(),
      'kubernetes.io': subject,
    };
    return signJwt(this.#signingKey, claims);
  }

  authenticateToken(token: string, audiences: readonly string[]): TokenIdentity | undefined {
    const wanted = audiences.length === 0 ? this.audiences : audiences;
    const digest = createHash('sha256').update(token).digest('base64');
    const known = this.#verified.get(digest);
    if (known !== undefined) return this.#check(known, wanted);
    if (decodeJwt(token)?.claims.iss !== this.issuer) return undefined;
    const signed = verifyJwt(this.keys, token);
    if (signed === undefined) throw new Error('service account token has no valid signature');
    const claims = claimsOf(signed);
    if (claims === undefined) throw new Error('the claims are not those of a service account token');
    this.#remember(digest, claims);
    return this.#check(claims, wanted);
  }

  #remember(digest: string, claims: TokenClaims): void {
    if (this.#verified.size >= MAX_VERIFIED) this.#verified.delete(this.#verified.keys().next().value!);
    this.#verified.set(digest, claims);
  }

  /** What may change while a signature stays right: time, audience, and whether the objects named still exist. */
  #check(claims: TokenClaims, wanted: readonly string[]): TokenIdentity {
    const now = this.#nowMs() / 1000;
    if (now > claims.exp + LEEWAY_S) throw new Error('service account token has expired');
    if (now < claims.nbf - LEEWAY_S) throw new Error('service account token is not valid yet');
    const audiences = claims.aud.filter((a) => wanted.includes(a));
    if (audiences.length === 0) {
      const [has, asked] = [claims.aud, wanted].map((a) => JSON.stringify(a));
      throw new Error(`token audiences ${has} are not among the audiences ${asked}`);
    }
    if (!this.#alive(claims['kubernetes.io'])) throw new Error('service account token has been invalidated');
    return { user: userOf(claims), audiences };
  }

  #alive({ namespace, serviceaccount, pod, secret, node }: TokenSubject): boolean {
    return (
      this.#exists(serviceAccounts, serviceaccount, namespace) &&
      (pod === undefined || this.#exists(pods, pod, namespace)) &&
      (secret === undefined || this.#exists(secrets, secret, namespace)) &&
      // The node of a pod-bound token says where the pod ran when it was issued; the pod alone decides.
      (node === undefined || pod !== undefined || this.#exists(nodes, node))
    );
  }

  #exists<T extends KubeObject>(type: ResourceType<T>, { name, uid }: ObjectIdentity, namespace?: string): boolean {
    const object = this.#reader.get(type, namespace === undefined ? { name } : { namespace, name });
    if (object === undefined || object.metadata?.uid !== uid) return false;
    const { deletionTimestamp } = object.metadata;
    return deletionTimestamp === undefined || Date.parse(deletionTimestamp) + DELETION_LEEWAY_MS > this.#nowMs();
  }
}

function userOf(claims: TokenClaims): UserInfo {
  const { namespace, serviceaccount, pod, node } = claims['kubernetes.io'];
  const extra: Record<string, readonly string[]> = { [`${EXTRA}credential-id`]: [`JTI=${claims.jti}`] };
  for (const [kind, object] of Object.entries({ pod, node })) {
    if (object === undefined) continue;
    extra[`${EXTRA}${kind}-name`] = [object.name];
    extra[`${EXTRA}${kind}-uid`] = [object.uid];
  }
  return {
    name: claims.sub,
    uid: serviceaccount.uid,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`],
    extra,
  };
}

/** The claims when all that is relied on has its type; a key we trust may have signed other things as well. */
function claimsOf(claims: Readonly<Record<string, unknown>>): TokenClaims | undefined {
  const { sub, aud, nbf, exp, jti } = claims;
  const own = claims['kubernetes.io'] as Record<string, unknown> | null | undefined;
  if (typeof own !== 'object' || own === null) return undefined;
  const { namespace, serviceaccount } = own;
  const named = [serviceaccount, ...[own.pod, own.node, own.secret].filter((o) => o !== undefined)];
  if (typeof namespace !== 'string' || !named.every(isIdentity)) return undefined;
  if (sub !== `system:serviceaccount:${namespace}:${(serviceaccount as ObjectIdentity).name}`) return undefined;
  if (!Array.isArray(aud) || !aud.every((a) => typeof a === 'string')) return undefined;
  if (![nbf, exp].every(Number.isFinite) || typeof jti !== 'string') return undefined;
  return claims as unknown as TokenClaims;
}

function isIdentity(value: unknown): value is ObjectIdentity {
  const { name, uid } = (value ?? {}) as Record<string, unknown>;
  return typeof name === 'string' && typeof uid === 'string';
}
