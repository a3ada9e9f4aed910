// The container runtime over CRI on its unix socket (kubernetes/cri-client pkg). Every call has a deadline.
import { linkedSignal } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { containerdEvents, containerdImageChanges } from './containerd-events.ts';
import { deleteTask, isLostTask } from './containerd-tasks.ts';
import { CriError, isCriError } from './errors.ts';
import type * as msg from './gen/messages.ts';
import { methodOf, RpcChannel } from './rpc.ts';
import type {
  CriCallOptions,
  ExecSyncResult,
  ImageEvents,
  ImageService,
  Init,
  RuntimeEvent,
  RuntimeService,
} from './runtime-service.ts';

const RUNTIME = 'runtime.v1.RuntimeService';
const IMAGE = 'runtime.v1.ImageService';
const GET_EVENTS = methodOf(RUNTIME, 'GetContainerEvents', 'GetEventsRequest', 'ContainerEventResponse');

const EVENT_TYPES: Readonly<Record<msg.ContainerEventType, RuntimeEvent['type']>> = {
  CONTAINER_CREATED_EVENT: 'created',
  CONTAINER_STARTED_EVENT: 'started',
  CONTAINER_STOPPED_EVENT: 'stopped',
  CONTAINER_DELETED_EVENT: 'deleted',
};

/** How long CRI may take to show what containerd's stream has told, ms: on a node without a free processor, many seconds. */
const CONFIRM_LIMIT_MS = 60_000;
const CONFIRM_MAX_WAIT_MS = 1_000;

export interface RemoteRuntimeOptions {
  /** `unix:///run/containerd/containerd.sock`, or a path. */
  readonly endpoint: string;
  /** Where images are asked for and pulled, when that is somewhere else. */
  readonly imageEndpoint?: string;
  /** KubeletConfiguration.runtimeRequestTimeout, ms; 2 min upstream. */
  readonly requestTimeoutMs: number;
}

/** Told about every call once it has ended. */
export type CallObserver = (operation: string, tookSeconds: number, failed: boolean) => void;

abstract class CriService {
  readonly #service: string;
  readonly #observe: CallObserver;
  protected readonly channel: RpcChannel;
  protected readonly timeoutMs: number;

  constructor(service: string, channel: RpcChannel, timeoutMs: number, observe: CallObserver) {
    this.#service = service;
    this.channel = channel;
    this.timeoutMs = timeoutMs;
    this.#observe = observe;
  }

