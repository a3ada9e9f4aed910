// RuntimeService and ImageService: all that the rest of the program sees of a container runtime. Implemented by
// remote-runtime.ts (CRI over gRPC), fake-runtime.ts, and later docker-runtime.ts. After kubernetes/cri-api
// pkg/apis/services.go.
import type {
  AttachRequest,
  AuthConfig,
  Container,
  ContainerConfig,
  ContainerFilter,
  ContainerStats,
  ContainerStatus,
  ExecRequest,
  FilesystemUsage,
  Image,
  ImageSpec,
  LinuxContainerResources,
  PodSandbox,
  PodSandboxConfig,
  PodSandboxFilter,
  PodSandboxStats,
  PodSandboxStatus,
  PortForwardRequest,
  RuntimeConfigResponse,
  StatusResponse,
  VersionResponse,
} from './gen/messages.ts';

/** What a caller may leave out of a message it sends: every field, at any depth. */
export type Init<T> = T extends Uint8Array | bigint
  ? T
  : T extends (infer E)[]
    ? readonly Init<E>[]
    : T extends object
      ? { readonly [K in keyof T]?: Init<T[K]> | undefined }
      : T;

export interface CriCallOptions {
  readonly signal?: AbortSignal;
}

export interface ExecSyncResult {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly exitCode: number;
}

/**
 * What became of a container or sandbox, as soon as the runtime says so. `containerId` is the sandbox id for events
 * of a sandbox. `podUid` is known only from GetContainerEvents; containerd's own stream names the container alone.
 */
export interface RuntimeEvent {
  readonly type: 'created' | 'started' | 'stopped' | 'deleted' | 'oom';
  readonly containerId: string;
  readonly podUid?: string;
  /** Exit code, on `stopped` from containerd's event stream. */
  readonly exitCode?: number;
}

/**
 * Every call has a deadline (kubelet: runtimeRequestTimeout T = 2 min; RunPodSandbox 2T, StopContainer T + grace,
 * ExecSync T + timeout) and throws CriError (errors.ts) with the gRPC status as code.
 */
export interface RuntimeService {
  version(opts?: CriCallOptions): Promise<VersionResponse>;
  status(verbose: boolean, opts?: CriCallOptions): Promise<StatusResponse>;
  /** @throws {CriError} UNIMPLEMENTED before containerd 2.0. */
  runtimeConfig(opts?: CriCallOptions): Promise<RuntimeConfigResponse>;
  /** `podCidr`: ranges of pods, separated by commas, for a runtime that makes a network configuration of its own. */
  updateRuntimeConfig(podCidr: string, opts?: CriCallOptions): Promise<void>;

  /** Returns the sandbox id. */
  runPodSandbox(config: Init<PodSandboxConfig>, runtimeHandler: string, opts?: CriCallOptions): Promise<string>;
  /** Idempotent; NotFound is success. */
  stopPodSandbox(sandboxId: string, opts?: CriCallOptions): Promise<void>;
  /** Idempotent; NotFound is success. */
  removePodSandbox(sandboxId: string, opts?: CriCallOptions): Promise<void>;
  podSandboxStatus(sandboxId: string, opts?: CriCallOptions): Promise<PodSandboxStatus>;
  listPodSandboxes(filter?: Init<PodSandboxFilter>, opts?: CriCallOptions): Promise<PodSandbox[]>;

  /** Returns the container id. */
  createContainer(
    sandboxId: string,
    config: Init<ContainerConfig>,
    sandboxConfig: Init<PodSandboxConfig>,
    opts?: CriCallOptions,
  ): Promise<string>;
  startContainer(containerId: string, opts?: CriCallOptions): Promise<void>;
  /** Sends the stop signal, then SIGKILL after `graceSeconds`. NotFound is success. */
  stopContainer(containerId: string, graceSeconds: number, opts?: CriCallOptions): Promise<void>;
  removeContainer(containerId: string, opts?: CriCallOptions): Promise<void>;
  listContainers(filter?: Init<ContainerFilter>, opts?: CriCallOptions): Promise<Container[]>;
  containerStatus(containerId: string, opts?: CriCallOptions): Promise<ContainerStatus>;
  updateContainerResources(
    containerId: string,
    linux: Init<LinuxContainerResources>,
    opts?: CriCallOptions,
  ): Promise<void>;
  reopenContainerLog(containerId: string, opts?: CriCallOptions): Promise<void>;
  /**
   * Writes the state of a running container to the file `location`. `timeoutSeconds` below the ordinary time of a call
   * counts as that. @throws {CriError} UNIMPLEMENTED before containerd 2.0, and where no CRIU is installed.
   */
  checkpointContainer(
    containerId: string,
    location: string,
    timeoutSeconds: number,
    opts?: CriCallOptions,
  ): Promise<void>;

  /** `timeoutSeconds` 0 means none. @throws {CriError} DEADLINE_EXCEEDED when the command took longer. */
  execSync(
    containerId: string,
    command: readonly string[],
    timeoutSeconds: number,
    opts?: CriCallOptions,
  ): Promise<ExecSyncResult>;
  /** The URL of the runtime's streaming server for one exec session. */
  exec(request: Init<ExecRequest>, opts?: CriCallOptions): Promise<string>;
  attach(request: Init<AttachRequest>, opts?: CriCallOptions): Promise<string>;
  portForward(request: Init<PortForwardRequest>, opts?: CriCallOptions): Promise<string>;

  containerStats(containerId: string, opts?: CriCallOptions): Promise<ContainerStats>;
  listContainerStats(opts?: CriCallOptions): Promise<ContainerStats[]>;
  listPodSandboxStats(opts?: CriCallOptions): Promise<PodSandboxStats[]>;

  /**
   * Yields events until `signal` aborts (then returns) or the stream breaks (then throws). The first `next()` resolves
   * only with an event; `onConnected` is called once the runtime has accepted the subscription, so that the caller can
   * relist without a gap. @throws {CriError} UNIMPLEMENTED when the runtime offers no event stream of any kind.
   */
  events(signal: AbortSignal, onConnected: () => void): AsyncIterable<RuntimeEvent>;
}

export interface ImageService {
  listImages(opts?: CriCallOptions): Promise<Image[]>;
  /** Undefined when the image is not present. */
  imageStatus(image: Init<ImageSpec>, opts?: CriCallOptions): Promise<Image | undefined>;
  /** Returns the image reference (id or digest). No deadline of its own. */
  pullImage(
    image: Init<ImageSpec>,
    auth: Init<AuthConfig> | undefined,
    sandboxConfig: Init<PodSandboxConfig> | undefined,
    opts?: CriCallOptions,
  ): Promise<string>;
  removeImage(image: Init<ImageSpec>, opts?: CriCallOptions): Promise<void>;
  imageFsInfo(opts?: CriCallOptions): Promise<{ image: FilesystemUsage[]; container: FilesystemUsage[] }>;
}

/** Beside CRI, which has no such call. */
export interface ImageEvents {
  /**
   * Something whenever the images have changed, until `signal` aborts; nothing tells when it begins.
   * @throws {CriError} UNIMPLEMENTED when the runtime tells of no such changes.
   */
  imageChanges(signal: AbortSignal): AsyncIterable<void>;
}
