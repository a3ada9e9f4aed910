// Where callers put their tokens: the Authorization header, or, browsers not being able to set that on a WebSocket, one
// of its sub-protocols. After apiserver pkg/authentication/request/{bearertoken,websocket}.
import type { IncomingMessage } from 'node:http';

const PROTOCOL_PREFIX = 'base64url.bearer.authorization.k8s.io.';
const HEADER = 'sec-websocket-protocol';
/** Those of any issuer are far shorter; longer ones are not carried to the API server. */
const MAX_TOKEN_BYTES = 64 * 1024;

/**
 * The token that the request carries, undefined when none. One among the sub-protocols is taken out of the request: it
 * must neither be chosen nor be passed on.
 * @throws {Error} for what cannot be a token.
 */
export function takeBearerToken(request: IncomingMessage): string | undefined {
  const token = tokenOfHeader(request.headers.authorization) ?? takeProtocolToken(request);
  if (token !== undefined && token.length > MAX_TOKEN_BYTES) throw new Error('the bearer token is too long');
  return token;
}

function tokenOfHeader(header: string | undefined): string | undefined {
  const [scheme = '', token = ''] = (header ?? '').trim().split(' ', 2);
  return scheme.toLowerCase() === 'bearer' && token !== '' ? token : undefined;
}

function takeProtocolToken(request: IncomingMessage): string | undefined {
  const offered = request.headers[HEADER];
  if (request.headers.upgrade?.toLowerCase() !== 'websocket' || offered === undefined) return undefined;
  const protocols = offered.split(',').map((p) => p.trim());
  const [token, ...more] = protocols.filter((p) => p.startsWith(PROTOCOL_PREFIX));
  if (token === undefined) return undefined;
  if (more.length > 0) throw new Error('multiple base64.bearer.authorization tokens specified');
  const others = protocols.filter((p) => p !== token);
  if (others.length === 0) throw new Error('missing additional subprotocol');
  setProtocols(request, others.join(', '));
  return decoded(token.slice(PROTOCOL_PREFIX.length));
}

function decoded(text: string): string {
  if (!/^[\w-]+$/.test(text)) throw new Error('the token among the sub-protocols is not base64url');
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(text, 'base64url'));
}

/** Both forms in which Node keeps a header; a repeated field becomes one. */
function setProtocols(request: IncomingMessage, value: string): void {
  request.headers[HEADER] = value;
  const rest: string[] = [];
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i]!;
    if (name.toLowerCase() !== HEADER) rest.push(name, request.rawHeaders[i + 1]!);
  }
  request.rawHeaders = [...rest, HEADER, value];
}
