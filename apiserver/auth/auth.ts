// Everything about who may do what, put together: what an ApiServer is started with.
import type { Clock } from '../../core/clock.ts';
import { AgentError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { certificateAdmission } from '../admission/certificates.ts';
import { nodeRestriction } from '../admission/node-restriction.ts';
import type { AdmissionPlugin } from '../admission.ts';
import type { PathHandler } from '../non-resource.ts';
import type { ObjectReader } from '../registry/reader.ts';
import type { Subresource, VirtualResource } from '../subresource.ts';
import type { Authenticator } from './authenticator.ts';
import { AuthorizerChain, privilegedGroup, publicPaths } from './authorization.ts';
import { type Authorizer, alwaysAllow } from './authorizer.ts';
import { BearerAuthenticator, type TokenAuthenticator } from './bearer-tokens.ts';
import { BootstrapTokenAuthenticator } from './bootstrap-token.ts';
import { ClientCertificateAuthenticator } from './client-certificate.ts';
import { ImpersonatingAuthenticator } from './impersonation.ts';
import { parseSigningKey, parseVerificationKey } from './jwt.ts';
import { NodeAuthorizer, NodeDenialLog } from './node-authorizer.ts';
import { JWKS_PATH, openIdPaths } from './openid.ts';
import { RbacAuthorizer } from './rbac.ts';
import { allRules, type RuleSource, reviewResources } from './reviews.ts';
import { ServiceAccountTokens } from './service-account-tokens.ts';
import { parseTokenFile } from './static-tokens.ts';
import { tokenSubresource } from './token-request.ts';

export type AuthorizationMode = 'AlwaysAllow' | 'Node' | 'RBAC';

export interface AuthOptions {
  /** `--authorization-mode`, in order. */
  readonly authorizationModes: readonly AuthorizationMode[];
  /** PEM of the private key that signs service account tokens. */
  readonly serviceAccountKey: string;
  /** PEM of further keys, public or private, whose tokens are still accepted. */
  readonly otherServiceAccountKeys?: readonly string[];
  /** `--service-account-issuer`, e.g. `https://kubernetes.default.svc.cluster.local`. */
  readonly issuer: string;
  /** `--api-audiences`; the issuer when absent. */
  readonly audiences?: readonly string[];
  /** Content of `--token-auth-file`. */
  readonly tokenFile?: string;
  /** Base URL under which others fetch the signing keys, e.g. `https://10.0.0.1:6443`. */
  readonly publicUrl: string;
}

export interface AuthDeps {
  /** The registry. */
  readonly reader: ObjectReader;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Fits into ApiServerExtensions. */
export interface Auth {
  readonly authenticators: readonly Authenticator[];
  readonly authorizer: Authorizer;
  readonly admission: readonly AdmissionPlugin[];
  readonly subresources: readonly Subresource[];
  readonly virtualResources: readonly VirtualResource[];
  readonly paths: readonly PathHandler[];
}

/** Pure but for reading through `deps.reader`. @throws {AgentError} KEY_INVALID, CONFIG_INVALID */
export function createAuth(options: AuthOptions, deps: AuthDeps): Auth {
  const nowMs = () => deps.clock.now();
  const { reader } = deps;
  const audiences = options.audiences?.length ? options.audiences : [options.issuer];
  const tokens = new ServiceAccountTokens(
    {
      issuer: options.issuer,
      audiences,
      signingKey: parseSigningKey(options.serviceAccountKey),
      otherKeys: (options.otherServiceAccountKeys ?? []).map(parseVerificationKey),
    },
    { reader, nowMs },
  );
  const tokenAuthenticators: TokenAuthenticator[] = [
    ...(options.tokenFile === undefined ? [] : [parseTokenFile(options.tokenFile)]),
    tokens,
    new BootstrapTokenAuthenticator(reader, nowMs),
  ];
  const { authorizer, rules } = makeAuthorizer(options.authorizationModes, deps);
  const authenticators = [new ClientCertificateAuthenticator(nowMs), new BearerAuthenticator(tokenAuthenticators)];
  // Nodes are held to their own objects in every mode: a lab that allows everything should still show an agent's faults.
  const admission = [nodeRestriction(reader, authorizer), certificateAdmission(authorizer)];
  return {
    authenticators: [new ImpersonatingAuthenticator(authenticators, authorizer)],
    // Reviews ask the chain itself: what others want to know about a node is not the node's asking.
    authorizer: new NodeDenialLog(authorizer, deps.log),
    admission,
    subresources: [tokenSubresource({ tokens, reader, nowMs, admission })],
    virtualResources: reviewResources({ authorizer, tokens: tokenAuthenticators, audiences, rules }),
    paths: openIdPaths(tokens, `${options.publicUrl.replace(/\/+$/, '')}${JWKS_PATH}`),
  };
}

function makeAuthorizer(
  modes: readonly AuthorizationMode[],
  deps: AuthDeps,
): { readonly authorizer: Authorizer; readonly rules: RuleSource } {
  if (modes.length === 0) throw unknownMode('');
  const rbac = new RbacAuthorizer(deps.reader);
  const chain = modes.map((mode): Authorizer => {
    switch (mode) {
      case 'AlwaysAllow':
        return alwaysAllow;
      case 'Node':
        return new NodeAuthorizer(deps.reader);
      case 'RBAC':
        return rbac;
      default:
        throw unknownMode(mode);
    }
  });
  return {
    authorizer: new AuthorizerChain([privilegedGroup, publicPaths, ...chain]),
    rules: modes.includes('AlwaysAllow') ? allRules : rbac,
  };
}

function unknownMode(mode: string): AgentError {
  return new AgentError(`--authorization-mode: unknown mode "${mode}"`, {
    code: 'CONFIG_INVALID',
    hint: 'give a list of AlwaysAllow, Node and RBAC',
  });
}
