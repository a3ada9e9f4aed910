// The state behind FakeRuntime: which sandboxes, containers and images there are, and what may become of them.
import type { Clock } from '../core/clock.ts';
import { CriError, type GrpcCode } from './errors.ts';
import type * as msg from './gen/messages.ts';
import type { Init, RuntimeEvent } from './runtime-service.ts';

export interface FakeSandbox {
  readonly config: Init<msg.PodSandboxConfig>;
  readonly status: msg.PodSandboxStatus;
}

export interface FakeContainer {
  readonly sandboxId: string;
  readonly config: Init<msg.ContainerConfig>;
  readonly status: msg.ContainerStatus;
}

/** Called with a container about to be stopped; resolves with the exit code when its process has ended. */
export type StopHandler = (container: FakeContainer, graceSeconds: number, signal?: AbortSignal) => Promise<number>;

const SIGKILL_EXIT_CODE = 137;

export class FakeRuntimeState {
  readonly sandboxes = new Map<string, FakeSandbox>();
  readonly containers = new Map<string, FakeContainer>();
  /** Present images by id. */
  readonly images = new Map<string, msg.Image>();
  /** Names that can be pulled. */
  readonly pullable = new Set<string>();
  readonly runtimeHandlers = new Set(['', 'runc']);
  /** The default process does not listen to SIGTERM and is killed in the end. */
  onStop: StopHandler = async () => SIGKILL_EXIT_CODE;
  readonly #clock: Clock;
  readonly #emit: (event: RuntimeEvent) => void;
  #serial = 0;
  #lastNs = 0n;

  constructor(deps: { readonly clock: Clock; readonly emit: (event: RuntimeEvent) => void }) {
    this.#clock = deps.clock;
    this.#emit = deps.emit;
  }

  /** Makes `name` present. Returns its id. */
  addImage(name: string, image: Partial<msg.Image> = {}): string {
    const id = image.id ?? `sha256:${(++this.#serial).toString(16).padStart(64, '0')}`;
    const known = this.images.get(id);
    const repoTags = [...(known?.repoTags ?? []), name];
    this.images.set(id, { repoDigests: [], size: 1_000_000, username: '', pinned: false, ...image, id, repoTags });
    return id;
  }

  /** The process of a running container ends by itself. */
  exit(containerId: string, exitCode: number): void {
    const { status } = this.container('exit', containerId);
    if (status.state !== 'CONTAINER_RUNNING') throw new Error(`container ${containerId} does not run`);
    this.#end(status, exitCode);
  }

  /** The process of a sandbox ends by itself. */
  exitSandbox(sandboxId: string): void {
    this.#endSandbox(this.sandbox('exit', sandboxId).status);
  }

  setPodRanges(podCidr: string): void {
    const wrong = podCidr.split(',').find((range) => !/^[0-9a-f.:]+\/\d+$/.test(range));
    if (wrong === undefined) return;
    throw refused('UpdateRuntimeConfig', 'UNKNOWN', `get routes: invalid CIDR address: ${wrong}`);
  }

  runSandbox(config: Init<msg.PodSandboxConfig>, runtimeHandler: string): string {
    const { name = '', namespace = '', uid = '', attempt = 0 } = config.metadata ?? {};
    for (const { status: other } of this.sandboxes.values()) {
      if (other.metadata?.uid !== uid || other.metadata.attempt !== attempt) continue;
      const reserved = `${name}_${namespace}_${uid}_${attempt}`;
      const text = `failed to reserve sandbox name "${reserved}": name "${reserved}" is reserved for "${other.id}"`;
      throw refused('RunPodSandbox', 'UNKNOWN', text);
    }
    if (!this.runtimeHandlers.has(runtimeHandler)) {
      const text = `failed to get sandbox runtime: no runtime for "${runtimeHandler}" is configured`;
      throw refused('RunPodSandbox', 'UNKNOWN', text);
    }
    const id = this.#newId();
    const onHost = config.linux?.securityContext?.namespaceOptions?.network === 'NODE';
    this.sandboxes.set(id, {
      config,
      status: {
        id,
        metadata: { name, namespace, uid, attempt },
        state: 'SANDBOX_READY',
        createdAt: this.nowNs(),
        network: { ip: onHost ? '' : `10.88.0.${(this.#serial % 250) + 2}`, additionalIps: [] },
        labels: { ...config.labels } as Record<string, string>,
        annotations: { ...config.annotations } as Record<string, string>,
        runtimeHandler,
      },
    });
    this.#emit({ type: 'created', containerId: id });
    this.#emit({ type: 'started', containerId: id });
    return id;
  }

  async stopSandbox(id: string): Promise<void> {
    const sandbox = this.sandboxes.get(id);
    if (sandbox === undefined) return;
    for (const c of this.#containersOf(id)) {
      if (c.status.state === 'CONTAINER_RUNNING') this.#end(c.status, SIGKILL_EXIT_CODE);
    }
    this.#endSandbox(sandbox.status);
  }

