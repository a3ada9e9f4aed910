// Who may do what on the API server, and what reaches on to kubelets: made from the flags and handed in.
import type { ApiServer, ApiServerExtensions } from '../../apiserver/apiserver.ts';
import { alwaysAllow } from '../../apiserver/auth/authorizer.ts';
import { BearerAuthenticator } from '../../apiserver/auth/bearer-tokens.ts';
import { ClientCertificateAuthenticator } from '../../apiserver/auth/client-certificate.ts';
import { parseSigningKey } from '../../apiserver/auth/jwt.ts';
import { ServiceAccountTokens } from '../../apiserver/auth/service-account-tokens.ts';
import { tokenSubresource } from '../../apiserver/auth/token-request.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { ApiserverFlags } from '../apiserver.ts';

export interface ExtensionDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly readFlagFile: (flag: string, file: string) => Promise<string>;
}

export async function createExtensions(
  flags: ApiserverFlags,
  server: ApiServer,
  deps: ExtensionDeps,
): Promise<ApiServerExtensions> {
  const nowMs = () => deps.clock.now();
  const reader = server.registry;
  const key = await deps.readFlagFile('service-account-signing-key-file', flags.serviceAccountSigningKeyFile);
  const tokens = new ServiceAccountTokens(
    { issuer: flags.serviceAccountIssuer, audiences: [flags.serviceAccountIssuer], signingKey: parseSigningKey(key) },
    { reader, nowMs },
  );
  return {
    authenticators: [new ClientCertificateAuthenticator(nowMs), new BearerAuthenticator([tokens] as never)],
    authorizer: alwaysAllow,
    subresources: [tokenSubresource({ tokens, reader, nowMs })],
  };
}
