// A container's environment: envFrom, env with expansion and references, service variables
// (pkg/kubelet/kubelet_pods.go makeEnvironmentVariables). Pure: the objects referred to are handed in.
import type { ConfigMap, Secret, Service } from '../../api/kinds.ts';
import type { EnvVar, EnvVarSource, Pod } from '../../api/pod.ts';
import { ContainerConfigError } from './config-error.ts';
import { type FileKeyRef, parseEnvFile } from './env-file.ts';
import { expandVariables } from './expand.ts';
import { fieldValue, ownValue, type PodFieldFacts, resourceFieldValue } from './field-ref.ts';
import type { AnyContainer } from './labels.ts';
import { serviceVariables } from './service-env.ts';

const MAX_FILE_KEY_LENGTH = 128;
const MAX_FILE_VALUE_BYTES = 32 * 1024;

export interface EnvSources extends PodFieldFacts {
  /** By name, in the pod's namespace; undefined when there is none. */
  configMap(name: string): ConfigMap | undefined;
  secret(name: string): Secret | undefined;
  /** Text of a file in a volume; undefined when there is none. Absent: no file was asked for. */
  readonly envFile?: (volumeName: string, path: string) => string | undefined;
  /** Undefined until the Services have been read once. */
  readonly services: readonly Service[] | undefined;
}

/** Files in volumes that `makeEnvironment` will ask for. */
export function fileReferences(container: AnyContainer): FileKeyRef[] {
  return (container.env ?? []).flatMap(({ value, valueFrom }) => {
    const ref = fileKeyRefOf(valueFrom);
    return value || ref === undefined ? [] : [ref];
  });
}

function fileKeyRefOf(from: EnvVarSource | undefined): FileKeyRef | undefined {
  return (from as { fileKeyRef?: FileKeyRef } | undefined)?.fileKeyRef;
}

/** Whether `makeEnvironment` will look at `podIps`. */
export function showsPodAddresses(container: AnyContainer): boolean {
  return (container.env ?? []).some((v) => /^status\.podIPs?$/.test(v.valueFrom?.fieldRef?.fieldPath ?? ''));
}

/** Names of the objects that `makeEnvironment` will ask for. */
export function envReferences(container: AnyContainer): { configMaps: Set<string>; secrets: Set<string> } {
  const configMaps = new Set<string>();
  const secrets = new Set<string>();
  for (const { configMapRef, secretRef } of container.envFrom ?? []) {
    if (configMapRef?.name) configMaps.add(configMapRef.name);
    if (secretRef?.name) secrets.add(secretRef.name);
  }
  for (const { value, valueFrom } of container.env ?? []) {
    if (value) continue;
    if (valueFrom?.configMapKeyRef?.name) configMaps.add(valueFrom.configMapKeyRef.name);
    if (valueFrom?.secretKeyRef?.name) secrets.add(valueFrom.secretKeyRef.name);
  }
  return { configMaps, secrets };
}

/** @throws {ContainerConfigError} for what the container cannot be created without. */
export function makeEnvironment(pod: Pod, container: AnyContainer, sources: EnvSources): Map<string, string> {
  const links = pod.spec?.enableServiceLinks ?? true;
  // A static pod may be what makes the API server run: it does not wait for it.
  const known = sources.services ?? (isStatic(pod) ? [] : undefined);
  if (known === undefined) {
    throw new ContainerConfigError('services have not yet been read at least once, cannot construct envvars');
  }
  const services = serviceVariables(known, pod.metadata?.namespace ?? '', links);
  const env = new Map<string, string>();
  addEnvFrom(env, pod, container, sources);
  for (const variable of container.env ?? []) {
    const value = variableValue(pod, container, variable, env, services, sources);
    if (value !== undefined) env.set(variable.name, value);
  }
  for (const [name, value] of services) if (!env.has(name)) env.set(name, value);
  return env;
}

function isStatic(pod: Pod): boolean {
  return (pod.metadata?.annotations?.['kubernetes.io/config.source'] ?? 'api') !== 'api';
}

