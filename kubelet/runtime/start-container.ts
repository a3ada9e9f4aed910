// Starting one container: image, configuration, create, start, postStart hook; and what users see when a step fails
// (pkg/kubelet/kuberuntime/kuberuntime_container.go startContainer).
import path from 'node:path';
import type { ObjectReference } from '../../api/kinds.ts';
import { type Pod, podDescription } from '../../api/pod.ts';
import { errnoOf, errorMessage } from '../../core/errors.ts';
import type { ContainerConfig, IDMapping, PodSandboxConfig } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import type { Seldom } from '../metrics/seldom-metrics.ts';
import { resizableContainers, sameResources } from '../resize/pod-allocation.ts';
import { containerHash } from './container-hash.ts';
import { showsPodAddresses } from './env.ts';
import { runHook } from './hooks.ts';
import type { ImageLookup, ImagePuller } from './image-puller.ts';
import { type ImageVolume, imagesOf, pullImageVolumes } from './image-volumes.ts';
import type { PodKiller } from './kill-pod.ts';
import type { AnyContainer } from './labels.ts';
import { type EtcHosts, linkContainerLog } from './pod-files.ts';
import { containerLogPath, legacyLogLink } from './pod-paths.ts';
import { findContainer, type PodRuntimeStatus, type RuntimeContainer } from './pod-runtime-status.ts';
import type { PodStatusReader } from './pod-status-reader.ts';
import { type ContainerPreparation, ContainerPreparer, settled } from './prepare-container.ts';
import { withoutRuncFaults } from './runc-faults.ts';
import { podReference, type RuntimeDeps, type RuntimeSettings } from './runtime-deps.ts';
import type { ContainerStartFailure } from './runtime-manager.ts';

type ImageVolumeCount = Extract<Seldom, `kubelet_image_volume_${string}`>;

export interface StartContext {
  readonly pod: Pod;
  readonly status: PodRuntimeStatus;
  readonly sandboxId: string;
  readonly sandboxConfig: Init<PodSandboxConfig>;
  readonly runtimeHandler: string;
  /** Of the sandbox, which may still be asked for them; none on the host's network. */
  readonly addresses: Promise<readonly string[]>;
  readonly etcHosts: EtcHosts;
  /** Host ids of a pod with a user namespace of its own. */
  readonly userIds: IDMapping | undefined;
  /** Volumes that the runtime mounts itself, by name. */
  readonly imageVolumes: ReadonlyMap<string, ImageVolume>;
  readonly signal: AbortSignal;
  /** Gets what neither the next container nor the pod's status need wait for. Never rejects. */
  readonly unfinished: Promise<void>[];
}

export interface ContainerStarterParts {
  readonly puller: ImagePuller;
  readonly killer: PodKiller;
  readonly reader: Pick<PodStatusReader, 'expectContainer'>;
}

type Failure = Omit<ContainerStartFailure, 'container'>;

/** A step that failed; caught in `start` and nowhere else. */
class StartStepError extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

export class ContainerStarter {
  readonly #settings: RuntimeSettings;
  readonly #deps: RuntimeDeps;
  readonly #puller: ImagePuller;
  readonly #killer: PodKiller;
  readonly #reader: Pick<PodStatusReader, 'expectContainer'>;
  readonly #preparer: ContainerPreparer;

  constructor(settings: RuntimeSettings, deps: RuntimeDeps, parts: ContainerStarterParts) {
    this.#settings = settings;
    this.#deps = deps;
    this.#puller = parts.puller;
    this.#killer = parts.killer;
    this.#reader = parts.reader;
    this.#preparer = new ContainerPreparer(settings, deps, parts.puller);
  }

  /** Work that needs no sandbox, begun early. Whoever does not hand it to `start` awaits `settled`. */
  prepare(pod: Pod, container: AnyContainer, status: PodRuntimeStatus, signal: AbortSignal): ContainerPreparation {
    return this.#preparer.prepare(pod, container, status, signal);
  }