  async removeSandbox(id: string): Promise<void> {
    if (!this.sandboxes.has(id)) return;
    await this.stopSandbox(id);
    for (const c of this.#containersOf(id)) await this.remove(c.status.id);
    this.sandboxes.delete(id);
    this.#emit({ type: 'deleted', containerId: id });
  }

  #endSandbox(status: msg.PodSandboxStatus): void {
    if (status.state === 'SANDBOX_NOTREADY') return;
    status.state = 'SANDBOX_NOTREADY';
    status.network = { ip: '', additionalIps: [] };
    this.#emit({ type: 'stopped', containerId: status.id, exitCode: SIGKILL_EXIT_CODE });
  }

  listSandboxes(filter: Init<msg.PodSandboxFilter> = {}): msg.PodSandbox[] {
    return [...this.sandboxes.values()]
      .map(({ status }) => status)
      .filter((s) => (filter.id ?? '') === '' || s.id === filter.id)
      .filter((s) => filter.state === undefined || s.state === (filter.state.state ?? 'SANDBOX_READY'))
      .filter((s) => hasLabels(s.labels, filter.labelSelector))
      .map(({ id, metadata, state, createdAt, labels, annotations, runtimeHandler }) =>
        structuredClone({ id, metadata, state, createdAt, labels, annotations, runtimeHandler }),
      );
  }

  create(sandboxId: string, config: Init<msg.ContainerConfig>): string {
    const sandbox = this.sandbox('CreateContainer', sandboxId);
    if (sandbox.status.state !== 'SANDBOX_READY') {
      throw refused('CreateContainer', 'UNKNOWN', `sandbox container "${sandboxId}" is not running`);
    }
    const { name = '', attempt = 0 } = config.metadata ?? {};
    const taken = this.#containersOf(sandboxId).find(
      ({ status: s }) => s.metadata?.name === name && s.metadata.attempt === attempt,
    );
    if (taken !== undefined) {
      const text = `failed to reserve container name "${name}_${attempt}": it is reserved for "${taken.status.id}"`;
      throw refused('CreateContainer', 'UNKNOWN', text);
    }
    const wanted = config.image?.image ?? '';
    const image = this.image(wanted);
    if (image === undefined) {
      throw refused('CreateContainer', 'NOT_FOUND', `failed to resolve image "${wanted}": not found`);
    }
    const id = this.#newId();
    this.containers.set(id, { sandboxId, config, status: this.#newStatus(id, sandbox, config, image) });
    this.#emit({ type: 'created', containerId: id });
    return id;
  }

  #newStatus(
    id: string,
    sandbox: FakeSandbox,
    config: Init<msg.ContainerConfig>,
    image: msg.Image,
  ): msg.ContainerStatus {
    const { name = '', attempt = 0 } = config.metadata ?? {};
    return {
      id,
      metadata: { name, attempt },
      state: 'CONTAINER_CREATED',
      createdAt: this.nowNs(),
      startedAt: 0n,
      finishedAt: 0n,
      exitCode: 0,
      image: {
        annotations: {},
        userSpecifiedImage: '',
        runtimeHandler: '',
        imageRef: '',
        image: image.repoTags[0] ?? image.id,
      },
      imageRef: image.repoDigests[0] ?? image.id,
      imageId: image.id,
      reason: '',
      message: '',
      labels: { ...config.labels } as Record<string, string>,
      annotations: { ...config.annotations } as Record<string, string>,
      mounts: structuredClone(config.mounts ?? []) as msg.Mount[],
      logPath: config.logPath === undefined ? '' : `${sandbox.config.logDirectory ?? ''}/${config.logPath}`,
      ...(config.linux?.resources === undefined
        ? {}
        : { resources: { linux: structuredClone(config.linux.resources) as msg.LinuxContainerResources } }),
      stopSignal: config.stopSignal ?? 'RUNTIME_DEFAULT',
    };
  }

  start(id: string): void {
    const { status, sandboxId } = this.container('StartContainer', id);
    this.#need('StartContainer', status, 'CONTAINER_CREATED', `failed to set starting state for container "${id}"`);
    if (this.sandbox('StartContainer', sandboxId).status.state !== 'SANDBOX_READY') {
      throw refused('StartContainer', 'UNKNOWN', `sandbox container "${sandboxId}" is not running`);
    }
    status.state = 'CONTAINER_RUNNING';
    status.startedAt = this.nowNs();
    this.#emit({ type: 'started', containerId: id });
  }

  async stop(id: string, graceSeconds: number, signal: AbortSignal | undefined): Promise<void> {
    const container = this.containers.get(id);
    if (container?.status.state !== 'CONTAINER_RUNNING') return;
    const exitCode = await this.onStop(container, graceSeconds, signal);
    // Its process may have ended by itself meanwhile.
    if (container.status.state === 'CONTAINER_RUNNING') this.#end(container.status, exitCode);
  }

