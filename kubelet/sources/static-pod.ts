// From the text of a manifest to a pod that this node runs by itself. Pure. After pkg/kubelet/config/common.go.
import { hash } from 'node:crypto';
import { type DocumentOptions, type ParseOptions, parseAllDocuments, type SchemaOptions, type Tags } from 'yaml';
import type { Pod } from '../../api/pod.ts';
import { apiReference } from '../../api/pod-references.ts';
import { AgentError, isAgentError } from '../../core/errors.ts';

export interface StaticPodOrigin {
  readonly source: 'file' | 'http';
  /** The file's path, or the URL. */
  readonly where: string;
  readonly nodeName: string;
  /** Asked for the uid of a pod (`NAME_NAMESPACE`) whose manifest names none; without it that is `contentUid`. */
  readonly uidOf?: (fullName: string, contentUid: string) => string;
}

/** What the API does with every pod, and what static pods need as well. */
export interface PodRules {
  /** Drops what no pod has, in place. @throws for a value of another type than its field has, naming the field. */
  readonly checkTypes: (pod: Pod) => void;
  /** Fills in the defaults, in place. */
  readonly setDefaults: (pod: Pod) => void;
  /** Everything that is wrong, each with the path of its field. */
  readonly faultsOf: (pod: Pod) => readonly string[];
}

interface Manifest {
  readonly apiVersion?: unknown;
  readonly kind?: unknown;
  readonly items?: unknown;
}

export const HASH_ANNOTATION = 'kubernetes.io/config.hash';

/**
 * The pods of a manifest; a list of pods is for URLs only.
 * @throws {AgentError} STATIC_POD_INVALID naming where it stands and the field.
 */
export function decodeStaticPods(text: string, origin: StaticPodOrigin, rules: PodRules): Pod[] {
  try {
    return podsOf(text, origin, rules);
  } catch (cause) {
    if (isAgentError(cause, 'STATIC_POD_INVALID')) throw cause;
    // A manifest may hold anything, at any place.
    throw invalid(origin, `cannot be read: ${(cause as Error).message}`, cause);
  }
}

function podsOf(text: string, origin: StaticPodOrigin, rules: PodRules): Pod[] {
  const object = parseManifest(text, origin);
  if (object.kind === 'Pod') return [makeStaticPod(object as Pod, origin, rules)];
  const isList = object.kind === 'PodList' || object.kind === 'List';
  if (isList && origin.source === 'http' && Array.isArray(object.items)) {
    return object.items.map((item) => makeStaticPod(item as Pod, origin, rules));
  }
  throw invalid(origin, `expected kind Pod, got ${JSON.stringify(object.kind)}`);
}

/**
 * YAML as upstream's parser reads it (sigs.k8s.io/yaml, which is YAML 1.1 less its times): `0644` is octal, `yes` and `on`
 * are true, of two equal keys the later one counts.
 */
const AS_UPSTREAM: ParseOptions & DocumentOptions & SchemaOptions = {
  version: '1.1',
  uniqueKeys: false,
  customTags: (tags: Tags) =>
    tags.filter(
      (tag) => typeof tag === 'string' || (!('format' in tag && tag.format === 'TIME') && !isTimestamp(tag.tag)),
    ),
};

function isTimestamp(tag: string): boolean {
  return tag === 'tag:yaml.org,2002:timestamp';
}

/** What follows the first document is not looked at, as upstream does not. */
function parseManifest(text: string, origin: StaticPodOrigin): Manifest {
  let object: unknown;
  try {
    const [document] = parseAllDocuments(text, AS_UPSTREAM);
    const [error] = document?.errors ?? [];
    if (error !== undefined) throw error;
    object = document?.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw invalid(origin, `is neither YAML nor JSON: ${(cause as Error).message.split('\n')[0]}`, cause);
  }
  if (object === null || object === undefined) throw invalid(origin, 'is empty');
  if (typeof object !== 'object' || Array.isArray(object)) throw invalid(origin, 'is no object');
  if ((object as Manifest).apiVersion !== 'v1') throw invalid(origin, 'apiVersion: expected v1');
  return object;
}

function makeStaticPod(decoded: Pod, origin: StaticPodOrigin, rules: PodRules): Pod {
  const { source, where, nodeName, uidOf } = origin;
  const pod = structuredClone(decoded);
  rules.checkTypes(pod);
  if (typeof pod.metadata !== 'object' || !pod.metadata?.name) throw invalid(origin, 'name is needed for the pod');
  if (typeof pod.spec !== 'object' || pod.spec === null) throw invalid(origin, 'spec: Required value');
  const metadata = { ...pod.metadata };
  metadata.name = `${metadata.name}-${nodeName.toLowerCase()}`;
  metadata.namespace ||= 'default';
  if (!metadata.uid) {
    const uid = contentUid(decoded, source === 'file' ? [`host:${nodeName}`, `file:${where}`] : [`url:${where}`]);
    metadata.uid = uidOf?.(`${metadata.name}_${metadata.namespace}`, uid) ?? uid;
  }
  metadata.annotations = { ...metadata.annotations, [HASH_ANNOTATION]: metadata.uid };
  const tolerations = [...(pod.spec.tolerations ?? [])];
  if (source === 'file') tolerations.push({ operator: 'Exists', effect: 'NoExecute' });
  const made: Pod = {
    ...pod,
    metadata,
    spec: { ...pod.spec, nodeName, ...(tolerations.length === 0 ? {} : { tolerations }) },
    status: { phase: 'Pending' },
  };
  const misnamed = metadataFault(made);
  if (misnamed !== undefined) throw invalid(origin, misnamed);
  const reference = apiReference(made.spec!);
  if (reference !== undefined) throw invalid(origin, `static pods may not reference ${reference}`);
  rules.setDefaults(made);
  const faults = rules.faultsOf(made);
  if (faults.length > 0) throw invalid(origin, faults.join(', '));
  return made;
}

/** Names and uid become names of files and cgroups. */
function metadataFault({ metadata }: Pod): string | undefined {
  const { name, namespace, uid } = metadata!;
  if (typeof name !== 'string' || name.length > 253 || !/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name)) {
    return `metadata.name: Invalid value: ${JSON.stringify(name)}: expected a lowercase RFC 1123 subdomain`;
  }
  if (typeof namespace !== 'string' || namespace.length > 63 || !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(namespace)) {
    return `metadata.namespace: Invalid value: ${JSON.stringify(namespace)}: expected a lowercase RFC 1123 label`;
  }
  if (typeof uid !== 'string' || !/^[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?$/.test(uid)) {
    return `metadata.uid: Invalid value: ${JSON.stringify(uid)}: expected letters, digits and dashes`;
  }
  return undefined;
}

/** The same content at the same place on the same node has the same uid, over restarts too. 32 hex digits. */
function contentUid(decoded: Pod, place: readonly string[]): string {
  return hash('sha256', [canonical(decoded), ...place].join('\n'), 'hex').slice(0, 32);
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) =>
    typeof v === 'object' && v !== null && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );
}

function invalid({ source, where }: StaticPodOrigin, what: string, cause?: unknown): AgentError {
  return new AgentError(`static pod ${source} ${where}: invalid pod: ${what}`, {
    code: 'STATIC_POD_INVALID',
    hint: 'mend the manifest; it is read again when it changes',
    ...(cause === undefined ? {} : { cause }),
  });
}
