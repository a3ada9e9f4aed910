// Credential provider plugins: programs that are asked for the credentials of an image. After
// pkg/credentialprovider/plugin/plugin.go.
import { createHash } from 'node:crypto';
import path from 'node:path';
import type { Pod } from '../../api/pod.ts';
import { isForbidden } from '../../client/errors.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { parseGoDuration } from '../../core/parse-duration.ts';
import type { Exec, ExecResult } from '../../host/exec.ts';
import { Keyring, matchesImage, type RegistryCredential } from '../runtime/registry-auth.ts';
import { CredentialCache } from './credential-cache.ts';
import type { ProviderConfig } from './provider-config.ts';
import type { ProviderObserver } from './provider-metrics.ts';
import type { ServiceAccountUse } from './pull-record-files.ts';

const EXEC_TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 1 << 20;

/** The pod's service account as plugins see it. */
export interface AccountFacts extends ServiceAccountUse {
  readonly annotations: Readonly<Record<string, string>>;
}

export interface CredentialProvidersDeps {
  readonly exec: Exec;
  /** What plugins inherit. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly serviceAccount: (namespace: string, name: string) => Promise<AccountFacts>;
  /** A token of the pod's service account, bound to the pod. */
  readonly token: (pod: Pod, audience: string) => Promise<string>;
  readonly observe: ProviderObserver;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Identity {
  readonly account: AccountFacts;
  readonly token: string;
  readonly annotations: Readonly<Record<string, string>>;
}

type Auths = Readonly<Record<string, { readonly username: string; readonly password: string }>>;

interface Answer {
  readonly cacheKeyType: 'Image' | 'Registry' | 'Global';
  readonly cacheMs: number | undefined;
  readonly auths: Auths;
}

export class CredentialProviders {
  readonly #providers: readonly Provider[];

  /** `binDir` holds the programs. */
  constructor(configs: readonly ProviderConfig[], binDir: string, deps: CredentialProvidersDeps) {
    const log = deps.log.child({ component: 'credential-provider' });
    this.#providers = configs.map((c) => new Provider(c, path.join(binDir, c.name), { ...deps, log }));
  }

  /** Of all plugins whose patterns match `repository` (no tag, no digest). A plugin that fails gives none. */
  async lookup(repository: string, pod: Pod): Promise<RegistryCredential[]> {
    const asked = this.#providers.filter((p) => p.matches(repository));
    const found = await Promise.all(asked.map((p) => p.credentials(repository, pod)));
    return new Keyring(found.flat()).lookup(repository);
  }
}

class Provider {
  readonly #config: ProviderConfig;
  readonly #program: string;
  readonly #deps: CredentialProvidersDeps;
  readonly #cache: CredentialCache<Auths>;
  /** Pods that start together ask once. */
  readonly #asking = new Map<string, Promise<Auths>>();

  constructor(config: ProviderConfig, program: string, deps: CredentialProvidersDeps) {
    this.#config = config;
    this.#program = program;
    this.#deps = deps;
    this.#cache = new CredentialCache(deps.clock);
  }

  matches(repository: string): boolean {
    return this.#config.matchImages.some((glob) => matchesImage(glob, repository));
  }

  /** Never throws: without these credentials another may do, or none is needed. */
  async credentials(repository: string, pod: Pod): Promise<{ key: string; credential: RegistryCredential }[]> {
    try {
      const identity = await this.#identity(pod);
      if (identity === 'none') return [];
      const auths = await this.#auths(repository, identity);
      const source = identity === undefined ? {} : { source: { serviceAccount: coordinates(identity.account) } };
      return Object.entries(auths).map(([key, auth]) => ({ key, credential: { ...auth, ...source } }));
    } catch (err) {
      this.#deps.log.error({ err, provider: this.#config.name, image: repository }, 'no credentials from a plugin');
      return [];
    }
  }

  /** Undefined: ask without a token. `none`: do not ask for this pod. */
  async #identity(pod: Pod): Promise<Identity | undefined | 'none'> {
    const tokens = this.#config.tokenAttributes;
    if (tokens === undefined) return undefined;
    const name = pod.spec?.serviceAccountName ?? '';
    if (name === '') return tokens.requireServiceAccount ? 'none' : undefined;
    const account = await this.#deps.serviceAccount(pod.metadata?.namespace ?? '', name);
    const missing = tokens.requiredAnnotations.filter((key) => account.annotations[key] === undefined);
    if (missing.length > 0) {
      this.#deps.log.info({ provider: this.#config.name, missing }, 'service account lacks annotations, not asked');
      return 'none';
    }
    const keys = [...tokens.requiredAnnotations, ...tokens.optionalAnnotations].sort();
    const annotations = Object.fromEntries(
      keys.flatMap((key) => (account.annotations[key] === undefined ? [] : [[key, account.annotations[key]]])),
    );
    return { account, token: await this.#token(pod, tokens.audience), annotations };
  }

