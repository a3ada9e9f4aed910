import { expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { AccessReviewAuthorizer, alwaysAllow, TokenReviewAuthenticator } from '../../kubelet/server/webhook-auth.ts';
import { serverAuth } from './server-auth.ts';

const SECURE = {
  clientCaFile: '/ca.crt',
  anonymous: false,
  webhookAuthentication: true,
  authenticationCacheMs: 1,
  authorizationMode: 'Webhook',
  authorizedCacheMs: 1,
  unauthorizedCacheMs: 1,
};

function authOf(settings: Partial<typeof SECURE>, standalone = false) {
  const config = { server: { ...SECURE, ...settings } };
  return serverAuth({ config, standalone, reviews: {}, clock: new FakeClock() } as never);
}

test('by default the API server is asked about tokens and access', () => {
  const { authenticators, authorizer } = authOf({});
  expect(authenticators[0]).toBeInstanceOf(TokenReviewAuthenticator);
  expect(authorizer).toBeInstanceOf(AccessReviewAuthorizer);
});

test('AlwaysAllow and certificates alone need no API server', () => {
  const { authenticators, authorizer } = authOf(
    { webhookAuthentication: false, authorizationMode: 'AlwaysAllow' },
    true,
  );
  expect(authenticators).toEqual([]);
  expect(authorizer).toBe(alwaysAllow);
});

test.each([
  [{}, 'no client provided, cannot use webhook authentication'],
  [{ webhookAuthentication: false }, 'no client provided, cannot use webhook authorization'],
])('without an API server %j is refused', (settings, message) => {
  expect(() => authOf(settings, true)).toThrow(message);
});

test('a server that nobody could ever call is refused', () => {
  const { clientCaFile: _, ...rest } = SECURE;
  const config = { server: { ...rest, webhookAuthentication: false } };
  expect(() => serverAuth({ config, standalone: false, reviews: {}, clock: new FakeClock() } as never)).toThrow(
    'No authentication method configured',
  );
});
