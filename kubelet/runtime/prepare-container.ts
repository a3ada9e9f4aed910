// Everything a container's configuration is made from: objects it refers to, files on the host, the image's user. What
// needs no sandbox is begun while the sandbox is being made, since that takes most of a pod's start.
import { rm } from 'node:fs/promises';
import type { ConfigMap, Secret } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { errorMessage } from '../../core/errors.ts';
import type { ContainerConfig, IDMapping, Image, ImageSpec } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import { grantedEnvironment, withGrant } from '../managers/grants.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import { ContainerConfigError } from './config-error.ts';
import { containerConfig } from './container-config.ts';
import { type EnvSources, envReferences, fileReferences, makeEnvironment } from './env.ts';
import { readEnvFile } from './env-file.ts';
import { type ImageLookup, ImagePuller } from './image-puller.ts';
import type { AnyContainer } from './labels.ts';
import { makeDevices, makeMounts, subPathRequests } from './mounts.ts';
import { createTerminationLog, ensureContainerLogDir } from './pod-files.ts';
import { findContainer, type PodRuntimeStatus } from './pod-runtime-status.ts';
import { type CredentialLookup, Keyring, keyringFromSecrets } from './registry-auth.ts';
import { podReference, type RuntimeDeps, type RuntimeSettings } from './runtime-deps.ts';
import { prepareSubPath } from './sub-path.ts';

/** An outcome that nobody has to await: a promise that cannot reject. */
type Outcome<T> = Promise<{ readonly value: T } | { readonly error: unknown }>;

interface References {
  readonly configMaps: ReadonlyMap<string, ConfigMap | undefined>;
  readonly secrets: ReadonlyMap<string, Secret | undefined>;
}

export interface ContainerPreparation {
  readonly lookedUp: Promise<ImageLookup> | undefined;
  readonly references: Outcome<References>;
  readonly files: Outcome<{ readonly restartCount: number; readonly terminationLogFile: string }>;
  /** A container is made with it, or was tried to: its files are that container's from now on. */
  inUse: boolean;
}

/**
 * Resolves when nothing of it goes on any more: files must not be made behind the back of who removes the pod. What was
 * made for no container is gone then: each pass over an image that cannot be had would leave another file.
 */
export async function settled(prepared: ContainerPreparation): Promise<void> {
  const [files] = await Promise.all([prepared.files, prepared.lookedUp, prepared.references]);
  if (prepared.inUse || 'error' in files) return;
  await rm(files.value.terminationLogFile, { force: true }).catch(() => undefined); // goes with the pod's directory
}

export interface FinishContext {
  readonly pod: Pod;
  readonly status: PodRuntimeStatus;
  /** Addresses of the sandbox; only looked at where a variable shows them (`showsPodAddresses`). */
  readonly ips: readonly string[];
  readonly etcHostsFile: Promise<string>;
  readonly runtimeHandler: string;
  /** Host ids of a pod with a user namespace of its own. */
  readonly userIds: IDMapping | undefined;
}

export class ContainerPreparer {
  readonly #settings: RuntimeSettings;
  readonly #deps: RuntimeDeps;
  readonly #puller: ImagePuller;

  constructor(settings: RuntimeSettings, deps: RuntimeDeps, puller: ImagePuller) {
    this.#settings = settings;
    this.#deps = deps;
    this.#puller = puller;
  }