  async #token(pod: Pod, audience: string): Promise<string> {
    try {
      return await this.#deps.token(pod, audience);
    } catch (err) {
      if (!isForbidden(err)) throw err;
      throw new AgentError(`no token for audience ${JSON.stringify(audience)}: ${err.message}`, {
        code: 'CREDENTIAL_PROVIDER_FAILED',
        cause: err,
        retryable: true,
        hint: `allow nodes the verb request-serviceaccounts-token-audience on ${JSON.stringify(audience)} (docs/configuration.md)`,
      });
    }
  }

  async #auths(repository: string, identity: Identity | undefined): Promise<Auths> {
    const who = this.#cacheIdentity(identity);
    const keys = { Image: repository, Registry: repository.split('/', 1)[0]!, Global: '' };
    const keyOf = (type: Answer['cacheKeyType']) => JSON.stringify([type, keys[type], who]);
    for (const type of ['Image', 'Registry', 'Global'] as const) {
      const cached = this.#cache.get(keyOf(type));
      if (cached !== undefined) return cached;
    }
    const question = keyOf('Image');
    let asking = this.#asking.get(question);
    if (asking === undefined) {
      asking = this.#ask(repository, identity).then((answer) => {
        this.#cache.set(keyOf(answer.cacheKeyType), answer.auths, answer.cacheMs ?? this.#config.defaultCacheMs);
        return answer.auths;
      });
      this.#asking.set(question, asking);
      const done = () => void this.#asking.delete(question);
      asking.then(done, done);
    }
    return await asking;
  }

  /** Credentials that were given for one token, or account, are not for another. */
  #cacheIdentity(identity: Identity | undefined): string {
    if (identity === undefined) return '';
    const { account, annotations, token } = identity;
    const parts: unknown[] = [account.namespace, account.name, account.uid, Object.entries(annotations)];
    if (this.#config.tokenAttributes?.cacheType === 'Token') parts.push(token);
    return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
  }

  async #ask(image: string, identity: Identity | undefined): Promise<Answer> {
    const { apiVersion, name } = this.#config;
    const request = {
      kind: 'CredentialProviderRequest',
      apiVersion,
      image,
      ...(identity === undefined
        ? {}
        : { serviceAccountToken: identity.token, serviceAccountAnnotations: identity.annotations }),
    };
    const result = await this.#run(JSON.stringify(request));
    return parseAnswer(result.stdout, apiVersion, name);
  }

  async #run(input: string): Promise<ExecResult> {
    const { args, env, name } = this.#config;
    const { clock, exec, observe } = this.#deps;
    const startedMs = clock.monotonicMs();
    let failed = true;
    try {
      const result = await exec(this.#program, args, {
        input,
        timeoutMs: EXEC_TIMEOUT_MS,
        maxOutputBytes: MAX_OUTPUT_BYTES,
        env: { ...this.#deps.env, ...Object.fromEntries(env.map((e) => [e.name, e.value])) },
      });
      if (result.code !== 0) {
        throw failure(
          `credential provider ${name} ended with exit code ${result.code}: ${result.stderr.trim().slice(0, 1000)}`,
        );
      }
      failed = false;
      return result;
    } finally {
      observe(name, (clock.monotonicMs() - startedMs) / 1000, failed);
    }
  }
}

/** Pure. @throws {AgentError} CREDENTIAL_PROVIDER_FAILED; its text shows nothing of the answer, which holds passwords. */
function parseAnswer(text: string, apiVersion: string, provider: string): Answer {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw failure(`credential provider ${provider} did not answer in JSON`);
  }
  const answer = (typeof value === 'object' && value !== null ? value : {}) as Readonly<Record<string, unknown>>;
  const { kind, cacheKeyType, cacheDuration } = answer;
  if (kind !== 'CredentialProviderResponse' || answer.apiVersion !== apiVersion) {
    throw failure(`credential provider ${provider} did not answer with a CredentialProviderResponse of ${apiVersion}`);
  }
  if (cacheKeyType !== 'Image' && cacheKeyType !== 'Registry' && cacheKeyType !== 'Global') {
    throw failure(`credential provider ${provider} did not return a valid cacheKeyType`);
  }
  const auths: Record<string, { username: string; password: string }> = {};
  for (const [key, auth] of Object.entries((answer.auth ?? {}) as Record<string, unknown>)) {
    const { username, password } = (auth ?? {}) as Record<string, unknown>;
    auths[key] = { username: String(username ?? ''), password: String(password ?? '') };
  }
  const cacheMs = typeof cacheDuration === 'string' ? parseGoDuration(cacheDuration) : undefined;
  return { cacheKeyType, cacheMs, auths };
}

function coordinates({ uid, namespace, name }: AccountFacts): ServiceAccountUse {
  return { uid, namespace, name };
}

function failure(message: string): AgentError {
  return new AgentError(message, { code: 'CREDENTIAL_PROVIDER_FAILED', retryable: true });
}
