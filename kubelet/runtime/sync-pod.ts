// One pass towards a pod's spec: performs what computeActions decided, in the kubelet's order
// (pkg/kubelet/kuberuntime/kuberuntime_manager.go SyncPod). A failing step is reported, not thrown: the worker decides
// when to come back.
import type { Pod } from '../../api/pod.ts';
import { errorMessage } from '../../core/errors.ts';
import { DEFAULT_CONTAINER_GC } from '../config.ts';
import { computeActions } from './compute-actions.ts';
import type { RuntimeGarbage } from './gc.ts';
import type { PodKiller } from './kill-pod.ts';
import type { AnyContainer } from './labels.ts';
import { type ComputeActionsInput, isNothing, type PodActions } from './pod-actions.ts';
import { findContainer, type PodRuntimeStatus, type RuntimeContainer } from './pod-runtime-status.ts';
import { type PodSandbox, PodSandboxes, sandboxSettled } from './pod-sandbox.ts';
import type { PodStatusReader } from './pod-status-reader.ts';
import type { PodResizer } from './resize-pod.ts';
import type { RestartBackoff } from './restart-backoff.ts';
import { isSidecar } from './restart-policy.ts';
import { podReference, type RuntimeDeps, type RuntimeSettings } from './runtime-deps.ts';
import type { ContainerStartFailure, PodSyncResult, SyncPodInput } from './runtime-manager.ts';
import type { ContainerStarter, StartContext } from './start-container.ts';

export interface PodSyncerParts {
  readonly starter: ContainerStarter;
  readonly killer: PodKiller;
  readonly garbage: RuntimeGarbage;
  readonly backoff: RestartBackoff;
  readonly reader: Pick<PodStatusReader, 'expectSandbox'>;
  /** Without it the resources of running containers stay as they are. */
  readonly resizer?: PodResizer;
}

/** What has come of the pass so far. */
interface Progress {
  changed: boolean;
  onlyAdded: boolean;
  readonly started: string[];
  readonly failures: ContainerStartFailure[];
  readonly unfinished: Promise<void>[];
  resizeError?: string;
}

/** Period of upstream's relist (genericPlegRelistPeriod). */
const RELIST_MS = 1_000;

export class PodSyncer {
  readonly #settings: RuntimeSettings;
  readonly #deps: RuntimeDeps;
  readonly #parts: PodSyncerParts;
  readonly #sandboxes: PodSandboxes;

  constructor(settings: RuntimeSettings, deps: RuntimeDeps, parts: PodSyncerParts) {
    this.#settings = settings;
    this.#deps = deps;
    this.#parts = parts;
    this.#sandboxes = new PodSandboxes(settings, deps, parts);
  }

  async sync(input: SyncPodInput): Promise<PodSyncResult> {
    const { observer } = this.#deps;
    const progress: Progress = { changed: false, onlyAdded: true, started: [], failures: [], unfinished: [] };
    let failed: Pick<PodSyncResult, 'error'> = {};
    let isNamespaced = false;
    try {
      const actions = this.#actions(input);
      isNamespaced = actions.createSandbox && input.pod.spec?.hostUsers === false;
      if (isNamespaced) observer?.counted('kubelet_started_user_namespaced_pods_total');
      await this.#run(input, actions, input.signal ?? new AbortController().signal, progress);
    } catch (cause) {
      failed = { error: cause instanceof Error ? cause : new Error(String(cause)) };
    }
    // Whatever failed: what is wrong with a user namespace often shows with the first container only.
    const hasFailed = failed.error !== undefined || progress.failures.length > 0;
    if (isNamespaced && hasFailed) observer?.counted('kubelet_started_user_namespaced_pods_errors_total');
    return { ...progress, ...failed, unfinished: Promise.all(progress.unfinished) };
  }

  isSettled(input: Pick<SyncPodInput, 'pod' | 'status' | 'verdicts'>): boolean {
    return isNothing(this.#actions(input));
  }

  #actions(input: ComputeActionsInput): PodActions {
    const resources = this.#deps.resizing?.actuated;
    return computeActions(resources === undefined ? input : { ...input, resources });
  }

