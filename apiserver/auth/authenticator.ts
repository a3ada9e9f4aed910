// Who sends a request. Implementations are tried in order; the first that knows the credential decides.
import type { IncomingMessage } from 'node:http';
import type { UserInfo } from '../request.ts';

/** `invalid`: a credential was presented and is wrong (401); undefined: none that this authenticator understands. */
export type AuthenticationResult = UserInfo | 'invalid' | undefined;

export interface Authenticator {
  /** `group system:authenticated` is added by the caller. Must not read the body. */
  authenticate(request: IncomingMessage): Promise<AuthenticationResult> | AuthenticationResult;
}

const ANONYMOUS: UserInfo = Object.freeze({
  name: 'system:anonymous',
  groups: Object.freeze(['system:unauthenticated']),
});

/** Asks each in turn. When none knows the caller it is anonymous; a wrong credential is never anonymous. */
export async function authenticate(
  authenticators: readonly Authenticator[],
  request: IncomingMessage,
): Promise<UserInfo | 'invalid'> {
  let invalid = false;
  for (const authenticator of authenticators) {
    const result = await authenticator.authenticate(request);
    if (result === 'invalid') invalid = true;
    else if (result !== undefined) return withAuthenticatedGroup(result);
  }
  return invalid ? 'invalid' : ANONYMOUS;
}

/** Everybody who is known is also a member of system:authenticated. */
export function withAuthenticatedGroup(user: UserInfo): UserInfo {
  if (user.groups.includes('system:authenticated') || user.name === ANONYMOUS.name) return user;
  return { ...user, groups: [...user.groups, 'system:authenticated'] };
}
