// Bootstrap tokens `id.secret`: a node's first credential, kept as a Secret. After plugin/pkg/auth/authenticator/
// token/bootstrap.
import type { Secret } from '../../api/kinds.ts';
import { secrets } from '../../api/resources.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { sameSecret, type TokenAuthenticator, type TokenIdentity } from './bearer-tokens.ts';

const FORMAT = /^([a-z0-9]{6})\.([a-z0-9]{16})$/;
const GROUP_PREFIX = 'system:bootstrappers:';

export class BootstrapTokenAuthenticator implements TokenAuthenticator {
  readonly #reader: ObjectReader;
  readonly #nowMs: () => number;

  constructor(reader: ObjectReader, nowMs: () => number) {
    this.#reader = reader;
    this.#nowMs = nowMs;
  }

  authenticateToken(token: string): TokenIdentity | undefined {
    const match = FORMAT.exec(token);
    if (match === null) return undefined;
    const [, id = '', secret = ''] = match;
    const stored = this.#reader.get<Secret>(secrets, { namespace: 'kube-system', name: `bootstrap-token-${id}` });
    if (stored === undefined) return undefined;
    const fault = faultOf(stored, id, secret, this.#nowMs());
    if (fault !== undefined) throw new Error(`bootstrap token ${id}: ${fault}`);
    const extra = textOf(stored, 'auth-extra-groups')
      .split(',')
      .map((g) => g.trim())
      .filter((g) => g !== '');
    return { user: { name: `system:bootstrap:${id}`, groups: ['system:bootstrappers', ...extra] } };
  }
}

function faultOf(secret: Secret, id: string, presented: string, nowMs: number): string | undefined {
  if (secret.type !== 'bootstrap.kubernetes.io/token' || secret.metadata?.deletionTimestamp) return 'is not in use';
  if (textOf(secret, 'token-id') !== id) return 'the Secret is for another id';
  if (!sameSecret(presented, textOf(secret, 'token-secret'))) return 'wrong secret';
  const expiration = textOf(secret, 'expiration');
  // An unreadable time is in the past: NaN compares false.
  if (expiration !== '' && !(Date.parse(expiration) > nowMs)) return 'expired';
  if (textOf(secret, 'usage-bootstrap-authentication') !== 'true') return 'is not for authentication';
  const groups = textOf(secret, 'auth-extra-groups')
    .split(',')
    .map((g) => g.trim());
  return groups.some((g) => g !== '' && !g.startsWith(GROUP_PREFIX))
    ? `groups must start with ${GROUP_PREFIX}`
    : undefined;
}

const textOf = (secret: Secret, key: string): string =>
  Buffer.from(secret.data?.[key] ?? '', 'base64').toString('utf8');