  /** Images that the pod mounts as volumes; to be had before its containers start. */
  pullImageVolumes(
    pod: Pod,
    sandboxConfig: Init<PodSandboxConfig>,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, ImageVolume>> {
    const keyring = (p: Pod) => this.#preparer.keyring(p);
    const deps = { puller: this.#puller, keyring, missing: this.#deps.imageVolumesMissing };
    return pullImageVolumes(pod, sandboxConfig, deps, signal);
  }

  /** Undefined when the container started. Never throws for what a pod can cause. */
  async start(
    ctx: StartContext,
    container: AnyContainer,
    prepared = this.prepare(ctx.pod, container, ctx.status, ctx.signal),
  ): Promise<ContainerStartFailure | undefined> {
    const about = podReference(ctx.pod, container);
    try {
      const resumed = createdBefore(ctx, container);
      const started =
        resumed === undefined
          ? await this.#createAndStart(ctx, container, about, prepared)
          : await this.#resume(ctx, container, about, resumed);
      this.#deps.recorder.event(about, 'Normal', 'Started', 'Container started');
      await this.#afterStart(ctx, container, about, started);
      this.#deps.observer?.containerStarted(ctx.pod, container.name);
      return undefined;
    } catch (err) {
      if (!(err instanceof StartStepError)) throw err;
      this.#deps.observer?.containerStarted(ctx.pod, container.name, err.failure.reason);
      return { container: container.name, ...err.failure };
    } finally {
      await settled(prepared);
    }
  }

  /** The agent died between create and start: the container is there and only has to be started. */
  async #resume(ctx: StartContext, container: AnyContainer, about: ObjectReference, resumed: RuntimeContainer) {
    await this.#hostsWritten(ctx, about);
    try {
      await this.#start(resumed.id);
    } catch (err) {
      throw this.#failed(about, 'RunContainerError', errorMessage(err).replaceAll(resumed.id, container.name));
    }
    return { id: resumed.id, restartCount: resumed.restartCount };
  }

  async #createAndStart(
    ctx: StartContext,
    container: AnyContainer,
    about: ObjectReference,
    prepared: ContainerPreparation,
  ): Promise<{ id: string; restartCount: number }> {
    const { images, failures } = imagesOf(container, ctx.imageVolumes, this.#deps.imageVolumesMissing);
    for (const { message } of failures) this.#deps.recorder.event(about, 'Warning', 'Failed', `Error: ${message}`);
    const failure = failures.at(-1);
    const count = (what: ImageVolumeCount, times: number) => times > 0 && this.#deps.observer?.counted(what, times);
    count('kubelet_image_volume_requested_total', images.size + failures.length);
    count('kubelet_image_volume_mounted_errors_total', failures.length);
    if (failure !== undefined) throw new StartStepError(failure);
    const image = await this.#ensureImage(ctx, container, about, prepared.lookedUp);
    const ips = showsPodAddresses(container) ? await ctx.addresses : [];
    let made: { config: Init<ContainerConfig>; restartCount: number };
    try {
      const finishing = { ...ctx, ips, etcHostsFile: ctx.etcHosts.file };
      made = await this.#preparer.finish(finishing, container, image, prepared, images);
    } catch (err) {
      ctx.signal.throwIfAborted();
      throw this.#failed(about, 'CreateContainerConfigError', errorMessage(err));
    }
    await this.#recordResources(ctx.pod, container);
    const id = await withoutRuncFaults(async (isLastTry) => {
      const created = await this.#create(ctx, made.config, about);
      await this.#hostsWritten(ctx, about);
      ctx.signal.throwIfAborted();
      try {
        await this.#start(created);
        return created;
      } catch (err) {
        // Another try needs the name: the failed one, in which nothing of the pod's ever ran, makes way.
        if (!isLastTry(err)) await this.#deps.runtime.removeContainer(created, { signal: ctx.signal });
        throw new StartFailed(err, created);
      }
    }).catch((err: unknown) => {
      count('kubelet_image_volume_mounted_errors_total', images.size);
      if (!(err instanceof StartFailed)) throw err;
      const text = errorMessage(err.cause).replaceAll(err.containerId, container.name);
      throw this.#failed(about, 'RunContainerError', text);
    });
    count('kubelet_image_volume_mounted_succeed_total', images.size);
    return { id, restartCount: made.restartCount };
  }

  async #hostsWritten({ etcHosts }: StartContext, about: ObjectReference): Promise<void> {
    try {
      await etcHosts.written;
    } catch (err) {
      if (errnoOf(err) === undefined) throw err; // there is no address to write, which has been told
      throw this.#failed(about, 'CreateContainerConfigError', errorMessage(err)); // e.g. no space left on device
    }
  }

