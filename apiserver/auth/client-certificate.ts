// X.509 client certificates: the common name is the user, the organizations are its groups. After apiserver
// pkg/authentication/request/x509. The TLS layer has verified the chain (requestCert, ca = client CA,
// rejectUnauthorized false); this reads the result.
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { AuthenticationResult, Authenticator } from './authenticator.ts';

const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const ANY_USAGE = '2.5.29.37.0';

/** What `getPeerCertificate` gives, as far as it is read here. */
export interface PeerCertificate {
  readonly subject?: { readonly CN?: string | string[]; readonly O?: string | string[] };
  readonly ext_key_usage?: readonly string[];
  readonly valid_to?: string;
  readonly raw?: Buffer;
}

export class ClientCertificateAuthenticator implements Authenticator {
  // A connection keeps its certificate, and carries thousands of requests.
  readonly #bySocket = new WeakMap<TLSSocket, { readonly result: AuthenticationResult; readonly validToMs: number }>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  authenticate(request: IncomingMessage): AuthenticationResult {
    const { socket } = request;
    if (!(socket instanceof TLSSocket)) return undefined;
    let known = this.#bySocket.get(socket);
    if (known === undefined) {
      const peer = socket.getPeerCertificate() as PeerCertificate;
      const validToMs = peer.valid_to === undefined ? Number.POSITIVE_INFINITY : Date.parse(peer.valid_to);
      known = { result: identityOf(peer, socket.authorized), validToMs };
      this.#bySocket.set(socket, known);
    }
    // It may have run out since the handshake.
    if (known.result !== undefined && this.#nowMs() > known.validToMs) return 'invalid';
    return known.result;
  }
}

/** Pure: who a certificate names. `verified` says whether its chain leads to the client CA. */
export function identityOf(peer: PeerCertificate, verified: boolean): AuthenticationResult {
  if (peer.raw === undefined) return undefined; // none was presented
  const usages = peer.ext_key_usage;
  const forClients = usages === undefined || usages.includes(CLIENT_AUTH) || usages.includes(ANY_USAGE);
  if (!verified || !forClients) return 'invalid';
  const name = [peer.subject?.CN ?? ''].flat().at(-1) ?? ''; // the last of several, as Go reads it
  if (name === '') return undefined;
  const digest = createHash('sha256').update(peer.raw).digest('hex');
  return {
    name,
    groups: [peer.subject?.O ?? []].flat(),
    extra: { 'authentication.kubernetes.io/credential-id': [`X509SHA256=${digest}`] },
  };
}
