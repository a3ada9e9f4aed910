// CredentialProviderConfig: which plugins give credentials for which images. Pure; every fault is told at once. After
// pkg/credentialprovider/plugin/config.go and pkg/kubelet/apis/config/v1.
import { parseGoDuration } from '../../core/parse-duration.ts';

export interface TokenAttributes {
  readonly audience: string;
  readonly cacheType: 'Token' | 'ServiceAccount';
  /** Pods without a service account get nothing from this plugin; else it is asked without a token. */
  readonly requireServiceAccount: boolean;
  readonly requiredAnnotations: readonly string[];
  readonly optionalAnnotations: readonly string[];
}

export interface ProviderConfig {
  /** Also the name of the program. */
  readonly name: string;
  readonly matchImages: readonly string[];
  readonly defaultCacheMs: number;
  readonly apiVersion: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly tokenAttributes?: TokenAttributes;
}

const GROUP = 'credentialprovider.kubelet.k8s.io';
const API_VERSIONS = [`${GROUP}/v1`, `${GROUP}/v1beta1`, `${GROUP}/v1alpha1`];
const CONFIG_VERSIONS = ['v1', 'v1beta1', 'v1alpha1'].map((v) => `kubelet.config.k8s.io/${v}`);

type Json = Readonly<Record<string, unknown>>;

/** The providers of all `documents` (parsed YAML) in order. `fault` gets each thing that is wrong. */
export function parseProviderConfigs(documents: readonly unknown[], fault: (text: string) => void): ProviderConfig[] {
  const providers: ProviderConfig[] = [];
  for (const document of documents) {
    const config = asObject(document);
    if (config?.kind !== 'CredentialProviderConfig' || !CONFIG_VERSIONS.includes(String(config.apiVersion))) {
      fault(`expected a CredentialProviderConfig of ${CONFIG_VERSIONS[0]}, got ${config?.apiVersion} ${config?.kind}`);
      continue;
    }
    for (const [i, entry] of asList(config.providers).entries()) {
      const provider = parseProvider(asObject(entry) ?? {}, (field, problem) =>
        fault(`providers[${i}].${field}: ${problem}`),
      );
      if (provider !== undefined) providers.push(provider);
    }
  }
  if (providers.length === 0) fault('providers: at least 1 item in plugins is required');
  const seen = new Set<string>();
  for (const { name } of providers) {
    if (seen.has(name)) fault(`providers: name ${JSON.stringify(name)} is given twice`);
    seen.add(name);
  }
  return providers;
}

function parseProvider(p: Json, fault: (field: string, problem: string) => void): ProviderConfig | undefined {
  let valid = true;
  const wrong = (field: string, problem: string) => {
    valid = false;
    fault(field, problem);
  };
  const name = typeof p.name === 'string' ? p.name : '';
  if (name === '' || name === '.' || name === '..' || /[\s/\\]/.test(name)) {
    wrong('name', 'expected the name of a program, without spaces and path separators');
  }
  const matchImages = strings(p.matchImages);
  if (matchImages.length === 0) wrong('matchImages', 'at least 1 item in matchImages is required');
  for (const glob of matchImages) if (!isImageGlob(glob)) wrong('matchImages', `${JSON.stringify(glob)} is not valid`);
  const cacheMs = typeof p.defaultCacheDuration === 'string' ? parseGoDuration(p.defaultCacheDuration) : undefined;
  if (cacheMs === undefined || cacheMs < 0) wrong('defaultCacheDuration', 'expected a duration such as 12h or 0s');
  const apiVersion = String(p.apiVersion ?? '');
  if (!API_VERSIONS.includes(apiVersion)) wrong('apiVersion', `expected one of ${API_VERSIONS.join(', ')}`);
  const tokenAttributes = p.tokenAttributes === undefined ? undefined : parseTokens(p, apiVersion, wrong);
  if (!valid) return undefined;
  return {
    name,
    matchImages,
    defaultCacheMs: cacheMs!,
    apiVersion,
    args: strings(p.args),
    env: asList(p.env).flatMap((e) => {
      const { name: key, value } = asObject(e) ?? {};
      return typeof key === 'string' ? [{ name: key, value: String(value ?? '') }] : [];
    }),
    ...(tokenAttributes === undefined ? {} : { tokenAttributes }),
  };
}

function parseTokens(
  p: Json,
  apiVersion: string,
  wrong: (field: string, problem: string) => void,
): TokenAttributes | undefined {
  const t = asObject(p.tokenAttributes) ?? {};
  const audience = typeof t.serviceAccountTokenAudience === 'string' ? t.serviceAccountTokenAudience : '';
  const required = strings(t.requiredServiceAccountAnnotationKeys);
  const optional = strings(t.optionalServiceAccountAnnotationKeys);
  if (apiVersion !== API_VERSIONS[0]) wrong('tokenAttributes', `needs apiVersion ${API_VERSIONS[0]}`);
  if (audience === '') wrong('tokenAttributes.serviceAccountTokenAudience', 'is missing');
  if (t.cacheType !== 'Token' && t.cacheType !== 'ServiceAccount') {
    wrong('tokenAttributes.cacheType', 'expected Token or ServiceAccount');
  }
  if (typeof t.requireServiceAccount !== 'boolean') wrong('tokenAttributes.requireServiceAccount', 'is missing');
  if (t.requireServiceAccount === false && required.length > 0) {
    wrong('tokenAttributes.requiredServiceAccountAnnotationKeys', 'needs requireServiceAccount: true');
  }
  for (const key of required) {
    if (optional.includes(key)) wrong('tokenAttributes', `annotation ${key} is both required and optional`);
  }
  return {
    audience,
    cacheType: t.cacheType === 'ServiceAccount' ? 'ServiceAccount' : 'Token',
    requireServiceAccount: t.requireServiceAccount === true,
    requiredAnnotations: required,
    optionalAnnotations: optional,
  };
}

/** A host of which each part may hold `*`, with a port and a path. */
function isImageGlob(text: string): boolean {
  return /^[^\s/:]+(:\d+)?(\/\S*)?$/.test(text);
}

function asObject(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function strings(value: unknown): string[] {
  return asList(value).filter((v) => typeof v === 'string');
}
