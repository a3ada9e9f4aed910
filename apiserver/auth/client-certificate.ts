// X.509 client certificates. The TLS layer has verified the chain (requestCert, ca = client CA, rejectUnauthorized false);
// this reads the result.
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { isForClients, type PeerCertificate, userNamedBy } from '../../api/client-certificate.ts';
import type { AuthenticationResult, Authenticator } from './authenticator.ts';

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
  if (!verified || !isForClients(peer)) return 'invalid';
  const user = userNamedBy(peer);
  if (user === undefined) return undefined;
  const digest = createHash('sha256').update(peer.raw).digest('hex');
  return { ...user, extra: { 'authentication.kubernetes.io/credential-id': [`X509SHA256=${digest}`] } };
}
