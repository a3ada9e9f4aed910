// A container runtime in memory for tests: it keeps sandboxes, containers and images, moves them through containerd's
// states, refuses what containerd refuses and says so in its words. test/harness/cri-contract.ts asks it and real
// containerd the same questions.
import { linkedSignal } from '../core/abort.ts';
import { AsyncQueue } from '../core/async-queue.ts';
import type { Clock } from '../core/clock.ts';
import { CriError } from './errors.ts';
import { type FakeContainer, FakeRuntimeState } from './fake-runtime-state.ts';
import type * as msg from './gen/messages.ts';
import type { CriCallOptions, ExecSyncResult, ImageService, RuntimeEvent, RuntimeService } from './runtime-service.ts';

export type RuntimeMethod = keyof RuntimeService | keyof ImageService;

export interface RuntimeCall {
  readonly method: RuntimeMethod;
  /** The sandbox, container or image that the call is about, or the name of what it makes. */
  readonly subject: string;
}

/** Answers a command that is executed in a container. `signal` aborts at the command's time limit. */
export type CommandHandler = (
  container: FakeContainer,
  command: readonly string[],
  signal: AbortSignal,
) => Promise<Partial<ExecSyncResult>>;

interface Fault {
  readonly method: RuntimeMethod;
  /** Undefined: the call is never answered. */
  readonly error: Error | undefined;
  /** The work is done and the answer lost. */
  readonly afterwards: boolean;
}

const MAX_QUEUED_EVENTS = 10_000;

export class FakeRuntime {
  /** Every call, in order. */
  readonly calls: RuntimeCall[] = [];
  /** What there is. Tests look here, and change `pullable`, `onStop` and the like. */
  readonly state: FakeRuntimeState;
  onCommand: CommandHandler = async () => ({});
  networkReady = true;
  readonly #clock: Clock;
  readonly #faults: Fault[] = [];
  readonly #listeners = new Set<AsyncQueue<RuntimeEvent>>();

  constructor(deps: { readonly clock: Clock }) {
    this.#clock = deps.clock;
    this.state = new FakeRuntimeState({ clock: deps.clock, emit: (event) => this.emit(event) });
  }

  /** The next call of `method` fails; with `afterwards` it does its work first, and only the answer is lost. */
  failNext(method: RuntimeMethod, error: Error, afterwards = false): void {
    this.#faults.push({ method, error, afterwards });
  }

  /** The next call of `method` is not answered until its signal aborts. */
  hangNext(method: RuntimeMethod): void {
    this.#faults.push({ method, error: undefined, afterwards: false });
  }