  prepare(pod: Pod, container: AnyContainer, status: PodRuntimeStatus, signal: AbortSignal): ContainerPreparation {
    const image = container.image ?? '';
    const looksUp = ImagePuller.looksUp(image, container.imagePullPolicy);
    return {
      lookedUp: looksUp ? this.#puller.lookUp({ pod, image, keyring: () => this.keyring(pod), signal }) : undefined,
      references: outcome(this.#fetchReferences(pod, container)),
      files: outcome(this.#makeFiles(pod, container, status)),
      inUse: false,
    };
  }

  /** The rest, once there is a sandbox. @throws with the text of CreateContainerConfigError. */
  async finish(
    ctx: FinishContext,
    container: AnyContainer,
    image: { readonly imageRef: string; readonly image: Image | undefined },
    prepared: ContainerPreparation,
    images: ReadonlyMap<string, Init<ImageSpec>>,
  ): Promise<{ config: Init<ContainerConfig>; restartCount: number }> {
    const { pod, ips } = ctx;
    const settings = this.#settings;
    const targetId = targetContainerId(container, ctx.status);
    const { configMaps, secrets } = unwrap(await prepared.references);
    const volumes = this.#deps.volumesOf(pod.metadata?.uid ?? '') ?? new Map<string, MountedVolume>();
    const envFile = await readEnvFiles(container, volumes);
    const grant = await this.#deps.grant?.(pod, container.name);
    const own = makeEnvironment(pod, container, { ...this.#envSources(ips, configMaps, secrets), envFile });
    const env = grantedEnvironment(own, grant);
    const [files, etcHostsFile, subPaths] = await Promise.all([
      prepared.files.then(unwrap),
      ctx.etcHostsFile,
      this.#prepareSubPaths(pod, container, env, volumes, images),
    ]);
    const mounts = makeMounts({
      container,
      volumes,
      env,
      subPaths,
      images,
      etcHostsFile,
      terminationLogFile: files.terminationLogFile,
      supportsRecursiveReadOnly: this.#deps.supportsRecursiveReadOnly(ctx.runtimeHandler),
    });
    const { restartCount } = files;
    const { resources, security } = settings;
    const config = containerConfig({
      pod,
      container,
      restartCount,
      ...image,
      env,
      mounts,
      devices: makeDevices(container, volumes),
      cdiDevices: this.#deps.claims?.cdiDevices(pod, container) ?? [],
      targetId,
      userIds: ctx.userIds,
      volumeGroups: [...volumes.values()].flatMap((v) => v.gid ?? []),
      resources,
      security,
    });
    prepared.inUse = true;
    return { config: withGrant(config, grant), restartCount };
  }

  /** The pod's pull secrets, then what the node has. @throws {AgentError} PULL_SECRET_INVALID. */
  async keyring(pod: Pod): Promise<CredentialLookup> {
    const secrets = await this.#secretKeyring(pod);
    const { nodeCredentials } = this.#deps;
    if (nodeCredentials === undefined) return secrets;
    return { lookup: async (image) => [...secrets.lookup(image), ...(await nodeCredentials(image, pod))] };
  }

  /** A missing secret is reported and left out. */
  async #secretKeyring(pod: Pod): Promise<Keyring> {
    const names = (pod.spec?.imagePullSecrets ?? []).flatMap((s) => (s.name ? [s.name] : []));
    if (names.length === 0) return new Keyring([]);
    const namespace = pod.metadata?.namespace ?? '';
    const secrets = await Promise.all(names.map((n) => this.#deps.secret(namespace, n).catch(() => undefined)));
    const missing = names.filter((_, i) => secrets[i] === undefined);
    if (missing.length > 0) {
      const message = `Unable to retrieve some image pull secrets (${missing.join(', ')}); attempting to pull the image may not succeed.`;
      this.#deps.recorder.event(podReference(pod), 'Warning', 'FailedToRetrieveImagePullSecret', message);
    }
    return keyringFromSecrets(secrets.filter((s) => s !== undefined));
  }

  async #fetchReferences(pod: Pod, container: AnyContainer): Promise<References> {
    const namespace = pod.metadata?.namespace ?? '';
    const names = envReferences(container);
    const [configMaps, secrets] = await Promise.all([
      fetchAll(names.configMaps, (name) => this.#deps.configMap(namespace, name)),
      fetchAll(names.secrets, (name) => this.#deps.secret(namespace, name)),
    ]);
    return { configMaps, secrets };
  }

  async #makeFiles(pod: Pod, container: AnyContainer, status: PodRuntimeStatus) {
    const [fromLogs, terminationLogFile] = await Promise.all([
      ensureContainerLogDir(this.#settings, pod, container.name),
      createTerminationLog(this.#settings, pod.metadata?.uid ?? '', container.name),
    ]);
    const newest = findContainer(status, container.name);
    return { restartCount: newest === undefined ? fromLogs : newest.restartCount + 1, terminationLogFile };
  }

  async #prepareSubPaths(
    pod: Pod,
    container: AnyContainer,
    env: ReadonlyMap<string, string>,
    volumes: ReadonlyMap<string, MountedVolume>,
    images: ReadonlyMap<string, unknown>,
  ): Promise<ReadonlyMap<number, string>> {
    const uid = pod.metadata?.uid ?? '';
    const requests = subPathRequests(container, volumes, env, images);
    const paths = new Map<number, string>();
    for (const request of requests) {
      paths.set(request.index, await prepareSubPath(this.#settings.rootDir, uid, container.name, request, this.#deps));
    }
    return paths;
  }

  #envSources(
    podIps: readonly string[],
    configMaps: ReadonlyMap<string, ConfigMap | undefined>,
    secrets: ReadonlyMap<string, Secret | undefined>,
  ): Omit<EnvSources, 'envFile'> {
    const { services, nodeIps, nodeAllocatable } = this.#deps;
    return {
      configMap: (name) => configMaps.get(name),
      secret: (name) => secrets.get(name),
      services: services(),
      podIps: podIps.length > 0 ? podIps : nodeIps(), // a pod on the host's network has the node's addresses
      hostIps: nodeIps(),
      nodeAllocatable: nodeAllocatable(),
    };
  }
}

/** The container whose processes an ephemeral container wants to see, '' for none. @throws {ContainerConfigError} */
function targetContainerId(container: AnyContainer, status: PodRuntimeStatus): string {
  const name = 'targetContainerName' in container ? container.targetContainerName : undefined;
  if (!name) return '';
  const target = findContainer(status, name);
  if (target === undefined) throw new ContainerConfigError(`unable to find target container ${name}`);
  return target.id;
}

/** What the container's `fileKeyRef`s ask for, read once per file. */
async function readEnvFiles(
  container: AnyContainer,
  volumes: ReadonlyMap<string, MountedVolume>,
): Promise<NonNullable<EnvSources['envFile']>> {
  const texts = new Map<string, string | undefined>();
  const keyOf = (volumeName: string, file: string) => `${volumeName}/${file}`;
  for (const { volumeName, path: file } of fileReferences(container)) {
    const volume = volumes.get(volumeName);
    if (volume === undefined) {
      throw new ContainerConfigError(`cannot find the volume "${volumeName}" referenced by FileKeyRef`);
    }
    try {
      texts.set(keyOf(volumeName, file), await readEnvFile(volume, file));
    } catch (err) {
      throw new ContainerConfigError(`couldn't read env file "${file}": ${errorMessage(err)}`, err);
    }
  }
  return (volumeName, file) => texts.get(keyOf(volumeName, file));
}

async function fetchAll<T>(names: ReadonlySet<string>, fetch: (name: string) => Promise<T>): Promise<Map<string, T>> {
  return new Map(await Promise.all([...names].map(async (name) => [name, await fetch(name)] as const)));
}

function outcome<T>(promise: Promise<T>): Outcome<T> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
}

function unwrap<T>(result: { readonly value: T } | { readonly error: unknown }): T {
  if ('error' in result) throw result.error;
  return result.value;
}
