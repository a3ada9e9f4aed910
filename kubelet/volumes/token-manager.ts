// Service-account tokens for projected volumes: asked for once, kept, renewed well before they end. After
// pkg/kubelet/token/token_manager.go.
import type { TokenRequest } from '../../api/kinds.ts';
import { serviceAccounts } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import type { Clock } from '../../core/clock.ts';
import { DueQueue } from '../../core/due-queue.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';

export interface TokenSpec {
  readonly podName: string;
  readonly podUid: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** '' for the API server's own audience. */
  readonly audience: string;
  readonly expirationSeconds: number;
}

interface CachedToken {
  readonly token: string;
  readonly expiresMs: number;
  readonly refreshMs: number;
}

const DAY_MS = 24 * 3600 * 1000;
const MAX_JITTER_MS = 10_000;
/** After a failed renewal of a token that is still good. */
const RETRY_MS = 30_000;
/** Where this node's clock is ahead of the server's, every token looks old: nobody is told to renew more often, ms. */
const SHORTEST_REFRESH_MS = 60_000;
const CALL_TIMEOUT_MS = 10_000;

export class TokenManager implements Disposable {
  readonly #client: ApiClient;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly #tokens = new Map<string, Map<string, CachedToken>>();
  readonly #due: DueQueue<string>;

  /** `onRefreshDue` gets the uid of a pod one of whose tokens should be renewed: sync its volumes. */
  constructor(deps: {
    client: ApiClient;
    clock: Clock;
    log: Logger;
    onRefreshDue: (podUid: string) => void;
    random?: () => number;
  }) {
    this.#client = deps.client;
    this.#clock = deps.clock;
    this.#log = deps.log.child({ component: 'token-manager' });
    this.#random = deps.random ?? Math.random;
    this.#due = new DueQueue<string>(deps.clock, deps.onRefreshDue);
  }

  /** @throws {AgentError} TOKEN_FETCH_FAILED when there is no token that is still good. */
  async token(spec: TokenSpec, signal: AbortSignal): Promise<string> {
    return (await this.tokenWithExpiry(spec, signal)).token;
  }

  /** As `token`, with its end in wall ms. */
  async tokenWithExpiry(spec: TokenSpec, signal: AbortSignal): Promise<{ token: string; expiresMs: number }> {
    const key = JSON.stringify([spec.namespace, spec.serviceAccount, spec.audience, spec.expirationSeconds]);
    const cached = this.#tokens.get(spec.podUid)?.get(key);
    const nowMs = this.#clock.now();
    if (cached !== undefined && nowMs < cached.refreshMs) return cached;
    try {
      const fresh = await this.#fetch(spec, signal);
      const ofPod = this.#tokens.get(spec.podUid) ?? new Map<string, CachedToken>();
      ofPod.set(key, fresh);
      this.#tokens.set(spec.podUid, ofPod);
      this.#due.setEarlier(spec.podUid, Math.max(fresh.refreshMs - nowMs, SHORTEST_REFRESH_MS));
      return fresh;
    } catch (cause) {
      if (cached !== undefined && nowMs < cached.expiresMs) {
        this.#log.warn({ err: cause, podUid: spec.podUid }, 'token not renewed, the old one is kept');
        this.#due.setEarlier(spec.podUid, RETRY_MS);
        return cached;
      }
      const what = cached === undefined ? 'failed to fetch token' : `token ${key} expired and refresh failed`;
      throw new AgentError(`${what}: ${errorMessage(cause)}`, { code: 'TOKEN_FETCH_FAILED', cause, retryable: true });
    }
  }

  /** Drops the pod's tokens. Idempotent. */
  forgetPod(podUid: string): void {
    this.#tokens.delete(podUid);
    this.#due.delete(podUid);
  }

  [Symbol.dispose](): void {
    this.#due[Symbol.dispose]();
  }

  async #fetch(spec: TokenSpec, signal: AbortSignal): Promise<CachedToken> {
    const request: TokenRequest = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: {
        audiences: spec.audience === '' ? [] : [spec.audience],
        expirationSeconds: spec.expirationSeconds,
        // Bound to the pod: NodeRestriction asks for it, and the token dies with the pod.
        boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: spec.podName, uid: spec.podUid },
      },
    };
    const name = { namespace: spec.namespace, name: spec.serviceAccount };
    const call = { subresource: 'token', signal, timeoutMs: CALL_TIMEOUT_MS };
    const answer = await this.#client.create(serviceAccounts, name, request, call);
    const expiresMs = Date.parse(answer.status?.expirationTimestamp ?? '');
    if (answer.status === undefined || Number.isNaN(expiresMs)) {
      throw new AgentError('the API server answered without a token', { code: 'TOKEN_INVALID', retryable: true });
    }
    const lifeMs = (answer.spec?.expirationSeconds ?? spec.expirationSeconds) * 1000;
    const jitterMs = this.#random() * Math.min(MAX_JITTER_MS, lifeMs * 0.1);
    const refreshMs = Math.min(expiresMs - lifeMs * 0.2, expiresMs - lifeMs + DAY_MS) - jitterMs;
    return { token: answer.status.token, expiresMs, refreshMs };
  }
}