function addEnvFrom(env: Map<string, string>, pod: Pod, container: AnyContainer, sources: EnvSources): void {
  const namespace = pod.metadata?.namespace ?? '';
  for (const from of container.envFrom ?? []) {
    const prefix = from.prefix ?? '';
    if (from.configMapRef !== undefined) {
      const { name = '', optional } = from.configMapRef;
      const object = sources.configMap(name);
      if (object === undefined && !optional) throw notFound('configmap', name);
      for (const [key, value] of Object.entries(object?.data ?? {})) env.set(prefix + key, value);
    } else if (from.secretRef !== undefined) {
      const { name = '', optional } = from.secretRef;
      const object = sources.secret(name);
      if (object === undefined && !optional) throw notFound('secret', name);
      for (const [key, value] of Object.entries(object?.data ?? {})) env.set(prefix + key, decodeBase64(value));
    } else {
      throw new ContainerConfigError(
        `envFrom of container ${container.name} in namespace ${namespace} names no source`,
      );
    }
  }
}

/** Undefined: an optional source that is not there leaves the variable out. */
function variableValue(
  pod: Pod,
  container: AnyContainer,
  variable: EnvVar,
  env: ReadonlyMap<string, string>,
  services: ReadonlyMap<string, string>,
  sources: EnvSources,
): string | undefined {
  if (variable.value) return expandVariables(variable.value, (name) => env.get(name) ?? services.get(name));
  if (variable.valueFrom === undefined) return '';
  return referencedValue(pod, container, variable.valueFrom, sources);
}

function referencedValue(
  pod: Pod,
  container: AnyContainer,
  from: EnvVarSource,
  sources: EnvSources,
): string | undefined {
  const namespace = pod.metadata?.namespace ?? '';
  if (from.fieldRef !== undefined) return fieldValue(pod, from.fieldRef.fieldPath, sources);
  if (from.resourceFieldRef !== undefined) return resourceFieldValue(pod, container, from.resourceFieldRef, sources);
  if (from.configMapKeyRef !== undefined) {
    const { name = '', key, optional } = from.configMapKeyRef;
    const object = sources.configMap(name);
    const value = ownValue(object?.data, key);
    if (value !== undefined || optional) return value;
    if (object === undefined) throw notFound('configmap', name);
    throw new ContainerConfigError(`couldn't find key ${key} in ConfigMap ${namespace}/${name}`);
  }
  if (from.secretKeyRef !== undefined) {
    const { name = '', key, optional } = from.secretKeyRef;
    const object = sources.secret(name);
    const value = ownValue(object?.data, key);
    if (value !== undefined) return decodeBase64(value);
    if (optional) return undefined;
    if (object === undefined) throw notFound('secret', name);
    throw new ContainerConfigError(`couldn't find key ${key} in Secret ${namespace}/${name}`);
  }
  const file = fileKeyRefOf(from);
  if (file !== undefined) return fileValue(file, sources);
  throw new ContainerConfigError(`env of container ${container.name} has a source of an unknown kind`);
}

/** An empty value counts as none. */
function fileValue({ volumeName, path, key, optional }: FileKeyRef, sources: EnvSources): string | undefined {
  if (key.length > MAX_FILE_KEY_LENGTH) {
    throw new ContainerConfigError(
      `environment variable key "${key}" exceeds maximum length of ${MAX_FILE_KEY_LENGTH} characters`,
    );
  }
  let value: string | undefined;
  try {
    value = parseEnvFile(sources.envFile?.(volumeName, path) ?? '', key);
  } catch (err) {
    if (err instanceof ContainerConfigError) throw err;
    throw new ContainerConfigError("couldn't parse env file", err);
  }
  if (Buffer.byteLength(value ?? '') > MAX_FILE_VALUE_BYTES) {
    throw new ContainerConfigError(`environment variable value for key "${key}" exceeds maximum size of 32KB`);
  }
  if (value) return value;
  if (optional) return undefined;
  throw new ContainerConfigError(`environment variable key "${key}" not found in file "${path}"`);
}

function notFound(kind: 'configmap' | 'secret', name: string): ContainerConfigError {
  return new ContainerConfigError(`${kind} "${name}" not found`);
}

function decodeBase64(value: string): string {
  return Buffer.from(value, 'base64').toString('utf8');
}