  /** `timeoutMs` undefined: no deadline. `operation` is upstream's name of the call in metrics. */
  protected async call<T>(
    name: string,
    operation: string,
    request: object,
    opts: CriCallOptions | undefined,
    timeoutMs: number | undefined = this.timeoutMs,
  ): Promise<T> {
    const startMs = performance.now();
    let failed = true;
    try {
      const limit = timeoutMs === Number.POSITIVE_INFINITY ? undefined : timeoutMs;
      const response = await this.channel.call<T>(methodOf(this.#service, name), request, limit, opts?.signal);
      failed = false;
      return response;
    } finally {
      this.#observe(operation, (performance.now() - startMs) / 1000, failed);
    }
  }
}

class RemoteRuntime extends CriService implements RuntimeService {
  readonly #clock: Clock;

  constructor(channel: RpcChannel, timeoutMs: number, observe: CallObserver, clock: Clock) {
    super(RUNTIME, channel, timeoutMs, observe);
    this.#clock = clock;
  }

  version(opts?: CriCallOptions): Promise<msg.VersionResponse> {
    return this.call('Version', 'version', { version: '0.1.0' }, opts);
  }

  status(verbose: boolean, opts?: CriCallOptions): Promise<msg.StatusResponse> {
    return this.call('Status', 'status', { verbose }, opts);
  }

  runtimeConfig(opts?: CriCallOptions): Promise<msg.RuntimeConfigResponse> {
    return this.call('RuntimeConfig', 'runtime_config', {}, opts);
  }

  async updateRuntimeConfig(podCidr: string, opts?: CriCallOptions): Promise<void> {
    const request = { runtimeConfig: { networkConfig: { podCidr } } };
    await this.call('UpdateRuntimeConfig', 'update_runtime_config', request, opts);
  }

  async runPodSandbox(
    config: Init<msg.PodSandboxConfig>,
    runtimeHandler: string,
    opts?: CriCallOptions,
  ): Promise<string> {
    const request = { config, runtimeHandler };
    // Twice the ordinary time: the network plugin is part of it.
    const r = await this.call<msg.RunPodSandboxResponse>(
      'RunPodSandbox',
      'run_podsandbox',
      request,
      opts,
      this.timeoutMs * 2,
    );
    if (r.podSandboxId === '') throw new CriError('RunPodSandbox', 'UNKNOWN', 'PodSandboxId is not set for sandbox');
    return r.podSandboxId;
  }

  async stopPodSandbox(podSandboxId: string, opts?: CriCallOptions): Promise<void> {
    await notFoundIsFine(this.call('StopPodSandbox', 'stop_podsandbox', { podSandboxId }, opts));
  }

  async removePodSandbox(podSandboxId: string, opts?: CriCallOptions): Promise<void> {
    await notFoundIsFine(this.call('RemovePodSandbox', 'remove_podsandbox', { podSandboxId }, opts));
  }

  async podSandboxStatus(podSandboxId: string, opts?: CriCallOptions): Promise<msg.PodSandboxStatus> {
    const request = { podSandboxId };
    const r = await this.call<msg.PodSandboxStatusResponse>('PodSandboxStatus', 'podsandbox_status', request, opts);
    if (r.status === undefined)
      throw new CriError('PodSandboxStatus', 'UNKNOWN', `no status of sandbox ${podSandboxId}`);
    return r.status;
  }

  async listPodSandboxes(filter?: Init<msg.PodSandboxFilter>, opts?: CriCallOptions): Promise<msg.PodSandbox[]> {
    const r = await this.call<msg.ListPodSandboxResponse>('ListPodSandbox', 'list_podsandbox', { filter }, opts);
    return r.items;
  }

  async createContainer(
    podSandboxId: string,
    config: Init<msg.ContainerConfig>,
    sandboxConfig: Init<msg.PodSandboxConfig>,
    opts?: CriCallOptions,
  ): Promise<string> {
    const request = { podSandboxId, config, sandboxConfig };
    const r = await this.call<msg.CreateContainerResponse>('CreateContainer', 'create_container', request, opts);
    if (r.containerId === '') throw new CriError('CreateContainer', 'UNKNOWN', 'ContainerId is not set for container');
    return r.containerId;
  }

  async startContainer(containerId: string, opts?: CriCallOptions): Promise<void> {
    await this.call('StartContainer', 'start_container', { containerId }, opts);
  }

  async stopContainer(containerId: string, graceSeconds: number, opts?: CriCallOptions): Promise<void> {
    const limitMs = this.timeoutMs + graceSeconds * 1000;
    const request = { containerId, timeout: graceSeconds };
    await notFoundIsFine(this.call('StopContainer', 'stop_container', request, opts, limitMs));
  }

  async removeContainer(containerId: string, opts?: CriCallOptions): Promise<void> {
    const remove = () => notFoundIsFine(this.call('RemoveContainer', 'remove_container', { containerId }, opts));
    try {
      await remove();
    } catch (err) {
      if (!isLostTask(err)) throw err;
      await deleteTask(this.channel, containerId, this.timeoutMs, opts?.signal);
      await remove();
    }
  }

  async listContainers(filter?: Init<msg.ContainerFilter>, opts?: CriCallOptions): Promise<msg.Container[]> {
    const r = await this.call<msg.ListContainersResponse>('ListContainers', 'list_containers', { filter }, opts);
    return r.containers;
  }

  async containerStatus(containerId: string, opts?: CriCallOptions): Promise<msg.ContainerStatus> {
    const r = await this.call<msg.ContainerStatusResponse>(
      'ContainerStatus',
      'container_status',
      { containerId },
      opts,
    );
    if (r.status === undefined)
      throw new CriError('ContainerStatus', 'UNKNOWN', `no status of container ${containerId}`);
    return r.status;
  }

  async updateContainerResources(
    containerId: string,
    linux: Init<msg.LinuxContainerResources>,
    opts?: CriCallOptions,
  ): Promise<void> {
    await this.call('UpdateContainerResources', 'update_container', { containerId, linux }, opts);
  }

  async reopenContainerLog(containerId: string, opts?: CriCallOptions): Promise<void> {
    await this.call('ReopenContainerLog', 'reopen_container_log', { containerId }, opts);
  }

  async checkpointContainer(
    containerId: string,
    location: string,
    timeoutSeconds: number,
    opts?: CriCallOptions,
  ): Promise<void> {
    const timeout = Math.max(timeoutSeconds, Math.trunc(this.timeoutMs / 1000));
    const request = { containerId, location, timeout };
    await this.call('CheckpointContainer', 'checkpoint_container', request, opts, timeout * 1000);
  }

  async execSync(
    containerId: string,
    command: readonly string[],
    timeoutSeconds: number,
    opts?: CriCallOptions,
  ): Promise<ExecSyncResult> {
    const limitMs = timeoutSeconds === 0 ? Number.POSITIVE_INFINITY : this.timeoutMs + timeoutSeconds * 1000;
    const request = { containerId, cmd: command, timeout: timeoutSeconds };
    return await this.call<msg.ExecSyncResponse>('ExecSync', 'exec_sync', request, opts, limitMs);
  }

  async exec(request: Init<msg.ExecRequest>, opts?: CriCallOptions): Promise<string> {
    return (await this.call<msg.ExecResponse>('Exec', 'exec', request, opts)).url;
  }

  async attach(request: Init<msg.AttachRequest>, opts?: CriCallOptions): Promise<string> {
    return (await this.call<msg.AttachResponse>('Attach', 'attach', request, opts)).url;
  }

  async portForward(request: Init<msg.PortForwardRequest>, opts?: CriCallOptions): Promise<string> {
    return (await this.call<msg.PortForwardResponse>('PortForward', 'port_forward', request, opts)).url;
  }

  async containerStats(containerId: string, opts?: CriCallOptions): Promise<msg.ContainerStats> {
    const r = await this.call<msg.ContainerStatsResponse>('ContainerStats', 'container_stats', { containerId }, opts);
    if (r.stats === undefined) throw new CriError('ContainerStats', 'UNKNOWN', `no stats of container ${containerId}`);
    return r.stats;
  }

  async listContainerStats(opts?: CriCallOptions): Promise<msg.ContainerStats[]> {
    const r = await this.call<msg.ListContainerStatsResponse>('ListContainerStats', 'list_container_stats', {}, opts);
    return r.stats;
  }

  async listPodSandboxStats(opts?: CriCallOptions): Promise<msg.PodSandboxStats[]> {
    const r = await this.call<msg.ListPodSandboxStatsResponse>(
      'ListPodSandboxStats',
      'list_podsandbox_stats',
      {},
      opts,
    );
    return r.stats;
  }

  /**
   * containerd's own events where there are any: its subscription can be proved, and an event there costs the runtime
   * nothing more, while CRI's come with the whole pod's status. Else CRI's.
   */
  async *events(signal: AbortSignal, onConnected: () => void): AsyncIterable<RuntimeEvent> {
    try {
      const confirmEnded = (id: string, s: AbortSignal) => this.#confirmEnded(id, s);
      yield* containerdEvents({ channel: this.channel, clock: this.#clock, confirmEnded }, signal, onConnected);
      return;
    } catch (err) {
      if (!isCriError(err, 'UNIMPLEMENTED')) throw err;
    }
    yield* this.#criEvents(signal, onConnected);
  }

  /** Never rejects: when CRI does not come round to it, or fails, the caller's own look finds out. */
  async #confirmEnded(id: string, signal: AbortSignal): Promise<void> {
    const endMs = this.#clock.monotonicMs() + CONFIRM_LIMIT_MS;
    const runs = this.#runningState(id, signal);
    try {
      for (let waitMs = 2; !signal.aborted && (await runs()); waitMs = Math.min(2 * waitMs, CONFIRM_MAX_WAIT_MS)) {
        if (this.#clock.monotonicMs() > endMs) return;
        await this.#clock.sleep(waitMs, signal);
      }
    } catch (err) {
      if (!(err instanceof CriError)) throw err;
    }
  }

  /** Whether it runs, to be asked again and again. An id may be a container's or a sandbox's: the first answer tells. */
  #runningState(id: string, signal: AbortSignal): () => Promise<boolean> {
    let isSandbox = false;
    return async () => {
      try {
        if (!isSandbox) return (await this.containerStatus(id, { signal })).state === 'CONTAINER_RUNNING';
      } catch (err) {
        if (!isCriError(err, 'NOT_FOUND')) throw err;
        isSandbox = true;
      }
      return (await this.podSandboxStatus(id, { signal })).state === 'SANDBOX_READY';
    };
  }

  async *#criEvents(signal: AbortSignal, onConnected: () => void): AsyncIterable<RuntimeEvent> {
    using linked = linkedSignal(signal);
    const stream = this.channel.stream<msg.ContainerEventResponse>(GET_EVENTS, {}, linked.signal);
    const events = stream[Symbol.asyncIterator]();
    const pending = events.next();
    // The stream itself says nothing before the first event. An answer to a call made after it, on the same
    // connection, is the best sign there is; the slow relist covers the rest.
    void this.version({ signal: linked.signal }).then(onConnected, () => {});
    try {
      for (let next = await pending; !next.done; next = await events.next()) {
        const { containerEventType, containerId, podSandboxStatus } = next.value;
        const podUid = podSandboxStatus?.metadata?.uid;
        yield { type: EVENT_TYPES[containerEventType], containerId, ...(podUid === undefined ? {} : { podUid }) };
      }
    } finally {
      linked.abort(); // the consumer may have left the loop
    }
  }
}

class RemoteImages extends CriService implements ImageService, ImageEvents {
  constructor(channel: RpcChannel, timeoutMs: number, observe: CallObserver) {
    super(IMAGE, channel, timeoutMs, observe);
  }

  async listImages(opts?: CriCallOptions): Promise<msg.Image[]> {
    return (await this.call<msg.ListImagesResponse>('ListImages', 'list_images', {}, opts)).images;
  }

  async imageStatus(image: Init<msg.ImageSpec>, opts?: CriCallOptions): Promise<msg.Image | undefined> {
    const r = await this.call<msg.ImageStatusResponse>('ImageStatus', 'image_status', { image }, opts);
    return r.image;
  }

  async pullImage(
    image: Init<msg.ImageSpec>,
    auth: Init<msg.AuthConfig> | undefined,
    sandboxConfig: Init<msg.PodSandboxConfig> | undefined,
    opts?: CriCallOptions,
  ): Promise<string> {
    const request = { image, auth, sandboxConfig };
    const r = await this.call<msg.PullImageResponse>(
      'PullImage',
      'pull_image',
      request,
      opts,
      Number.POSITIVE_INFINITY,
    );
    return r.imageRef;
  }

  async removeImage(image: Init<msg.ImageSpec>, opts?: CriCallOptions): Promise<void> {
    await this.call('RemoveImage', 'remove_image', { image }, opts);
  }

  imageChanges(signal: AbortSignal): AsyncIterable<void> {
    return containerdImageChanges(this.channel, signal);
  }

  async imageFsInfo(
    opts?: CriCallOptions,
  ): Promise<{ image: msg.FilesystemUsage[]; container: msg.FilesystemUsage[] }> {
    const r = await this.call<msg.ImageFsInfoResponse>('ImageFsInfo', 'image_fs_info', {}, opts);
    return { image: r.imageFilesystems, container: r.containerFilesystems };
  }
}

/** Both services over one connection, and how to close it. */
export function connectRuntime(
  opts: RemoteRuntimeOptions,
  observe: CallObserver,
  clock: Clock,
): { runtime: RuntimeService; images: ImageService & ImageEvents; close(): void } {
  const channel = new RpcChannel(opts.endpoint);
  const imageChannel = opts.imageEndpoint === undefined ? channel : new RpcChannel(opts.imageEndpoint);
  return {
    runtime: new RemoteRuntime(channel, opts.requestTimeoutMs, observe, clock),
    images: new RemoteImages(imageChannel, opts.requestTimeoutMs, observe),
    close: () => {
      channel.close();
      if (imageChannel !== channel) imageChannel.close();
    },
  };
}

async function notFoundIsFine(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (err) {
    if (!isCriError(err, 'NOT_FOUND')) throw err;
  }
}
