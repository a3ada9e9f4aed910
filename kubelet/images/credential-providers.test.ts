import { beforeEach, describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { failure } from '../../client/fake-client.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { createLogger, silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import type { ExecOptions, ExecResult } from '../../host/exec.ts';
import { type AccountFacts, CredentialProviders, type CredentialProvidersDeps } from './credential-providers.ts';
import { type ProviderConfig, parseProviderConfigs } from './provider-config.ts';
import { providerMetrics } from './provider-metrics.ts';

const V1 = 'credentialprovider.kubelet.k8s.io/v1';
const provider = (more: object = {}) => ({
  name: 'ecr',
  matchImages: ['*.reg.io'],
  defaultCacheDuration: '10m',
  apiVersion: V1,
  ...more,
});
const document = (...providers: object[]) => ({
  apiVersion: 'kubelet.config.k8s.io/v1',
  kind: 'CredentialProviderConfig',
  providers,
});
const faultsOf = (...documents: unknown[]) => {
  const faults: string[] = [];
  parseProviderConfigs(documents, (f) => faults.push(f));
  return faults;
};
const tokens = {
  serviceAccountTokenAudience: 'reg',
  cacheType: 'ServiceAccount',
  requireServiceAccount: true,
};

describe('configuration', () => {
  test('a whole one', () => {
    const env = [{ name: 'A', value: 'b' }];
    const given = document(provider({ args: ['get'], env, tokenAttributes: tokens }));
    expect(parseProviderConfigs([given], () => {})).toEqual([
      {
        name: 'ecr',
        matchImages: ['*.reg.io'],
        defaultCacheMs: 600_000,
        apiVersion: V1,
        args: ['get'],
        env,
        tokenAttributes: {
          audience: 'reg',
          cacheType: 'ServiceAccount',
          requireServiceAccount: true,
          requiredAnnotations: [],
          optionalAnnotations: [],
        },
      },
    ]);
  });

  test.each<[string, unknown, RegExp]>([
    ['another kind', { kind: 'Pod' }, /expected a CredentialProviderConfig/],
    ['no providers', document(), /at least 1 item/],
    ['a path for a name', document(provider({ name: '../sh' })), /providers\[0\]\.name/],
    ['no patterns', document(provider({ matchImages: [] })), /matchImages/],
    ['a pattern with a scheme', document(provider({ matchImages: ['https://reg.io'] })), /matchImages/],
    ['no duration', document(provider({ defaultCacheDuration: undefined })), /defaultCacheDuration/],
    ['a negative duration', document(provider({ defaultCacheDuration: '-1s' })), /defaultCacheDuration/],
    ['a foreign version', document(provider({ apiVersion: 'v1' })), /apiVersion/],
    ['one name twice', document(provider(), provider()), /given twice/],
    [
      'tokens without audience',
      document(provider({ tokenAttributes: { ...tokens, serviceAccountTokenAudience: '' } })),
      /Audience/,
    ],
    ['tokens without cache type', document(provider({ tokenAttributes: { ...tokens, cacheType: 'x' } })), /cacheType/],
    [
      'tokens for an old version',
      document(provider({ apiVersion: 'credentialprovider.kubelet.k8s.io/v1beta1', tokenAttributes: tokens })),
      /needs apiVersion/,
    ],
  ])('%s is refused', (_, given, problem) => {
    expect(faultsOf(given).join('\n')).toMatch(problem);
  });
});

interface Asked {
  readonly program: string;
  readonly args: readonly string[];
  readonly request: Record<string, unknown>;
  readonly env: NodeJS.ProcessEnv | undefined;
}

let clock: FakeClock;
let asked: Asked[];
let answer: object | string;
let exitCode: number;
let accounts: Record<string, AccountFacts>;
const pod: Pod = {
  metadata: { name: 'p', namespace: 'ns', uid: 'u' },
  spec: { containers: [], serviceAccountName: 'sa' },
};

beforeEach(() => {
  clock = new FakeClock();
  asked = [];
  answer = response('Image');
  exitCode = 0;
  accounts = { sa: { uid: 'uid-sa', namespace: 'ns', name: 'sa', annotations: { role: 'r', other: 'o' } } };
});

function response(cacheKeyType: string, more: object = {}) {
  const auth = { '*.reg.io': { username: 'u', password: 'secret' } };
  return { kind: 'CredentialProviderResponse', apiVersion: V1, cacheKeyType, auth, ...more };
}

function start(more: object = {}, deps: Partial<CredentialProvidersDeps> = {}): CredentialProviders {
  const configs: ProviderConfig[] = parseProviderConfigs([document(provider(more))], (f) => {
    throw new Error(f);
  });
  const exec = async (program: string, args: readonly string[], opts: ExecOptions = {}): Promise<ExecResult> => {
    asked.push({ program, args, request: JSON.parse(String(opts.input)), env: opts.env });
    await clock.sleep(0);
    const stdout = typeof answer === 'string' ? answer : JSON.stringify(answer);
    return { code: exitCode, signal: undefined, stdout, stderr: 'no' };
  };
  let issued = 0;
  return new CredentialProviders(configs, '/plugins', {
    exec,
    env: { PATH: '/bin' },
    serviceAccount: async (_, name) => accounts[name]!,
    token: async (_, audience) => `token-${audience}-${++issued}`,
    observe: () => {},
    clock,
    log: silentLog,
    ...deps,
  });
}
const look = async (providers: CredentialProviders, image: string, as: Pod = pod) => {
  const found = providers.lookup(image, as);
  await clock.advance(0);
  return await found;
};

test('a plugin is asked on its standard input, with its arguments and environment over ours', async () => {
  const providers = start({ args: ['get'], env: [{ name: 'REGION', value: 'eu' }] });
  expect(await look(providers, 'a.reg.io/app')).toEqual([{ username: 'u', password: 'secret' }]);
  expect(asked).toEqual([
    {
      program: '/plugins/ecr',
      args: ['get'],
      env: { PATH: '/bin', REGION: 'eu' },
      request: { kind: 'CredentialProviderRequest', apiVersion: V1, image: 'a.reg.io/app' },
    },
  ]);
});

test('a token that nodes may not have: no credentials, and the log tells what to grant', async () => {
  const lines: string[] = [];
  const log = createLogger({ level: 'error', destination: { write: (line) => void lines.push(line) } });
  const token = async () => {
    throw failure(403, 'audience "reg" not found in pod spec volume');
  };
  const providers = start({ tokenAttributes: tokens }, { log, token });
  expect(await look(providers, 'a.reg.io/app')).toEqual([]);
  expect(asked).toEqual([]);
  expect(lines.join('')).toContain('allow nodes the verb request-serviceaccounts-token-audience');
});

test('images that its patterns do not match are none of its business', async () => {
  expect(await look(start(), 'reg.io/app')).toEqual([]);
  expect(asked).toEqual([]);
});

test('an answer whose keys do not match the image gives nothing', async () => {
  answer = response('Image', { auth: { 'other.io': { username: 'u', password: 'p' } } });
  expect(await look(start(), 'a.reg.io/app')).toEqual([]);
});

test.each([
  ['Image', ['a.reg.io/app', 'a.reg.io/app'], 1],
  ['Image', ['a.reg.io/app', 'a.reg.io/other'], 2],
  ['Registry', ['a.reg.io/app', 'a.reg.io/other'], 1],
  ['Registry', ['a.reg.io/app', 'b.reg.io/app'], 2],
  ['Global', ['a.reg.io/app', 'b.reg.io/app'], 1],
])('cached by %s: %s asks %i times', async (type, names, times) => {
  answer = response(type);
  const providers = start();
  for (const name of names) expect(await look(providers, name)).toHaveLength(1);
  expect(asked).toHaveLength(times);
});

test.each([
  ['the default', {}, 600_000],
  ['what the answer says', { cacheDuration: '5s' }, 5000],
])('an answer is kept for %s', async (_, more, ms) => {
  answer = response('Image', more);
  const providers = start();
  await look(providers, 'a.reg.io/app');
  await clock.advance(ms - 1);
  await look(providers, 'a.reg.io/app');
  expect(asked).toHaveLength(1);
  await clock.advance(1);
  await look(providers, 'a.reg.io/app');
  expect(asked).toHaveLength(2);
});

test('a duration of zero keeps nothing', async () => {
  answer = response('Image', { cacheDuration: '0s' });
  const providers = start();
  await look(providers, 'a.reg.io/app');
  await look(providers, 'a.reg.io/app');
  expect(asked).toHaveLength(2);
});

test('pods that start together ask once', async () => {
  const providers = start();
  const all = Promise.all([1, 2, 3].map(() => providers.lookup('a.reg.io/app', pod)));
  await clock.advance(0);
  expect((await all).flat()).toHaveLength(3);
  expect(asked).toHaveLength(1);
});

test.each<[string, () => void]>([
  ['ends with an error', () => (exitCode = 1)],
  ['does not answer in JSON', () => (answer = 'hello')],
  ['answers with null', () => (answer = 'null')],
  ['answers in another version', () => (answer = { ...response('Image'), apiVersion: 'v9' })],
  ['names no cache key', () => (answer = response('Nothing'))],
])('a plugin that %s gives nothing and is asked again', async (_, spoil) => {
  const providers = start();
  spoil();
  expect(await look(providers, 'a.reg.io/app')).toEqual([]);
  exitCode = 0;
  answer = response('Image');
  expect(await look(providers, 'a.reg.io/app')).toHaveLength(1);
});

test('each run is timed and its failures are counted, beside the hash of the configuration', async () => {
  const registry = new Registry();
  let tookMs = 300;
  const exec = async (): Promise<ExecResult> => {
    await clock.sleep(tookMs);
    if (exitCode < 0) throw new Error('ENOENT');
    return { code: exitCode, signal: undefined, stdout: JSON.stringify(answer), stderr: '' };
  };
  const providers = start({ defaultCacheDuration: '0s' }, { exec, observe: providerMetrics(registry, 'sha256:ab') });
  const run = async () => {
    const found = providers.lookup('a.reg.io/app', pod);
    await clock.advance(tookMs);
    return await found;
  };
  expect(await run()).toHaveLength(1);
  tookMs = 7000;
  for (exitCode of [1, -1]) expect(await run()).toEqual([]);
  const lines = (await registry.metrics()).split('\n');
  expect(lines).toContain('kubelet_credential_provider_plugin_errors_total{plugin_name="ecr"} 2');
  expect(lines).toContain('kubelet_credential_provider_plugin_duration_sum{plugin_name="ecr"} 14.3');
  expect(lines).toContain('kubelet_credential_provider_plugin_duration_bucket{le="0.5",plugin_name="ecr"} 1');
  expect(lines).toContain('kubelet_credential_provider_config_info{hash="sha256:ab"} 1');
});

describe('service account tokens', () => {
  test("token and wanted annotations are sent, and credentials are the account's", async () => {
    const attributes = { ...tokens, requiredServiceAccountAnnotationKeys: ['role'] };
    const found = await look(start({ tokenAttributes: attributes }), 'a.reg.io/app');
    const serviceAccount = { uid: 'uid-sa', namespace: 'ns', name: 'sa' };
    expect(found).toEqual([{ username: 'u', password: 'secret', source: { serviceAccount } }]);
    expect(asked[0]!.request).toMatchObject({
      serviceAccountToken: 'token-reg-1',
      serviceAccountAnnotations: { role: 'r' },
    });
  });

  test.each([
    ['ServiceAccount', 1],
    ['Token', 2],
  ])('cached by %s: a renewed token asks %i times', async (cacheType, times) => {
    const providers = start({ tokenAttributes: { ...tokens, cacheType } });
    await look(providers, 'a.reg.io/app');
    await look(providers, 'a.reg.io/app');
    expect(asked).toHaveLength(times);
  });

  test('what one account was given, another one does not get', async () => {
    accounts.two = { uid: 'uid-two', namespace: 'ns', name: 'two', annotations: {} };
    const providers = start({ tokenAttributes: tokens });
    await look(providers, 'a.reg.io/app');
    await look(providers, 'a.reg.io/app', { ...pod, spec: { containers: [], serviceAccountName: 'two' } });
    expect(asked).toHaveLength(2);
  });

  test.each([
    [true, 0],
    [false, 1],
  ])('a pod without account, required: %s, asks %i times', async (requireServiceAccount, times) => {
    const providers = start({ tokenAttributes: { ...tokens, requireServiceAccount } });
    await look(providers, 'a.reg.io/app', { ...pod, spec: { containers: [] } });
    expect(asked).toHaveLength(times);
    for (const { request } of asked) expect(request).not.toHaveProperty('serviceAccountToken');
  });

  test('an account without a required annotation gets nothing', async () => {
    const attributes = { ...tokens, requiredServiceAccountAnnotationKeys: ['absent'] };
    expect(await look(start({ tokenAttributes: attributes }), 'a.reg.io/app')).toEqual([]);
    expect(asked).toEqual([]);
  });
});