  /** A running container is killed first, as containerd does. */
  async remove(id: string): Promise<void> {
    const container = this.containers.get(id);
    if (container === undefined) return;
    if (container.status.state === 'CONTAINER_RUNNING') this.#end(container.status, SIGKILL_EXIT_CODE);
    this.containers.delete(id);
    this.#emit({ type: 'deleted', containerId: id });
  }

  #end(status: msg.ContainerStatus, exitCode: number): void {
    status.state = 'CONTAINER_EXITED';
    status.exitCode = exitCode;
    status.reason = exitCode === 0 ? 'Completed' : 'Error';
    status.finishedAt = this.nowNs();
    this.#emit({ type: 'stopped', containerId: status.id, exitCode });
  }

  listContainers(filter: Init<msg.ContainerFilter> = {}): msg.Container[] {
    return [...this.containers.values()]
      .filter(({ status: s }) => (filter.id ?? '') === '' || s.id === filter.id)
      .filter((c) => (filter.podSandboxId ?? '') === '' || c.sandboxId === filter.podSandboxId)
      .filter(({ status: s }) => filter.state === undefined || s.state === (filter.state.state ?? 'CONTAINER_CREATED'))
      .filter(({ status: s }) => hasLabels(s.labels, filter.labelSelector))
      .map(({ sandboxId, status: s }) => {
        const { id, metadata, image, imageRef, imageId, state, createdAt, labels, annotations } = s;
        const shared = { id, metadata, image, imageRef, imageId, state, createdAt, labels, annotations };
        return structuredClone({ ...shared, podSandboxId: sandboxId });
      });
  }

  update(id: string, linux: Init<msg.LinuxContainerResources>): void {
    const { status } = this.container('UpdateContainerResources', id);
    const resources = { ...status.resources?.linux, ...linux } as msg.LinuxContainerResources;
    status.resources = { ...status.resources, linux: resources };
  }

  pull(name: string): string {
    if (!this.pullable.has(name)) {
      const text = `failed to pull and unpack image "${name}": failed to resolve reference "${name}": not found`;
      throw refused('PullImage', 'NOT_FOUND', text);
    }
    return this.image(name)?.id ?? this.addImage(name);
  }

  image(nameOrId: string): msg.Image | undefined {
    return (
      this.images.get(nameOrId) ??
      [...this.images.values()].find((i) => i.repoTags.includes(nameOrId) || i.repoDigests.includes(nameOrId))
    );
  }

  stats({ status }: FakeContainer): msg.ContainerStats {
    const { id, metadata, labels, annotations } = status;
    return structuredClone({ attributes: { id, metadata, labels, annotations } });
  }

  sandboxStats(): msg.PodSandboxStats[] {
    return [...this.sandboxes.values()]
      .filter(({ status }) => status.state === 'SANDBOX_READY')
      .map(({ status: { id, metadata, labels, annotations } }) =>
        structuredClone({ attributes: { id, metadata, labels, annotations } }),
      );
  }

  #containersOf(sandboxId: string): FakeContainer[] {
    return [...this.containers.values()].filter((c) => c.sandboxId === sandboxId);
  }

  sandbox(method: string, id: string): FakeSandbox {
    const sandbox = this.sandboxes.get(id);
    if (sandbox !== undefined) return sandbox;
    throw refused(method, 'NOT_FOUND', `an error occurred when try to find sandbox: not found`);
  }

  container(method: string, id: string): FakeContainer {
    const container = this.containers.get(id);
    if (container !== undefined) return container;
    throw refused(method, 'NOT_FOUND', `an error occurred when try to find container "${id}": not found`);
  }

  running(method: string, id: string): FakeContainer {
    const container = this.container(method, id);
    this.#need(method, container.status, 'CONTAINER_RUNNING', 'failed to exec in container');
    return container;
  }

  #need(method: string, status: msg.ContainerStatus, state: msg.ContainerState, what: string): void {
    if (status.state === state) return;
    throw refused(method, 'UNKNOWN', `${what}: container is in ${status.state} state`);
  }

  #newId(): string {
    return (++this.#serial).toString(16).padStart(64, '0');
  }

  url(kind: string): string {
    return `http://127.0.0.1:1/${kind}/${++this.#serial}`;
  }

  /** Wall time; later calls get later times, as on a real clock, also while a fake one stands. */
  nowNs(): bigint {
    const nowNs = BigInt(Math.trunc(this.#clock.now())) * 1_000_000n;
    this.#lastNs = nowNs > this.#lastNs ? nowNs : this.#lastNs + 1n;
    return this.#lastNs;
  }
}

function refused(method: string, code: GrpcCode, text: string): CriError {
  return new CriError(method, code, text);
}

function hasLabels(labels: Readonly<Record<string, string>>, selector: Init<Record<string, string>> = {}): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}
