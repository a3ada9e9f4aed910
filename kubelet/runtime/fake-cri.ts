// The part of a CRI runtime that pods need, in memory: names are reserved, states are kept, failures and lost answers
// can be asked for. It refuses what containerd refuses.
import { CriError } from '../../cri/errors.ts';
import type {
  Container,
  ContainerConfig,
  ContainerStatus,
  Image,
  PodSandboxConfig,
  PodSandboxStatus,
} from '../../cri/gen/messages.ts';
import type { ImageService, Init, RuntimeService } from '../../cri/runtime-service.ts';

type Method = keyof RuntimeService | keyof ImageService;
type FakeContainer = { sandboxId: string; status: ContainerStatus; config: Init<ContainerConfig> };

export class FakeCri {
  readonly calls: string[] = [];
  readonly sandboxes = new Map<string, PodSandboxStatus>();
  readonly containers = new Map<string, FakeContainer>();
  readonly images = new Map<string, Image>();
  nowMs = () => 0;
  /** Waits inside StopContainer, e.g. for a process that does not end; may reject when the signal aborts. */
  onStop: (id: string, graceSeconds: number, signal?: AbortSignal) => Promise<void> = async () => {};
  onExec: (command: readonly string[], signal?: AbortSignal) => Promise<number> = async () => 0;
  /** Something happens while a container is being started. */
  onStart: () => void = () => {};
  /** Called inside CreateContainer, before anything is made. */
  onCreate: () => void = () => {};
  /** Something happens before containers are listed. */
  onList: () => void = () => {};
  #ids = 0;
  readonly #failures: { method: Method; error: Error; after: boolean }[] = [];

  /** The next call of `method` fails; with `after`, it does its work first and the answer is lost. */
  failNext(method: Method, error: Error, after = false): void {
    this.#failures.push({ method, error, after });
  }

  addImage(name: string): void {
    this.images.set(name, {
      id: `sha256:${name}`,
      repoTags: [name],
      repoDigests: [],
      size: 1,
      username: '',
      pinned: false,
    });
  }

  /** The container's process ends by itself. */
  exit(name: string, exitCode: number): void {
    const running = [...this.containers.values()].find(
      (c) => c.status.metadata?.name === name && c.status.state === 'CONTAINER_RUNNING',
    );
    if (running === undefined) throw new Error(`no running container ${name}`);
    this.#end(running.status, exitCode, exitCode === 0 ? 'Completed' : 'Error');
  }

  /** `name/attempt:state` of every container, in order of creation. */
  get picture(): string[] {
    return [...this.containers.values()].map(
      ({ status: s }) =>
        `${s.metadata?.name}/${s.metadata?.attempt}:${s.state.slice('CONTAINER_'.length).toLowerCase()}`,
    );
  }