  /**
   * Not cut off when the pod is to end or the agent to stop: the runtime would write down, as how the container ended,
   * that it could not be started. It takes moments, and the call has a deadline of its own.
   */
  async #start(containerId: string): Promise<void> {
    await this.#deps.runtime.startContainer(containerId);
  }

  /**
   * What the container is about to be made to use. Only where something else is known of it (it was resized) this has to
   * be on disk first: another agent would take the new instance for the old one and start it once more.
   */
  async #recordResources(pod: Pod, container: AnyContainer): Promise<void> {
    const { actuated } = this.#deps.resizing ?? {};
    const spec = resizableContainers(pod).find((c) => c.name === container.name);
    if (actuated === undefined || spec === undefined) return;
    const uid = pod.metadata?.uid ?? '';
    const resources = spec.resources ?? {};
    const before = actuated.container(uid, container.name);
    if (before !== undefined && sameResources(before, resources)) return;
    actuated.setContainer(uid, container.name, resources);
    if (before !== undefined) await actuated.save();
  }

  async #ensureImage(
    ctx: StartContext,
    container: AnyContainer,
    about: ObjectReference,
    lookedUp: Promise<ImageLookup> | undefined,
  ) {
    const result = await this.#puller.ensureImage({
      pod: ctx.pod,
      about,
      image: container.image ?? '',
      pullPolicy: container.imagePullPolicy,
      sandboxConfig: ctx.sandboxConfig,
      keyring: () => this.#preparer.keyring(ctx.pod),
      lookedUp,
      signal: ctx.signal,
    });
    if ('imageRef' in result) return result;
    this.#deps.recorder.event(about, 'Warning', 'Failed', `Error: ${result.reason}`);
    throw new StartStepError(result);
  }

  async #create(ctx: StartContext, config: Init<ContainerConfig>, about: ObjectReference): Promise<string> {
    try {
      const opts = { signal: ctx.signal };
      const id = await this.#deps.runtime.createContainer(ctx.sandboxId, config, ctx.sandboxConfig, opts);
      this.#reader.expectContainer(ctx.pod.metadata?.uid ?? '', id);
      this.#deps.recorder.event(about, 'Normal', 'Created', 'Container created');
      return id;
    } catch (err) {
      ctx.signal.throwIfAborted(); // cut off by us
      throw this.#failed(about, 'CreateContainerError', errorMessage(err));
    }
  }

  async #afterStart(
    ctx: StartContext,
    container: AnyContainer,
    about: ObjectReference,
    started: { id: string; restartCount: number },
  ): Promise<void> {
    const { namespace = '', name = '' } = ctx.pod.metadata ?? {};
    const ids = { podName: name, podNamespace: namespace, containerName: container.name, containerId: started.id };
    const link = legacyLogLink(this.#settings, ids);
    const logFile = path.join(
      ctx.sandboxConfig.logDirectory ?? '',
      containerLogPath(container.name, started.restartCount),
    );
    const linked = linkContainerLog(link, logFile).catch((err: unknown) => {
      this.#deps.log.warn({ err, link }, 'log link not made');
    });
    ctx.unfinished.push(linked);
    const postStart = container.lifecycle?.postStart;
    if (postStart !== undefined) await this.#postStart(ctx, container, about, started.id, postStart);
  }

  async #postStart(
    ctx: StartContext,
    container: AnyContainer,
    about: ObjectReference,
    containerId: string,
    handler: NonNullable<NonNullable<AnyContainer['lifecycle']>['postStart']>,
  ): Promise<void> {
    const target = {
      handler,
      containerName: container.name,
      containerId,
      podDescription: podDescription(ctx.pod),
      about: podReference(ctx.pod),
      podIp: (await ctx.addresses)[0] ?? '',
      ports: container.ports ?? [],
    };
    ctx.signal.throwIfAborted();
    try {
      await runHook(target, this.#deps, ctx.signal);
    } catch (err) {
      if (ctx.signal.aborted) throw err; // cut off by us: whoever ends the pod stops the container
      this.#deps.recorder.event(about, 'Warning', 'FailedPostStartHook', 'PostStartHook failed');
      await this.#killAfterHook(ctx, container, containerId);
      throw new StartStepError({ reason: 'PostStartHookError', message: errorMessage(err) });
    }
  }

  async #killAfterHook(ctx: StartContext, container: AnyContainer, containerId: string): Promise<void> {
    try {
      const cri = await this.#deps.runtime.containerStatus(containerId);
      const running = { id: containerId, name: container.name, cri } as RuntimeContainer;
      const { pod, status } = ctx;
      await this.#killer.killContainer({
        pod,
        status,
        container: running,
        message: 'FailedPostStartHook',
        reason: 'other',
      });
    } catch (err) {
      this.#deps.log.error({ err, containerId }, 'container not killed after its postStart hook failed');
    }
  }

  #failed(about: ObjectReference, reason: string, message: string): StartStepError {
    this.#deps.recorder.event(about, 'Warning', 'Failed', `Error: ${message}`);
    return new StartStepError({ reason, message });
  }
}

class StartFailed extends Error {
  readonly containerId: string;

  constructor(cause: unknown, containerId: string) {
    super(errorMessage(cause), { cause });
    this.containerId = containerId;
  }
}

/** The newest instance if it was created in this very sandbox and never started. */
function createdBefore(ctx: StartContext, container: AnyContainer): RuntimeContainer | undefined {
  const newest = findContainer(ctx.status, container.name);
  const usable = newest?.state === 'created' && newest.sandboxId === ctx.sandboxId;
  return usable && newest.hash === containerHash(container) ? newest : undefined;
}
