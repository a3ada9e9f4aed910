// Clearing away what is dead: containers beyond the newest of each name, sandboxes, log directories and links
// (pkg/kubelet/kuberuntime/kuberuntime_gc.go).
import { readdir, rm, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../core/errors.ts';
import { isCriError } from '../../cri/errors.ts';
import type { Container, PodSandbox } from '../../cri/gen/messages.ts';
import { type ContainerGcPolicy, DEFAULT_CONTAINER_GC } from '../config.ts';
import { POD_UID_LABEL, parseContainerMeta } from './labels.ts';
import { legacyLogLink } from './pod-paths.ts';
import type { RuntimeDeps, RuntimeSettings } from './runtime-deps.ts';

export interface GarbageOptions {
  mayRemoveAll(podUid: string): boolean;
  readonly allSourcesReady: boolean;
}

export class RuntimeGarbage {
  readonly #settings: Pick<RuntimeSettings, 'podLogsDir' | 'containerLogsDir'>;
  readonly #policy: ContainerGcPolicy;
  readonly #deps: Pick<RuntimeDeps, 'runtime' | 'clock' | 'log'>;

  constructor(
    settings: Pick<RuntimeSettings, 'podLogsDir' | 'containerLogsDir' | 'containerGc'>,
    deps: Pick<RuntimeDeps, 'runtime' | 'clock' | 'log'>,
  ) {
    this.#settings = settings;
    this.#policy = settings.containerGc ?? DEFAULT_CONTAINER_GC;
    this.#deps = deps;
  }

  /** Each thing that cannot be removed is logged and left for the next time. */
  async collect(opts: GarbageOptions, signal?: AbortSignal): Promise<void> {
    const call = signal === undefined ? {} : { signal };
    const containers = await this.#deps.runtime.listContainers(undefined, call);
    for (const container of containersToRemove(containers, opts, this.#policy, this.#deps.clock.now())) {
      if (signal?.aborted) return;
      await this.#attempt('container', container.id, () => this.#removeDead(container));
    }
    await this.#collectSandboxes(opts, call);
    if (opts.allSourcesReady) await this.#collectLogDirs(opts);
    await this.#collectLogLinks(containers);
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
    await Promise.all(containers.map((c) => this.#removeDead(c)));
    await Promise.all(sandboxes.map((s) => this.#removeSandbox(s.id)));
    await this.#attempt('log directory', uid, () => this.#removeLogDirs((dirUid) => dirUid === uid));
  }

  /** With its logs. Logs go first, so that a failure leaves the container there to be tried again. */
  async removeContainer(containerId: string): Promise<void> {
    try {
      const cri = await this.#deps.runtime.containerStatus(containerId);
      const { podName, podNamespace, containerName } = parseContainerMeta(cri.labels, cri.annotations);
      await removeLogs(cri.logPath);
      await rm(legacyLogLink(this.#settings, { podName, podNamespace, containerName, containerId }), { force: true });
      await this.#deps.runtime.removeContainer(containerId);
    } catch (err) {
      if (!isCriError(err, 'NOT_FOUND')) throw err;
    }
  }

  /** A container of which the runtime does not know whether it runs is stopped before it is removed. */
  async #removeDead(container: Container): Promise<void> {
    if (container.state === 'CONTAINER_UNKNOWN') await this.#deps.runtime.stopContainer(container.id, 0);
    await this.removeContainer(container.id);
  }

  /** Asked for anew: only sandboxes that are empty by now may go. */
  async #collectSandboxes(opts: GarbageOptions, call: { signal?: AbortSignal }): Promise<void> {
    const [sandboxes, containers] = await Promise.all([
      this.#deps.runtime.listPodSandboxes(undefined, call),
      this.#deps.runtime.listContainers(undefined, call),
    ]);
    const inUse = new Set(containers.map((c) => c.podSandboxId));
    for (const sandbox of sandboxesToRemove(sandboxes, inUse, opts)) {
      await this.#attempt('sandbox', sandbox.id, () => this.#removeSandbox(sandbox.id));
    }
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
  async #collectLogLinks(containers: readonly Container[]): Promise<void> {
    const alive = new Set(containers.filter((c) => c.state !== 'CONTAINER_EXITED').map((c) => c.id));
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
  containers: readonly Container[],
  opts: GarbageOptions,
  policy: ContainerGcPolicy,
  nowMs: number,
): Container[] {
  const remove: Container[] = [];
  const kept = new Map<string, Container[]>();
  const newestFirst = [...containers].sort((a, b) =>
    a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : 0,
  );
  const oldEnoughNs = BigInt(Math.trunc(nowMs - policy.minAgeMs)) * 1_000_000n;
  for (const c of newestFirst) {
    const { podUid, containerName } = parseContainerMeta(c.labels, c.annotations);
    if (podUid === '' || c.state === 'CONTAINER_RUNNING') continue;
    if (policy.minAgeMs > 0 && c.createdAt > oldEnoughNs) continue;
    if (opts.allSourcesReady && opts.mayRemoveAll(podUid)) remove.push(c);
    // A created one may be about to be started: only when the pod is done with it is it dead.
    else if (c.state !== 'CONTAINER_CREATED') {
      const key = `${podUid}/${containerName}`;
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
    if (excess() > 0) remove.push(...newestFirst.filter((c) => left.has(c)).slice(-excess()));
  }
  return remove.reverse();
}

/** Pure. Dead and empty ones; of pods that go on, the newest is kept as it tells the attempt. */
export function sandboxesToRemove(
  sandboxes: readonly PodSandbox[],
  inUse: ReadonlySet<string>,
  opts: GarbageOptions,
): PodSandbox[] {
  const newest = new Map<string, PodSandbox>();
  for (const s of sandboxes) {
    const uid = s.metadata?.uid ?? '';
    const other = newest.get(uid);
    if (other === undefined || s.createdAt > other.createdAt) newest.set(uid, s);
  }
  return sandboxes.filter((s) => {
    const uid = s.metadata?.uid ?? '';
    if (uid === '' || s.state === 'SANDBOX_READY' || inUse.has(s.id)) return false;
    return (opts.allSourcesReady && opts.mayRemoveAll(uid)) || newest.get(uid) !== s;
  });
}

/** The log and its rotated copies, `<n>.log*`. */
async function removeLogs(logPath: string): Promise<void> {
  if (logPath === '') return;
  const dir = path.dirname(logPath);
  const base = path.basename(logPath);
  for (const name of await listDir(dir)) if (name.startsWith(base)) await rm(path.join(dir, name), { force: true });
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
