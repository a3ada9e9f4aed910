// The files of configMap, secret, downwardAPI and projected volumes. After pkg/volume/{configmap,secret,downwardapi,
// projected}; error texts reach users in FailedMount Events.
import type { ConfigMap, Secret } from '../../api/kinds.ts';
import type { DownwardAPIVolumeSource, KeyToPath, Pod, Volume } from '../../api/pod.ts';
import { AgentError, aggregateMessage, errorMessage } from '../../core/errors.ts';
import { fieldValue, type PodFieldFacts, resourceFieldValue } from '../runtime/field-ref.ts';
import { cleanPayloadPath, type Payload, type ProjectedFile } from './atomic-writer.ts';
import type { PodObjects } from './object-cache.ts';
import type { TokenManager } from './token-manager.ts';

export interface PayloadDeps {
  readonly objects: PodObjects;
  readonly tokens: Pick<TokenManager, 'token'>;
  readonly fieldFacts: (pod: Pod) => PodFieldFacts;
}

type Files = Map<string, ProjectedFile>;
type DownwardItems = NonNullable<DownwardAPIVolumeSource['items']>;
type ProjectedSources = NonNullable<NonNullable<Volume['projected']>['sources']>;

interface Request {
  readonly pod: Pod;
  readonly deps: PayloadDeps;
  readonly mode: number;
  readonly signal: AbortSignal;
}

const DEFAULT_MODE = 0o644;
const DEFAULT_TOKEN_SECONDS = 3600;

/** @throws {AgentError} with the text for the Event: object or key missing, path refused, no token. */
export async function buildPayload(pod: Pod, volume: Volume, deps: PayloadDeps, signal: AbortSignal): Promise<Payload> {
  const files: Files = new Map();
  const source = volume.configMap ?? volume.secret ?? volume.downwardAPI ?? volume.projected;
  const request: Request = { pod, deps, mode: source?.defaultMode ?? DEFAULT_MODE, signal };
  if (volume.configMap !== undefined) await addConfigMap(files, volume.configMap, request);
  else if (volume.secret !== undefined) {
    const { secretName, ...rest } = volume.secret;
    await addSecret(files, { ...rest, ...(secretName === undefined ? {} : { name: secretName }) }, request);
  } else if (volume.downwardAPI !== undefined) addDownward(files, volume.downwardAPI.items ?? [], request);
  else await addProjected(files, volume.projected?.sources ?? [], request);
  return files;
}

interface ObjectSource {
  readonly name?: string;
  readonly items?: readonly KeyToPath[];
  readonly optional?: boolean;
}

async function addConfigMap(files: Files, source: ObjectSource, request: Request): Promise<void> {
  const { name = '' } = source;
  const namespace = request.pod.metadata?.namespace ?? '';
  const found = await request.deps.objects.getConfigMap(namespace, name, request.signal);
  if (found === undefined && source.optional !== true) throw missing(`configmap "${name}" not found`);
  const missingKey = (key: string) => `configmap references non-existent config key: ${key}`;
  addKeys(files, configMapData(found), source, request.mode, missingKey);
}

async function addSecret(files: Files, source: ObjectSource, request: Request): Promise<void> {
  const { name = '' } = source;
  const namespace = request.pod.metadata?.namespace ?? '';
  const found = await request.deps.objects.getSecret(namespace, name, request.signal);
  if (found === undefined && source.optional !== true) throw missing(`secret "${name}" not found`);
  const missingKey = (key: string) => `references non-existent secret key: ${key}`;
  addKeys(files, secretData(found), source, request.mode, missingKey);
}

/** Keys → bytes; `data` wins over `binaryData`, though the API lets no key be in both. */
function configMapData(object: ConfigMap | undefined): Map<string, Uint8Array> {
  const data = new Map<string, Uint8Array>();
  for (const [key, text] of Object.entries(object?.binaryData ?? {})) data.set(key, Buffer.from(text, 'base64'));
  for (const [key, text] of Object.entries(object?.data ?? {})) data.set(key, Buffer.from(text, 'utf8'));
  return data;
}

function secretData(object: Secret | undefined): Map<string, Uint8Array> {
  return new Map(Object.entries(object?.data ?? {}).map(([key, text]) => [key, Buffer.from(text, 'base64')]));
}

function addKeys(
  files: Files,
  data: ReadonlyMap<string, Uint8Array>,
  source: ObjectSource,
  mode: number,
  missingKey: (key: string) => string,
): void {
  if (source.items === undefined || source.items.length === 0) {
    for (const [key, bytes] of data) put(files, key, { data: bytes, mode });
    return;
  }
  for (const item of source.items) {
    const bytes = data.get(item.key);
    if (bytes !== undefined) put(files, item.path, { data: bytes, mode: item.mode ?? mode });
    else if (source.optional !== true) throw missing(missingKey(item.key));
  }
}