  /** Tells listeners of an event that is not the consequence of a call, such as an `oom`. */
  emit(event: RuntimeEvent): void {
    for (const listener of this.#listeners) listener.push(event);
  }

  /** Breaks every event stream, as a restart of the runtime does. */
  breakEvents(error: Error = new CriError('GetContainerEvents', 'UNAVAILABLE', 'connection reset')): void {
    for (const listener of this.#listeners) listener.close(error);
    this.#listeners.clear();
  }

  readonly runtime: RuntimeService = {
    version: (opts) =>
      this.#call('version', '', opts, () => ({
        version: '0.1.0',
        runtimeName: 'fake',
        runtimeVersion: '1.0.0',
        runtimeApiVersion: 'v1',
      })),
    status: (_verbose, opts) => this.#call('status', '', opts, () => this.#status()),
    runtimeConfig: (opts) => this.#call('runtimeConfig', '', opts, () => ({ linux: { cgroupDriver: 'CGROUPFS' } })),
    updateRuntimeConfig: (podCidr, opts) =>
      this.#call('updateRuntimeConfig', podCidr, opts, () => this.state.setPodRanges(podCidr)),
    runPodSandbox: (config, handler, opts) =>
      this.#call('runPodSandbox', config.metadata?.name ?? '', opts, () => this.state.runSandbox(config, handler)),
    stopPodSandbox: (id, opts) => this.#call('stopPodSandbox', id, opts, () => this.state.stopSandbox(id)),
    removePodSandbox: (id, opts) => this.#call('removePodSandbox', id, opts, () => this.state.removeSandbox(id)),
    podSandboxStatus: (id, opts) =>
      this.#call('podSandboxStatus', id, opts, () =>
        structuredClone(this.state.sandbox('PodSandboxStatus', id).status),
      ),
    listPodSandboxes: (filter, opts) =>
      this.#call('listPodSandboxes', '', opts, () => this.state.listSandboxes(filter)),
    createContainer: (sandboxId, config, _sandboxConfig, opts) =>
      this.#call('createContainer', config.metadata?.name ?? '', opts, () => this.state.create(sandboxId, config)),
    startContainer: (id, opts) => this.#call('startContainer', id, opts, () => this.state.start(id)),
    stopContainer: (id, grace, opts) =>
      this.#call('stopContainer', id, opts, () => this.state.stop(id, grace, opts?.signal)),
    removeContainer: (id, opts) => this.#call('removeContainer', id, opts, () => this.state.remove(id)),
    listContainers: (filter, opts) => this.#call('listContainers', '', opts, () => this.state.listContainers(filter)),
    containerStatus: (id, opts) =>
      this.#call('containerStatus', id, opts, () =>
        structuredClone(this.state.container('ContainerStatus', id).status),
      ),
    updateContainerResources: (id, linux, opts) =>
      this.#call('updateContainerResources', id, opts, () => this.state.update(id, linux)),
    reopenContainerLog: (id, opts) =>
      this.#call('reopenContainerLog', id, opts, () => void this.state.running('ReopenContainerLog', id)),
    checkpointContainer: (id, _location, _timeoutSeconds, opts) =>
      this.#call('checkpointContainer', id, opts, () => void this.state.running('CheckpointContainer', id)),
    execSync: (id, command, timeoutSeconds, opts) =>
      this.#call('execSync', id, opts, () => this.#execSync(id, command, timeoutSeconds, opts?.signal)),
    exec: (request, opts) =>
      this.#call('exec', request.containerId ?? '', opts, () => {
        this.state.running('Exec', request.containerId ?? '');
        return this.state.url('exec');
      }),
    attach: (request, opts) =>
      this.#call('attach', request.containerId ?? '', opts, () => {
        this.state.running('Attach', request.containerId ?? '');
        return this.state.url('attach');
      }),
    portForward: (request, opts) =>
      this.#call('portForward', request.podSandboxId ?? '', opts, () => {
        this.state.sandbox('PortForward', request.podSandboxId ?? '');
        return this.state.url('portforward');
      }),
    containerStats: (id, opts) =>
      this.#call('containerStats', id, opts, () => this.state.stats(this.state.container('ContainerStats', id))),
    listContainerStats: (opts) =>
      this.#call('listContainerStats', '', opts, () =>
        [...this.state.containers.values()]
          .filter((c) => c.status.state === 'CONTAINER_RUNNING')
          .map((c) => this.state.stats(c)),
      ),
    listPodSandboxStats: (opts) => this.#call('listPodSandboxStats', '', opts, () => this.state.sandboxStats()),
    events: (signal, onConnected) => this.#events(signal, onConnected),
  };

  readonly images: ImageService = {
    listImages: (opts) => this.#call('listImages', '', opts, () => structuredClone([...this.state.images.values()])),
    imageStatus: (image, opts) =>
      this.#call('imageStatus', image.image ?? '', opts, () => structuredClone(this.state.image(image.image ?? ''))),
    pullImage: (image, _auth, _sandboxConfig, opts) =>
      this.#call('pullImage', image.image ?? '', opts, () => this.state.pull(image.image ?? '')),
    removeImage: (image, opts) =>
      this.#call('removeImage', image.image ?? '', opts, () => {
        const id = this.state.image(image.image ?? '')?.id;
        if (id !== undefined) this.state.images.delete(id);
      }),
    imageFsInfo: (opts) =>
      this.#call('imageFsInfo', '', opts, () => {
        const usage = {
          timestamp: this.state.nowNs(),
          fsId: { mountpoint: '/var/lib/fake' },
          usedBytes: { value: [...this.state.images.values()].reduce((sum, i) => sum + i.size, 0) },
          inodesUsed: { value: this.state.images.size },
        };
        return { image: [usage], container: [usage] };
      }),
  };

  async #call<T>(
    method: RuntimeMethod,
    subject: string,
    opts: CriCallOptions | undefined,
    work: () => T | Promise<T>,
  ): Promise<T> {
    this.calls.push({ method, subject });
    const index = this.#faults.findIndex((f) => f.method === method);
    const fault = index < 0 ? undefined : this.#faults.splice(index, 1)[0];
    if (fault !== undefined && fault.error === undefined) await cancellable(method, opts?.signal, neverAnswered);
    if (fault?.error !== undefined && !fault.afterwards) throw fault.error;
    const result = await cancellable(method, opts?.signal, work);
    if (fault?.error !== undefined) throw fault.error;
    return result;
  }

  #status(): msg.StatusResponse {
    const ready = (type: string, status: boolean, reason = ''): msg.RuntimeCondition => ({
      type,
      status,
      reason,
      message: '',
    });
    return {
      status: {
        conditions: [
          ready('RuntimeReady', true),
          ready('NetworkReady', this.networkReady, this.networkReady ? '' : 'NetworkPluginNotReady'),
        ],
      },
      info: {},
      runtimeHandlers: [],
    };
  }

  async #execSync(
    id: string,
    command: readonly string[],
    timeoutSeconds: number,
    signal: AbortSignal | undefined,
  ): Promise<ExecSyncResult> {
    const container = this.state.running('ExecSync', id);
    using limit = linkedSignal(signal);
    const late = Promise.withResolvers<never>();
    const onLimit = () => {
      limit.abort();
      const text = `failed to exec in container: timeout ${timeoutSeconds}s exceeded: context deadline exceeded`;
      late.reject(new CriError('ExecSync', 'DEADLINE_EXCEEDED', text));
    };
    using _timer = timeoutSeconds === 0 ? undefined : this.#clock.setTimer(timeoutSeconds * 1000, onLimit);
    const result = await Promise.race([this.onCommand(container, command, limit.signal), late.promise]);
    return { stdout: new Uint8Array(0), stderr: new Uint8Array(0), exitCode: 0, ...result };
  }

  async *#events(signal: AbortSignal, onConnected: () => void): AsyncIterable<RuntimeEvent> {
    const queue = new AsyncQueue<RuntimeEvent>(MAX_QUEUED_EVENTS);
    const stop = () => queue.close();
    await this.#call('events', '', { signal }, () => void this.#listeners.add(queue));
    signal.addEventListener('abort', stop, { once: true });
    try {
      onConnected();
      yield* queue;
    } finally {
      signal.removeEventListener('abort', stop);
      this.#listeners.delete(queue);
    }
  }
}

const neverAnswered = (): Promise<never> => new Promise(() => {});

/** Rejects at once when `signal` aborts, as a gRPC client does; what the runtime does meanwhile is its own affair. */
async function cancellable<T>(method: string, signal: AbortSignal | undefined, work: () => T | Promise<T>): Promise<T> {
  if (signal === undefined) return await work();
  const cancelled = Promise.withResolvers<never>();
  const cancel = () => cancelled.reject(new CriError(method, 'CANCELLED', 'the call was cancelled', signal.reason));
  if (signal.aborted) cancel();
  else signal.addEventListener('abort', cancel, { once: true });
  try {
    return await Promise.race([cancelled.promise, signal.aborted ? cancelled.promise : Promise.resolve().then(work)]);
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}
