// Who may call the node's HTTPS server: what the configuration says, as authenticators and one authorizer.
// After cmd/kubelet/app/auth.go.
import { AgentError } from '../../core/errors.ts';
import type { KubeletAuthenticator, KubeletAuthorizer } from '../../kubelet/server/auth.ts';
import { AccessReviewAuthorizer, alwaysAllow, TokenReviewAuthenticator } from '../../kubelet/server/webhook-auth.ts';
import type { AgentContext } from './shared.ts';

export interface ServerAuth {
  readonly authenticators: readonly KubeletAuthenticator[];
  readonly authorizer: KubeletAuthorizer;
}

/** @throws {AgentError} CONFIG_INVALID when the API server is to be asked and there is none, or nobody could ever come in. */
export function serverAuth(ctx: Pick<AgentContext, 'config' | 'standalone' | 'reviews' | 'clock'>): ServerAuth {
  const { server } = ctx.config;
  const deps = { client: ctx.reviews, clock: ctx.clock };
  if (ctx.standalone && server.webhookAuthentication) {
    throw invalid('no client provided, cannot use webhook authentication', 'authentication.webhook.enabled: false');
  }
  if (ctx.standalone && server.authorizationMode === 'Webhook') {
    throw invalid('no client provided, cannot use webhook authorization', 'authorization.mode: AlwaysAllow');
  }
  if (!server.anonymous && !server.webhookAuthentication && server.clientCaFile === undefined) {
    throw invalid('No authentication method configured', 'authentication.x509.clientCAFile');
  }
  return {
    authenticators: server.webhookAuthentication
      ? [new TokenReviewAuthenticator(server.authenticationCacheMs, deps)]
      : [],
    authorizer:
      server.authorizationMode === 'AlwaysAllow'
        ? alwaysAllow
        : new AccessReviewAuthorizer(
            { allowedMs: server.authorizedCacheMs, deniedMs: server.unauthorizedCacheMs },
            deps,
          ),
  };
}

function invalid(message: string, field: string): AgentError {
  return new AgentError(message, { code: 'CONFIG_INVALID', hint: `set ${field} in the KubeletConfiguration` });
}