function addDownward(files: Files, items: DownwardItems, request: Request): void {
  const { pod, deps, mode } = request;
  const facts = deps.fieldFacts(pod);
  for (const item of items) {
    let text = '';
    if (item.fieldRef !== undefined) text = downwardField(pod, item.fieldRef.fieldPath, facts);
    else if (item.resourceFieldRef !== undefined) {
      const self = pod.spec!.containers[0]!; // a volume has no container of its own; the API demands containerName
      text = resourceFieldValue(pod, self, item.resourceFieldRef, facts);
    }
    put(files, item.path, { data: Buffer.from(text, 'utf8'), mode: item.mode ?? mode });
  }
}

function downwardField(pod: Pod, fieldPath: string, facts: PodFieldFacts): string {
  if (fieldPath === 'metadata.labels') return formatMap(pod.metadata?.labels);
  if (fieldPath === 'metadata.annotations') return formatMap(pod.metadata?.annotations);
  return fieldValue(pod, fieldPath, facts);
}

/** `key="value"` lines, sorted, values quoted as Go quotes: JSON's escapes are the same for ordinary text. */
export function formatMap(map: Readonly<Record<string, string>> | undefined): string {
  return Object.keys(map ?? {})
    .sort()
    .map((key) => `${key}=${goQuote(map![key]!)}`)
    .join('\n');
}

const GO_ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
};

function goQuote(text: string): string {
  const escaped = text.replace(/["\\\p{Cc}]/gu, (c) => {
    const code = c.codePointAt(0)!;
    const hex = code.toString(16);
    return GO_ESCAPES[c] ?? (code < 0x80 ? `\\x${hex.padStart(2, '0')}` : `\\u${hex.padStart(4, '0')}`);
  });
  return `"${escaped}"`;
}

/** Later sources win; every source is tried, so that one Event names all faults. */
async function addProjected(files: Files, sources: ProjectedSources, request: Request): Promise<void> {
  const errors: string[] = [];
  for (const source of sources) {
    try {
      if (source.configMap !== undefined) await addConfigMap(files, source.configMap, request);
      else if (source.secret !== undefined) await addSecret(files, source.secret, request);
      else if (source.downwardAPI !== undefined) addDownward(files, source.downwardAPI.items ?? [], request);
      else if (source.serviceAccountToken !== undefined) await addToken(files, source.serviceAccountToken, request);
      else throw missing(`projected source ${Object.keys(source).join(', ')} is not supported`);
    } catch (err) {
      if (request.signal.aborted) throw err;
      errors.push(errorMessage(err));
    }
  }
  if (errors.length > 0) throw missing(aggregateMessage(errors));
}

async function addToken(
  files: Files,
  source: { readonly audience?: string; readonly expirationSeconds?: number; readonly path: string },
  request: Request,
): Promise<void> {
  const { pod, deps, mode, signal } = request;
  const token = await deps.tokens.token(
    {
      podName: pod.metadata?.name ?? '',
      podUid: pod.metadata?.uid ?? '',
      namespace: pod.metadata?.namespace ?? '',
      serviceAccount: pod.spec?.serviceAccountName || 'default',
      audience: source.audience ?? '',
      expirationSeconds: source.expirationSeconds ?? DEFAULT_TOKEN_SECONDS,
    },
    signal,
  );
  const uid = commonRunAsUser(pod);
  const hasFsGroup = pod.spec?.securityContext?.fsGroup !== undefined;
  put(files, source.path, {
    data: Buffer.from(token, 'utf8'),
    mode: hasFsGroup || uid !== undefined ? 0o600 : mode,
    ...(uid === undefined ? {} : { uid }),
  });
}

/** The user that all containers run as, when the spec says one and the same for each. */
export function commonRunAsUser(pod: Pod): number | undefined {
  const { containers = [], initContainers = [], ephemeralContainers = [] } = pod.spec ?? {};
  const users = [...containers, ...initContainers, ...ephemeralContainers].map(
    (c) => c.securityContext?.runAsUser ?? pod.spec?.securityContext?.runAsUser,
  );
  return users.every((u) => u === users[0]) ? users[0] : undefined;
}

/** Keys and paths come from API objects: checked here too, so that a bad one fails the volume before any write. */
function put(files: Files, name: string, file: ProjectedFile): void {
  files.set(cleanPayloadPath(name), file);
}

function missing(message: string): AgentError {
  return new AgentError(message, { code: 'VOLUME_CONTENT', retryable: true });
}