  /** The interface the code under test sees. */
  get services(): { runtime: RuntimeService; images: ImageService } {
    const implemented: Partial<RuntimeService & ImageService> = {
      runPodSandbox: (config) => this.#call('runPodSandbox', '', () => this.#runSandbox(config)),
      stopPodSandbox: (id) => this.#call('stopPodSandbox', id, () => this.#stopSandbox(id)),
      removePodSandbox: (id) => this.#call('removePodSandbox', id, () => void this.sandboxes.delete(id)),
      podSandboxStatus: (id) => this.#call('podSandboxStatus', id, () => ({ ...this.#sandbox(id) })),
      listPodSandboxes: (filter) =>
        this.#call('listPodSandboxes', '', () => [...this.sandboxes.values()].filter((s) => matches(s.labels, filter))),
      createContainer: (id, config) =>
        this.#call('createContainer', config.metadata?.name ?? '', () => {
          this.onCreate();
          return this.#create(id, config);
        }),
      startContainer: (id, opts) => this.#call('startContainer', id, () => this.#start(id, opts?.signal)),
      stopContainer: (id, grace, opts) =>
        this.#call('stopContainer', `${id} ${grace}`, () => this.#stop(id, grace, opts?.signal)),
      removeContainer: (id) => this.#call('removeContainer', id, () => void this.containers.delete(id)),
      listContainers: (filter) =>
        this.#call('listContainers', '', () => {
          this.onList();
          return this.#list(filter);
        }),
      containerStatus: (id) => this.#call('containerStatus', id, () => ({ ...this.#container(id).status })),
      execSync: (id, command, _timeout, opts) =>
        this.#call('execSync', `${id} ${command.join(' ')}`, async () => {
          const exitCode = await this.onExec(command, opts?.signal);
          return { stdout: new Uint8Array(), stderr: new Uint8Array(), exitCode };
        }),
      imageStatus: (spec) => this.#call('imageStatus', spec.image ?? '', () => this.images.get(spec.image ?? '')),
    };
    const services = implemented as RuntimeService & ImageService;
    return { runtime: services, images: services };
  }

  async #call<T>(method: Method, what: string, work: () => T | Promise<T>): Promise<T> {
    this.calls.push(`${method} ${what}`.trim());
    const index = this.#failures.findIndex((f) => f.method === method);
    const failure = index < 0 ? undefined : this.#failures.splice(index, 1)[0];
    if (failure !== undefined && !failure.after) throw failure.error;
    const result = await work();
    if (failure !== undefined) throw failure.error;
    return result;
  }

  #runSandbox(config: Init<PodSandboxConfig>): string {
    const metadata = config.metadata as PodSandboxStatus['metadata'];
    const taken = [...this.sandboxes.values()].some(
      (s) => s.metadata?.uid === metadata?.uid && s.metadata?.attempt === metadata?.attempt,
    );
    if (taken) throw new CriError('RunPodSandbox', 'UNKNOWN', 'failed to reserve sandbox name');
    const id = `s${this.#ids++}`;
    this.sandboxes.set(id, {
      id,
      metadata,
      state: 'SANDBOX_READY',
      createdAt: this.#nowNs(),
      network: { ip: '10.0.0.1', additionalIps: [] },
      labels: { ...(config.labels as Record<string, string>) },
      annotations: {},
      runtimeHandler: '',
    });
    return id;
  }

  #stopSandbox(id: string): void {
    const sandbox = this.sandboxes.get(id);
    if (sandbox !== undefined) sandbox.state = 'SANDBOX_NOTREADY';
    for (const c of this.containers.values()) {
      if (c.sandboxId === id && c.status.state === 'CONTAINER_RUNNING') this.#end(c.status, 137, 'Error');
    }
  }

  #create(sandboxId: string, config: Init<ContainerConfig>): string {
    if (this.#sandbox(sandboxId).state !== 'SANDBOX_READY') {
      throw new CriError('CreateContainer', 'UNKNOWN', 'sandbox is not ready');
    }
    const { name = '', attempt = 0 } = config.metadata ?? {};
    const taken = [...this.containers.values()].some(
      (c) => c.sandboxId === sandboxId && c.status.metadata?.name === name && c.status.metadata.attempt === attempt,
    );
    if (taken)
      throw new CriError('CreateContainer', 'UNKNOWN', `failed to reserve container name "${name}_${attempt}"`);
    const id = `c${this.#ids++}`;
    this.containers.set(id, { sandboxId, config, status: this.#newStatus(id, name, attempt, config) });
    return id;
  }

  #newStatus(id: string, name: string, attempt: number, config: Init<ContainerConfig>): ContainerStatus {
    return {
      id,
      metadata: { name, attempt },
      state: 'CONTAINER_CREATED',
      createdAt: this.#nowNs() + BigInt(this.#ids),
      startedAt: 0n,
      finishedAt: 0n,
      exitCode: 0,
      imageRef: '',
      reason: '',
      message: '',
      labels: { ...(config.labels as Record<string, string>) },
      annotations: { ...(config.annotations as Record<string, string>) },
      mounts: [...((config.mounts ?? []) as ContainerStatus['mounts'])],
      logPath: '',
      imageId: '',
      stopSignal: 'RUNTIME_DEFAULT',
    };
  }

  #start(id: string, signal?: AbortSignal): void {
    const { status } = this.#container(id);
    if (status.state !== 'CONTAINER_CREATED') {
      throw new CriError('StartContainer', 'UNKNOWN', `container is in ${status.state} state`);
    }
    this.onStart();
    if (signal?.aborted) {
      this.#end(status, 128, 'StartError'); // as containerd has it
      throw new CriError('StartContainer', 'CANCELLED', 'context canceled');
    }
    status.state = 'CONTAINER_RUNNING';
    status.startedAt = this.#nowNs();
  }

  async #stop(id: string, graceSeconds: number, signal?: AbortSignal): Promise<void> {
    const container = this.containers.get(id);
    if (container?.status.state !== 'CONTAINER_RUNNING') return;
    await this.onStop(id, graceSeconds, signal);
    this.#end(container.status, 143, 'Error');
  }

  #list(filter: { labelSelector?: Init<Record<string, string>> | undefined } | undefined): Container[] {
    const all = [...this.containers.values()].filter((c) => matches(c.status.labels, filter));
    return all.map(({ sandboxId, status }) => {
      const { id, metadata, imageRef, state, createdAt, labels, annotations, imageId } = status;
      return { id, podSandboxId: sandboxId, metadata, imageRef, state, createdAt, labels, annotations, imageId };
    });
  }

  #end(status: ContainerStatus, exitCode: number, reason: string): void {
    Object.assign(status, { state: 'CONTAINER_EXITED', exitCode, reason, finishedAt: this.#nowNs() });
  }

  #sandbox(id: string): PodSandboxStatus {
    const sandbox = this.sandboxes.get(id);
    if (sandbox === undefined) throw new CriError('PodSandboxStatus', 'NOT_FOUND', `sandbox ${id} not found`);
    return sandbox;
  }

  #container(id: string): FakeContainer {
    const container = this.containers.get(id);
    if (container === undefined) throw new CriError('ContainerStatus', 'NOT_FOUND', `container ${id} not found`);
    return container;
  }

  #nowNs(): bigint {
    return BigInt(this.nowMs()) * 1_000_000n;
  }
}

function matches(
  labels: Record<string, string>,
  filter: { labelSelector?: Init<Record<string, string>> | undefined } | undefined,
): boolean {
  return Object.entries(filter?.labelSelector ?? {}).every(([k, v]) => labels[k] === v);
}
