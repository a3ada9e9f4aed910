// How others check service account tokens: the OpenID discovery document and the public keys. After
// pkg/serviceaccount/openidmetadata.go.
import type { PathHandler } from '../non-resource.ts';
import { sendText } from '../responses.ts';
import type { ServiceAccountTokens } from './service-account-tokens.ts';

const OPENID_CONFIGURATION_PATH = '/.well-known/openid-configuration';
export const JWKS_PATH = '/openid/v1/jwks';

/** `jwksUri`: absolute https URL of JWKS_PATH as relying parties reach it. */
export function openIdPaths(tokens: ServiceAccountTokens, jwksUri: string): PathHandler[] {
  const algorithms = [...new Set(tokens.keys.map((key) => key.alg))];
  const configuration = {
    issuer: tokens.issuer,
    jwks_uri: jwksUri,
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: algorithms,
  };
  const keys = tokens.keys.map(({ publicKey, kid, alg }) => ({
    use: 'sig',
    kid,
    alg,
    ...publicKey.export({ format: 'jwk' }),
  }));
  return [
    document(OPENID_CONFIGURATION_PATH, 'application/json', configuration),
    document(JWKS_PATH, 'application/jwk-set+json', { keys }),
  ];
}

function document(path: string, contentType: string, content: object): PathHandler {
  const text = JSON.stringify(content);
  return {
    path,
    async handle(request, response) {
      response.setHeader('Cache-Control', 'public, max-age=3600');
      await sendText(request, response, 200, contentType, text);
    },
  };
}
