// Clearing away what is dead: containers beyond the newest of each name, sandboxes, log directories and links
// (pkg/kubelet/kuberuntime/kuberuntime_gc.go).
import { readdir, rm, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../core/errors.ts';
import { isCriError } from '../../cri/errors.ts';
import { type ContainerGcPolicy, DEFAULT_CONTAINER_GC } from '../config.ts';
import { POD_UID_LABEL, parseContainerMeta } from './labels.ts';
import { legacyLogLink } from './pod-paths.ts';
import type { RuntimePod } from './pod-runtime-status.ts';
import { stateOf } from './pod-status-reader.ts';
import type { RuntimeDeps, RuntimeSettings } from './runtime-deps.ts';

export interface GarbageOptions {
  /** Of a pod that runs no more and never will. */
  mayRemoveAll(podUid: string): boolean;
  readonly allSourcesReady: boolean;
}

type ListedContainer = RuntimePod['containers'][number];
type ListedSandbox = RuntimePod['sandboxes'][number];
type ListPods = (signal?: AbortSignal) => Promise<readonly RuntimePod[]>;

export class RuntimeGarbage {
  readonly #settings: Pick<RuntimeSettings, 'podLogsDir' | 'containerLogsDir'>;
  readonly #policy: ContainerGcPolicy;
  readonly #deps: Pick<RuntimeDeps, 'runtime' | 'clock' | 'log'>;
  readonly #listPods: ListPods;

  constructor(
    settings: Pick<RuntimeSettings, 'podLogsDir' | 'containerLogsDir' | 'containerGc'>,
    deps: Pick<RuntimeDeps, 'runtime' | 'clock' | 'log'>,
    listPods: ListPods,
  ) {
    this.#settings = settings;
    this.#policy = settings.containerGc ?? DEFAULT_CONTAINER_GC;
    this.#deps = deps;
    this.#listPods = listPods;
  }

  /**
   * Each thing that cannot be removed is logged and left for the next time. `listed`, what the runtime held not long ago,
   * spares asking it when there is nothing to remove. @throws CriError when the runtime cannot be asked.
   */
  async collect(opts: GarbageOptions, listed?: readonly RuntimePod[], signal?: AbortSignal): Promise<void> {
    const mayHaveGarbage =
      listed === undefined || this.#deadContainers(listed, opts).length + sandboxesToRemove(listed, opts).length > 0;
    const pods = mayHaveGarbage ? await this.#collectDead(opts, signal) : listed;
    if (opts.allSourcesReady) await this.#collectLogDirs(opts);
    await this.#collectLogLinks(pods);
  }

  async #collectDead(opts: GarbageOptions, signal?: AbortSignal): Promise<readonly RuntimePod[]> {
    const pods = await this.#listPods(signal);
    const containers = this.#deadContainers(pods, opts);
    for (const container of containers) {
      if (signal?.aborted) return pods;
      await this.#attempt('container', container.id, () => this.#removeDead(container));
    }
    // Asked for anew: only sandboxes that are empty by now may go.
    const left = containers.length > 0 ? await this.#listPods(signal) : pods;
    for (const { id } of sandboxesToRemove(left, opts)) {
      if (signal?.aborted) return left;
      await this.#attempt('sandbox', id, () => this.#removeSandbox(id));
    }
    return left;
  }

  #deadContainers(pods: readonly RuntimePod[], opts: GarbageOptions): ListedContainer[] {
    return containersToRemove(pods, opts, this.#policy, this.#deps.clock.now());
  }

  /** All that the runtime holds of a pod that has ended. Idempotent. @throws CriError when something is left. */
  async removePod(uid: string, signal?: AbortSignal): Promise<void> {
    const call = signal === undefined ? {} : { signal };
    const filter = { labelSelector: { [POD_UID_LABEL]: uid } };
    const { runtime } = this.#deps;
    const [containers, sandboxes] = await Promise.all([
      runtime.listContainers(filter, call),
      runtime.listPodSandboxes(filter, call),
    ]);
    await Promise.all(containers.map((c) => this.#removeDead({ id: c.id, state: stateOf(c.state) })));
    await Promise.all(sandboxes.map((s) => this.#removeSandbox(s.id)));
    await this.#attempt('log directory', uid, () => this.#removeLogDirs((dirUid) => dirUid === uid));
  }

  /**
   * With its logs. Logs go first, so that a failure leaves the container there to be tried again. `keepsLog`: all logs
   * of its name but its own go; the number of that one is what the restart count goes on from.
   */
  async removeContainer(containerId: string, { keepsLog = false } = {}): Promise<void> {
    try {
      const cri = await this.#deps.runtime.containerStatus(containerId);
      const { podName, podNamespace, containerName } = parseContainerMeta(cri.labels, cri.annotations);
      await removeLogs(cri.logPath, keepsLog);
      await rm(legacyLogLink(this.#settings, { podName, podNamespace, containerName, containerId }), { force: true });
      await this.#deps.runtime.removeContainer(containerId);
    } catch (err) {
      if (!isCriError(err, 'NOT_FOUND')) throw err;
    }
  }

  /** A container of which the runtime does not know whether it runs is stopped before it is removed. */
  async #removeDead(container: Pick<ListedContainer, 'id' | 'state'>): Promise<void> {
    if (container.state === 'unknown') await this.#deps.runtime.stopContainer(container.id, 0);
    await this.removeContainer(container.id);
  }

  /** Stopped first: that is what gives its address and network namespace back. */
  async #removeSandbox(sandboxId: string): Promise<void> {
    await this.#deps.runtime.stopPodSandbox(sandboxId);
    await this.#deps.runtime.removePodSandbox(sandboxId);
  }

  async #collectLogDirs(opts: GarbageOptions): Promise<void> {
    await this.#attempt('log directories', this.#settings.podLogsDir, () =>
      this.#removeLogDirs((uid) => opts.mayRemoveAll(uid)),
    );
  }

  /** `<namespace>_<name>_<uid>`; other names are none of our business. */
  async #removeLogDirs(mayRemove: (uid: string) => boolean): Promise<void> {
    for (const dir of await listDir(this.#settings.podLogsDir)) {
      const uid = /^[^_]+_[^_]+_([^_]+)$/.exec(dir)?.[1];
      if (uid !== undefined && mayRemove(uid)) {
        await rm(path.join(this.#settings.podLogsDir, dir), { recursive: true, force: true });
      }
    }
  }

  /** Links whose log is gone. While a log is rotated, that of a running container is gone for a moment. */
  async #collectLogLinks(pods: readonly RuntimePod[]): Promise<void> {
    const containers = pods.flatMap((p) => p.containers);
    const alive = new Set(containers.filter((c) => c.state !== 'exited').map((c) => c.id));
    for (const name of await listDir(this.#settings.containerLogsDir)) {
      const containerId = /-([^-]+)\.log$/.exec(name)?.[1];
      if (containerId === undefined || alive.has(containerId)) continue;
      const link = path.join(this.#settings.containerLogsDir, name);
      await this.#attempt('log link', link, () => unlinkIfBroken(link));
    }
  }

  async #attempt(what: string, name: string, remove: () => Promise<void>): Promise<void> {
    try {
      await remove();
    } catch (err) {
      this.#deps.log.warn({ err, what, name }, 'not removed, will be tried again');
    }
  }
}

/** Pure. Of pods whose content may go: all that does not run. Else: what the policy does not keep, oldest first. */
export function containersToRemove(
  pods: readonly RuntimePod[],
  opts: GarbageOptions,
  policy: ContainerGcPolicy,
  nowMs: number,
): ListedContainer[] {
  const remove: ListedContainer[] = [];
  const kept = new Map<string, ListedContainer[]>();
  const all = pods.flatMap(({ uid, containers }) => containers.map((container) => ({ uid, container })));
  all.sort((a, b) => b.container.createdAtMs - a.container.createdAtMs); // newest first
  for (const { uid, container: c } of all) {
    if (c.state === 'running') continue;
    if (policy.minAgeMs > 0 && c.createdAtMs > nowMs - policy.minAgeMs) continue;
    if (opts.allSourcesReady && opts.mayRemoveAll(uid)) remove.push(c);
    // A created one may be about to be started: only when the pod is done with it is it dead.
    else if (c.state !== 'created') {
      const key = `${uid}/${c.name}`;
      kept.set(key, [...(kept.get(key) ?? []), c]);
    }
  }
  const trim = (limit: number) => {
    for (const list of kept.values()) remove.push(...list.splice(limit));
  };
  if (policy.maxPerContainer >= 0) trim(policy.maxPerContainer);
  const excess = () => [...kept.values()].reduce((sum, list) => sum + list.length, 0) - policy.maxContainers;
  if (policy.maxContainers >= 0 && excess() > 0) {
    trim(Math.max(1, Math.trunc(policy.maxContainers / kept.size))); // an equal share each
    const left = new Set([...kept.values()].flat());
    const leftNewestFirst = all.map(({ container }) => container).filter((c) => left.has(c));
    if (excess() > 0) remove.push(...leftNewestFirst.slice(-excess()));
  }
  return remove.reverse();
}

/** Pure. Dead and empty ones; of pods that go on, the newest is kept as it tells the attempt. */
export function sandboxesToRemove(pods: readonly RuntimePod[], opts: GarbageOptions): ListedSandbox[] {
  return pods.flatMap(({ uid, sandboxes, containers }) => {
    const inUse = new Set(containers.map((c) => c.sandboxId));
    const newest = sandboxes.reduce<ListedSandbox | undefined>(
      (best, s) => (best === undefined || s.createdAtMs > best.createdAtMs ? s : best),
      undefined,
    );
    const mayRemoveAll = opts.allSourcesReady && opts.mayRemoveAll(uid);
    return sandboxes.filter((s) => !s.ready && !inUse.has(s.id) && (mayRemoveAll || s !== newest));
  });
}

/** The log and its rotated copies, `<n>.log*`; with `others` those of all other instances instead. */
async function removeLogs(logPath: string, others: boolean): Promise<void> {
  if (logPath === '') return;
  const dir = path.dirname(logPath);
  const base = path.basename(logPath);
  for (const name of await listDir(dir)) {
    if (name.startsWith(base) !== others) await rm(path.join(dir, name), { force: true });
  }
}

async function listDir(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return [];
    throw err;
  }
}

async function unlinkIfBroken(link: string): Promise<void> {
  try {
    await stat(link);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') await unlink(link);
  }
}
