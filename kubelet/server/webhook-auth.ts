// The API server says whose token it is (TokenReview) and what callers may (SubjectAccessReview). After apiserver
// plugin/pkg/authenticator/token/webhook and plugin/pkg/authorizer/webhook.
import { createHmac, randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { TokenReview } from 'kubernetes-types/authentication/v1.js';
import type { SubjectAccessReview } from 'kubernetes-types/authorization/v1.js';
import { subjectAccessReviews, tokenReviews } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { ApiError } from '../../client/errors.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError, errnoOf } from '../../core/errors.ts';
import type { KubeletAuthenticator, KubeletAuthorizer, KubeletUser, NodeAttributes } from './auth.ts';
import { takeBearerToken } from './bearer-token.ts';
import { ReviewCache } from './review-cache.ts';

export interface ReviewDeps {
  readonly client: Pick<ApiClient, 'create'>;
  readonly clock: Clock;
  /** 0 to 1; Math.random when absent. */
  readonly random?: () => number;
}

const ATTEMPTS = 5;
const FIRST_DELAY_MS = 500;
const DELAY_FACTOR = 1.5;
const DELAY_JITTER = 0.2;

/** Bearer tokens of any kind that the API server knows. */
export class TokenReviewAuthenticator implements KubeletAuthenticator {
  readonly #ttlMs: number;
  readonly #deps: ReviewDeps;
  readonly #answers: ReviewCache<KubeletUser | undefined>;
  /** Tokens are kept as digests that mean nothing outside this process. */
  readonly #secret = randomBytes(32);

  /** `ttlMs`: authentication.webhook.cacheTTL. */
  constructor(ttlMs: number, deps: ReviewDeps) {
    this.#ttlMs = ttlMs;
    this.#deps = deps;
    this.#answers = new ReviewCache(deps.clock);
  }

  async authenticate(request: IncomingMessage): Promise<KubeletUser | undefined> {
    const token = takeBearerToken(request);
    if (token === undefined) return undefined;
    const key = createHmac('sha256', this.#secret).update(token).digest('base64');
    const user = await this.#answers.get(key, async () => ({ value: await this.#review(token), ttlMs: this.#ttlMs }));
    if (user === undefined) throw new Error('invalid bearer token');
    return user;
  }

  /** Undefined for a token that is nobody's. @throws when the API server gives a reason, or cannot be asked. */
  async #review(token: string): Promise<KubeletUser | undefined> {
    const review: TokenReview = { spec: { token } };
    const { status } = await withRetries(() => this.#deps.client.create(tokenReviews, {}, review), this.#deps);
    if (status?.authenticated !== true) {
      if (status?.error) throw new Error(status.error);
      return undefined;
    }
    const { username = '', uid, groups = [], extra } = status.user ?? {};
    return { name: username, groups, ...(uid ? { uid } : {}), ...(extra === undefined ? {} : { extra }) };
  }
}

export interface AccessReviewOptions {
  /** authorization.webhook.cacheAuthorizedTTL, ms. */
  readonly allowedMs: number;
  /** authorization.webhook.cacheUnauthorizedTTL, ms. */
  readonly deniedMs: number;
}

/** What the API server's own authorizers let the caller do to this Node. */
export class AccessReviewAuthorizer implements KubeletAuthorizer {
  readonly #options: AccessReviewOptions;
  readonly #deps: ReviewDeps;
  readonly #answers: ReviewCache<boolean>;

  constructor(options: AccessReviewOptions, deps: ReviewDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#answers = new ReviewCache(deps.clock);
  }

  async isAllowed(user: KubeletUser, attributes: NodeAttributes): Promise<boolean> {
    const spec = accessSpec(user, attributes);
    return await this.#answers.get(JSON.stringify(spec), async () => {
      const review: SubjectAccessReview = { spec };
      const { status } = await withRetries(
        () => this.#deps.client.create(subjectAccessReviews, {}, review),
        this.#deps,
      );
      const value = status?.allowed === true;
      return { value, ttlMs: value ? this.#options.allowedMs : this.#options.deniedMs };
    });
  }
}

/** Pure. */
function accessSpec(user: KubeletUser, { verb, subresource, node }: NodeAttributes): SubjectAccessReview['spec'] {
  return {
    user: user.name,
    groups: [...user.groups],
    ...(user.uid === undefined ? {} : { uid: user.uid }),
    ...(user.extra === undefined ? {} : { extra: user.extra as Record<string, string[]> }),
    resourceAttributes: { verb, version: 'v1', resource: 'nodes', subresource, name: node },
  };
}

/** Lets everybody who is known do everything: authorization mode AlwaysAllow. */
export const alwaysAllow: KubeletAuthorizer = { isAllowed: async () => true };

/** Asks again while the API server is busy or failing, and when it hung up; one that cannot be reached is not waited for. */
async function withRetries<T>(call: () => Promise<T>, { clock, random = Math.random }: ReviewDeps): Promise<T> {
  let delayMs = FIRST_DELAY_MS;
  for (let attempt = 1; ; attempt++) {
    try {
      return await call();
    } catch (err) {
      const passes = err instanceof ApiError ? err.retryable : wasReset(err);
      if (attempt >= ATTEMPTS || !passes) throw err;
      await clock.sleep(delayMs * (1 + DELAY_JITTER * random()));
      delayMs *= DELAY_FACTOR;
    }
  }
}

/** An idle connection that the server closed just as it was taken, mostly. A review changes nothing: it may come twice. */
function wasReset(err: unknown): boolean {
  const errno = errnoOf(err instanceof AgentError ? err.cause : err);
  return errno === 'ECONNRESET' || errno === 'EPIPE';
}
