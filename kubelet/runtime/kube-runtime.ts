// The runtime manager: puts the parts of this directory together behind one interface and owns no logic of its own.
import { type GarbageOptions, RuntimeGarbage } from './gc.ts';
import { ImagePuller } from './image-puller.ts';
import { PodKiller } from './kill-pod.ts';
import type { PodRuntimeStatus, RuntimePod } from './pod-runtime-status.ts';
import { PodStatusReader } from './pod-status-reader.ts';
import { PodResizer } from './resize-pod.ts';
import { RestartBackoff } from './restart-backoff.ts';
import type { RuntimeDeps, RuntimeSettings } from './runtime-deps.ts';
import type {
  KillPodInput,
  PodSyncResult,
  ReadStatusOptions,
  RuntimeManager,
  SyncPodInput,
} from './runtime-manager.ts';
import { ContainerStarter } from './start-container.ts';
import { PodSyncer } from './sync-pod.ts';

export class KubeRuntime implements RuntimeManager {
  readonly #reader: PodStatusReader;
  readonly #syncer: PodSyncer;
  readonly #killer: PodKiller;
  readonly #garbage: RuntimeGarbage;
  readonly #puller: ImagePuller;
  readonly #backoff: RestartBackoff;

  constructor(settings: RuntimeSettings, given: RuntimeDeps) {
    const deps: RuntimeDeps = { ...given, log: given.log.child({ component: 'runtime' }) };
    this.#reader = new PodStatusReader(deps);
    this.#killer = new PodKiller(deps);
    this.#garbage = new RuntimeGarbage(settings, deps, (signal) => this.#reader.listPods(signal));
    this.#puller = new ImagePuller(settings.pulls, deps);
    this.#backoff = new RestartBackoff(
      { maxMs: settings.maxRestartBackoffMs, initialMs: settings.initialRestartBackoffMs },
      deps,
    );
    const starter = new ContainerStarter(settings, deps, {
      puller: this.#puller,
      killer: this.#killer,
      reader: this.#reader,
    });
    const { resizing, runtime } = deps;
    const { resources } = settings;
    const resizer = resizing === undefined ? {} : { resizer: new PodResizer({ ...resizing, runtime, resources }) };
    const own = { killer: this.#killer, garbage: this.#garbage, backoff: this.#backoff, reader: this.#reader };
    this.#syncer = new PodSyncer(settings, deps, { starter, ...own, ...resizer });
  }

  listPods(signal?: AbortSignal): Promise<RuntimePod[]> {
    return this.#reader.listPods(signal);
  }

  getPodStatus(uid: string, name: string, namespace: string, opts?: ReadStatusOptions): Promise<PodRuntimeStatus> {
    return this.#reader.getPodStatus(uid, name, namespace, opts);
  }

  memoryRanOut(containerId: string): void {
    this.#reader.memoryRanOut(containerId);
  }

  syncPod(input: SyncPodInput): Promise<PodSyncResult> {
    return this.#syncer.sync(input);
  }

  isSettled(input: Pick<SyncPodInput, 'pod' | 'status' | 'verdicts'>): boolean {
    return this.#syncer.isSettled(input);
  }

  killPod(input: KillPodInput): Promise<void> {
    return this.#killer.killPod(input);
  }

  async collectGarbage(opts: GarbageOptions, listed?: readonly RuntimePod[], signal?: AbortSignal): Promise<void> {
    this.#backoff.collect();
    this.#puller.collect();
    await this.#garbage.collect(opts, listed, signal);
  }

  async removePod(uid: string, signal?: AbortSignal): Promise<void> {
    await this.#garbage.removePod(uid, signal);
    this.#reader.forget(uid);
  }
}