  async #run(input: SyncPodInput, actions: PodActions, signal: AbortSignal, progress: Progress): Promise<void> {
    const { pod, status } = input;
    if (actions.containersToReset.length > 0) {
      await this.#resetContainers(pod, status, actions.containersToReset, signal);
      progress.changed = true;
      progress.onlyAdded = false;
      return;
    }
    if (actions.killPod) await this.#killPod(pod, status, actions, signal, progress);
    else await this.#killContainers(pod, status, actions, signal, progress);
    if (actions.killPod && !actions.createSandbox) return;
    await this.#pruneEnded(pod, status, actions, progress);
    signal.throwIfAborted();
    if (actions.containersToResize.length > 0 || actions.resizePod) await this.#resize(pod, actions, signal, progress);
    if (!actions.createSandbox && !startsAnything(actions)) return;
    const sandbox = await this.#sandbox(input, actions, signal);
    progress.changed ||= actions.createSandbox;
    try {
      await input.mountVolumes?.();
      const imageVolumes = await this.#parts.starter.pullImageVolumes(pod, sandbox.config, signal);
      const { unfinished } = progress;
      const ctx = { pod, status, signal, imageVolumes, unfinished, ...startContext(sandbox) };
      await this.#startContainers(ctx, actions, sandbox, progress);
      await sandbox.etcHosts.written;
    } finally {
      await sandboxSettled(sandbox);
    }
  }

  async #sandbox(input: SyncPodInput, actions: PodActions, signal: AbortSignal): Promise<PodSandbox> {
    const containers = containersToStart(actions);
    if (actions.createSandbox) return this.#sandboxes.create(input, actions.attempt, containers, signal);
    const sandbox = await this.#sandboxes.existing(input, actions.sandboxId, actions.attempt, signal);
    this.#prepareNext({ pod: input.pod, status: input.status, signal }, containers[0], sandbox);
    return sandbox;
  }

  async #killPod(
    pod: Pod,
    status: PodRuntimeStatus,
    actions: PodActions,
    signal: AbortSignal,
    progress: Progress,
  ): Promise<void> {
    const replaced = actions.createSandbox && status.sandboxes.length > 0;
    if (replaced) {
      const message = 'Pod sandbox changed, it will be killed and re-created.';
      this.#deps.recorder.event(podReference(pod), 'Normal', 'SandboxChanged', message);
    }
    progress.changed ||=
      replaced || status.sandboxes.some((s) => s.state === 'SANDBOX_READY') || status.containers.some(isAlive);
    progress.onlyAdded &&= status.sandboxes.length + status.containers.length === 0;
    await this.#parts.killer.killPod({ pod, status, signal });
    if (!actions.createSandbox) return;
    const initNames = new Set((pod.spec?.initContainers ?? []).map((c) => c.name));
    const stale = status.containers.filter((c) => initNames.has(c.name));
    const isNewest = (c: RuntimeContainer) => findContainer(status, c.name) === c;
    await Promise.all(stale.map((c) => this.#parts.garbage.removeContainer(c.id, { keepsLog: isNewest(c) })));
  }

  async #killContainers(
    pod: Pod,
    status: PodRuntimeStatus,
    actions: PodActions,
    signal: AbortSignal,
    progress: Progress,
  ): Promise<void> {
    if (actions.containersToKill.length === 0) return;
    progress.changed = true;
    progress.onlyAdded = false;
    await this.#parts.killer.killContainers(
      actions.containersToKill.map((toKill) => ({ pod, status, ...toKill, signal })),
    );
  }

  /** Before anything is started: what starts with more than before finds room in its pod. */
  async #resize(pod: Pod, actions: PodActions, signal: AbortSignal, progress: Progress): Promise<void> {
    progress.onlyAdded = false;
    try {
      await this.#parts.resizer?.resize(pod, actions, signal);
      progress.changed ||= actions.containersToResize.length > 0;
    } catch (err) {
      if (signal.aborted) throw err;
      this.#deps.log.warn({ err, podUid: pod.metadata?.uid }, 'containers not resized, will retry');
      progress.resizeError = errorMessage(err);
    }
  }

  /** Restart of all containers in place: one after the other, logs are kept. */
  async #resetContainers(
    pod: Pod,
    status: PodRuntimeStatus,
    containers: readonly RuntimeContainer[],
    signal: AbortSignal,
  ): Promise<void> {
    for (const container of containers) {
      if (isAlive(container)) {
        const kill = { pod, status, container, message: 'killing', reason: 'other', graceOverrideSeconds: 0 } as const;
        await this.#parts.killer.killContainer({ ...kill, signal });
      }
      await this.#deps.runtime.removeContainer(container.id, { signal });
    }
  }

  /** Of ended instances only the newest are kept. Costs nothing unless a container was restarted. */
  async #pruneEnded(pod: Pod, status: PodRuntimeStatus, actions: PodActions, progress: Progress): Promise<void> {
    const ended = (name: string) =>
      status.containers.filter((c) => c.name === name && (c.state === 'exited' || c.state === 'unknown'));
    const { maxPerContainer } = this.#settings.containerGc ?? DEFAULT_CONTAINER_GC;
    const kept = maxPerContainer < 0 ? Number.POSITIVE_INFINITY : Math.max(1, maxPerContainer);
    const surplus = (pod.spec?.containers ?? []).flatMap(({ name }) => ended(name).slice(kept));
    if (!actions.killPod) surplus.push(...(pod.spec?.initContainers ?? []).flatMap(({ name }) => ended(name).slice(1)));
    for (const { id } of surplus) {
      progress.onlyAdded = false;
      await this.#parts.garbage.removeContainer(id).catch((err: unknown) => {
        this.#deps.log.warn({ err, containerId: id }, 'dead container not removed, left to garbage collection');
      });
    }
  }

  /** One after the other, as users expect of init containers and as images are then pulled. */
  async #startContainers(
    ctx: StartContext,
    actions: PodActions,
    sandbox: PodSandbox,
    progress: Progress,
  ): Promise<void> {
    const init = new Set<AnyContainer>(actions.initContainersToStart);
    const all = containersToStart(actions);
    for (const [i, container] of all.entries()) {
      this.#prepareNext(ctx, all[i + 1], sandbox);
      const ok = await this.#startOne(ctx, container, sandbox, progress);
      if (!ok && init.has(container) && !isSidecar(container)) return;
    }
  }

  /** While something else takes its time. Not for a restart, which its back-off may put off. */
  #prepareNext(
    { pod, status, signal }: Pick<StartContext, 'pod' | 'status' | 'signal'>,
    next: AnyContainer | undefined,
    { prepared }: PodSandbox,
  ): void {
    if (next === undefined || prepared.has(next.name) || findContainer(status, next.name) !== undefined) return;
    prepared.set(next.name, this.#parts.starter.prepare(pod, next, status, signal));
  }

  /** False when the container did not start, which is then among the failures. */
  async #startOne(
    ctx: StartContext,
    container: AnyContainer,
    sandbox: PodSandbox,
    progress: Progress,
  ): Promise<boolean> {
    ctx.signal.throwIfAborted();
    const delay = this.#parts.backoff.tryStart(ctx.pod, container, ctx.status);
    if (delay !== undefined) {
      const { name = '', namespace = '', uid = '' } = ctx.pod.metadata ?? {};
      const text = `Back-off restarting failed container ${container.name} in pod ${name}_${namespace}(${uid})`;
      this.#deps.recorder.event(podReference(ctx.pod, container), 'Warning', 'BackOff', text);
      progress.failures.push({ container: container.name, reason: 'CrashLoopBackOff', ...delay });
      return false;
    }
    const failure = await this.#parts.starter.start(ctx, container, sandbox.prepared.get(container.name));
    if (failure === undefined) {
      progress.changed = true;
      progress.started.push(container.name);
      return true;
    }
    // Something may have come into being before it failed.
    if (/^(CreateContainerError|RunContainerError|PostStartHookError)$/.test(failure.reason)) progress.changed = true;
    // Such a container has ended: without ever running, of which containerd tells nobody, or within this very pass, which
    // makes its event no news. Upstream's next relist would find it; this second look does.
    const isThere = failure.reason === 'RunContainerError' || failure.reason === 'PostStartHookError';
    progress.failures.push(isThere ? { ...failure, retryAtMs: this.#deps.clock.now() + RELIST_MS } : failure);
    return false;
  }
}

function startContext(sandbox: PodSandbox) {
  const { id: sandboxId, config, runtimeHandler, addresses, etcHosts, userIds } = sandbox;
  return { sandboxId, sandboxConfig: config, runtimeHandler, addresses, etcHosts, userIds };
}

function containersToStart(actions: PodActions): AnyContainer[] {
  return [...actions.ephemeralContainersToStart, ...actions.initContainersToStart, ...actions.containersToStart];
}

function startsAnything(actions: PodActions): boolean {
  return containersToStart(actions).length > 0;
}

function isAlive(container: RuntimeContainer): boolean {
  return container.state === 'running' || container.state === 'unknown';
}
