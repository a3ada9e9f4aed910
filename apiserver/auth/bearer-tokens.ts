// Bearer tokens: where they are in a request, and who reads which kind.
import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { UserInfo } from '../request.ts';
import type { AuthenticationResult, Authenticator } from './authenticator.ts';

export interface TokenIdentity {
  readonly user: UserInfo;
  /** Those of the asked audiences for which the token is good; absent when the token has none. */
  readonly audiences?: readonly string[];
}

/** Knows one kind of token. */
export interface TokenAuthenticator {
  /**
   * @param audiences those that the asker belongs to; empty means the API server itself.
   * @returns undefined for a token of another kind.
   * @throws {Error} whose message says why a token of this kind is not good.
   */
  authenticateToken(token: string, audiences: readonly string[]): TokenIdentity | undefined;
}

/** A browser cannot set Authorization on a WebSocket: it offers the token as a protocol. */
const WEBSOCKET_PREFIX = 'base64url.bearer.authorization.k8s.io.';

export function bearerToken(request: IncomingMessage): string | undefined {
  const match = /^bearer +(\S+)\s*$/i.exec(request.headers.authorization ?? '');
  return match?.[1] ?? webSocketToken(request);
}

function webSocketToken(request: IncomingMessage): string | undefined {
  const protocols = splitProtocols(request.headers['sec-websocket-protocol']);
  const encoded = protocols.find((p) => p.startsWith(WEBSOCKET_PREFIX))?.slice(WEBSOCKET_PREFIX.length);
  // Alone it would have to be answered as the chosen protocol, and the token sent back.
  if (!encoded || protocols.length < 2) return undefined;
  return Buffer.from(encoded, 'base64url').toString('utf8');
}

/** The offered protocols without a token: what may be passed on to a node. */
export function withoutTokenProtocol(header: string | undefined): string {
  return splitProtocols(header)
    .filter((p) => !p.startsWith(WEBSOCKET_PREFIX))
    .join(', ');
}

const splitProtocols = (header: string | undefined): string[] =>
  (header ?? '')
    .split(',')
    .map((p) => p.trim())
    .filter((p) => p !== '');

export class BearerAuthenticator implements Authenticator {
  readonly #authenticators: readonly TokenAuthenticator[];

  constructor(authenticators: readonly TokenAuthenticator[]) {
    this.#authenticators = authenticators;
  }

  authenticate(request: IncomingMessage): AuthenticationResult {
    const token = bearerToken(request);
    if (token === undefined) return undefined;
    return authenticateToken(this.#authenticators, token, []).identity?.user ?? 'invalid';
  }
}

/** The first that accepts decides; `error` is the last reason given when none does. */
export function authenticateToken(
  authenticators: readonly TokenAuthenticator[],
  token: string,
  audiences: readonly string[],
): { readonly identity?: TokenIdentity; readonly error?: string } {
  let error: string | undefined;
  for (const authenticator of authenticators) {
    try {
      const identity = authenticator.authenticateToken(token, audiences);
      if (identity !== undefined) return { identity };
    } catch (err) {
      error = err instanceof Error ? err.message : String(err);
    }
  }
  return error === undefined ? {} : { error };
}

/** Compares secrets in a time that depends on the first only. */
export function sameSecret(presented: string, expected: string): boolean {
  const a = Buffer.from(presented);
  const b = Buffer.from(expected);
  return a.length === b.length && timingSafeEqual(a, b);
}
