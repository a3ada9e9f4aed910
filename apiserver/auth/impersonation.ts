// Acting as somebody else (`kubectl --as`): whoever may `impersonate` a user, its groups and its extras becomes it for one
// request. After apiserver pkg/endpoints/filters/impersonation.
import type { IncomingMessage } from 'node:http';
import type { UserInfo } from '../request.ts';
import { badRequest } from '../status-error.ts';
import { type AuthenticationResult, type Authenticator, authenticate } from './authenticator.ts';
import { deniedError } from './authorization.ts';
import type { AuthorizationAttributes, Authorizer } from './authorizer.ts';

const EXTRA_PREFIX = 'impersonate-extra-';
const ACCOUNT = /^system:serviceaccount:([^:]+):([^:]+)$/;

export class ImpersonatingAuthenticator implements Authenticator {
  readonly #authenticators: readonly Authenticator[];
  readonly #authorizer: Authorizer;

  constructor(authenticators: readonly Authenticator[], authorizer: Authorizer) {
    this.#authenticators = authenticators;
    this.#authorizer = authorizer;
  }

  /** @throws {StatusError} 400 for half a request to impersonate, 403 when it is not allowed. */
  async authenticate(request: IncomingMessage): Promise<AuthenticationResult> {
    const user = await authenticate(this.#authenticators, request);
    if (user === 'invalid') return user;
    const wanted = wantedUser(request);
    if (wanted === undefined) return user;
    for (const attributes of attributesOf(user, wanted)) {
      const { decision, reason } = await this.#authorizer.authorize(attributes);
      if (decision !== 'allow') throw deniedError(attributes, reason);
    }
    return withImpliedGroups(wanted);
  }
}

/** Pure: the identity that the headers ask for. @throws {StatusError} 400 */
export function wantedUser({ headersDistinct }: Pick<IncomingMessage, 'headersDistinct'>): UserInfo | undefined {
  const first = (name: string): string => headersDistinct[name]?.[0] ?? '';
  const name = first('impersonate-user');
  const uid = first('impersonate-uid');
  const groups = headersDistinct['impersonate-group'] ?? [];
  const extra = Object.entries(headersDistinct).flatMap(([header, values]) =>
    header.startsWith(EXTRA_PREFIX) ? [[decodeKey(header.slice(EXTRA_PREFIX.length)), values ?? []] as const] : [],
  );
  if (name === '') {
    if (uid === '' && groups.length === 0 && extra.length === 0) return undefined;
    throw badRequest('requested group, uid or extra impersonation without impersonating a user');
  }
  return {
    name,
    groups,
    ...(uid === '' ? {} : { uid }),
    ...(extra.length === 0 ? {} : { extra: Object.fromEntries(extra) }),
  };
}

/** Keys are percent-encoded: header names cannot hold all that a key may. */
function decodeKey(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray `%` is itself, as upstream takes it
  }
}

/** Every part of the identity is asked for by itself. */
function* attributesOf(user: UserInfo, wanted: UserInfo): Generator<AuthorizationAttributes> {
  const ask = (
    resource: string,
    name: string,
    more: Partial<AuthorizationAttributes> = {},
  ): AuthorizationAttributes => ({
    user,
    isResource: true,
    verb: 'impersonate',
    group: '',
    version: 'v1',
    resource,
    subresource: '',
    namespace: '',
    name,
    path: '',
    ...more,
  });
  const account = ACCOUNT.exec(wanted.name);
  yield account === null
    ? ask('users', wanted.name)
    : ask('serviceaccounts', account[2] ?? '', { namespace: account[1] ?? '' });
  for (const group of wanted.groups) yield ask('groups', group);
  const group = 'authentication.k8s.io';
  if (wanted.uid !== undefined) yield ask('uids', wanted.uid, { group });
  for (const [key, values] of Object.entries(wanted.extra ?? {})) {
    for (const value of values) yield ask('userextras', value, { group, subresource: key });
  }
}

/** A service account is in its groups whether they were named or not, unless others were. */
function withImpliedGroups(user: UserInfo): UserInfo {
  const namespace = ACCOUNT.exec(user.name)?.[1];
  if (namespace === undefined || user.groups.length > 0) return user;
  return { ...user, groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`] };
}
