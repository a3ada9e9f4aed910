// The volumes that need nothing but this node and its API server: emptyDir, hostPath, configMap, secret, downwardAPI and
// projected. All state is the directory tree and the mount table, so that a killed agent finds its way back.
import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Pod, Volume } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Clock } from '../../core/clock.ts';
import { DueQueue } from '../../core/due-queue.ts';
import { AgentError, errnoOf, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { diskFiles, type FileCalls, memoryFiles } from '../../host/file-calls.ts';
import { type Mounter, type MountPoint, mountsUnder } from '../../host/mounts.ts';
import { removeTree } from '../../host/remove-tree.ts';
import type { KubeletObserver } from '../metrics/observer.ts';
import { podReference } from '../runtime/runtime-deps.ts';
import { writeAtomically } from './atomic-writer.ts';
import type { ClaimVolumes } from './claims/claim-volumes.ts';
import { mountNoSwap, setUpEmptyDir } from './empty-dir.ts';
import { prepareHostPath } from './host-path.ts';
import { MountBackoff } from './mount-backoff.ts';
import type { ObjectCache } from './object-cache.ts';
import { applyFsGroup, giveToGroup } from './ownership.ts';
import { buildPayload, type PayloadDeps } from './payload.ts';
import { PayloadMounts } from './payload-mounts.ts';
import { makeNestedMountPoints, usedVolumes } from './pod-volumes.ts';
import type { TokenManager } from './token-manager.ts';
import { AttachLimitError, VolumeStepError } from './volume-error.ts';
import type { MountedVolume, VolumeManager } from './volume-manager.ts';
import { type PluginDir, VolumePaths } from './volume-paths.ts';
import { volumePlugin } from './volume-plugin.ts';

export interface LocalVolumesOptions {
  /** The kubelet's root directory; canonical, since mount points are compared by path. */
  readonly rootDir: string;
  /** Memory that pods of this node may use, bytes; bounds tmpfs volumes. */
  readonly nodeMemoryBytes: number;
}

export interface LocalVolumesDeps {
  readonly objects: ObjectCache;
  readonly tokens: TokenManager;
  /** Claims and inline CSI volumes; without it they are refused. */
  readonly claims?: Pick<ClaimVolumes, 'serves' | 'startRound' | 'setUp' | 'unmountPod' | 'releaseDisks'>;
  readonly fieldFacts: PayloadDeps['fieldFacts'];
  readonly mounter: Mounter;
  readonly observer?: Pick<KubeletObserver, 'volumeOperation'>;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Files in memory that are written without a break: more of them would hold up everything else. */
const MAX_FILES_AT_ONCE = 64;

/** Upstream's names of operations, for metrics. */
const OPERATIONS = {
  mount: { files: 'volume_mount', device: 'map_volume' },
  unmount: { files: 'volume_unmount', device: 'unmap_volume' },
} as const;

export class LocalVolumes implements VolumeManager, Disposable {
  readonly #opts: LocalVolumesOptions;
  readonly #deps: LocalVolumesDeps;
  readonly #log: Logger;
  readonly #paths: VolumePaths;
  readonly #mounted = new Map<string, ReadonlyMap<string, MountedVolume>>();
  readonly #handlers = new Set<(podUid: string) => void>();
  readonly #backoff: MountBackoff;
  /** Pods whose volumes are being taken away, or could not be. */
  readonly #leaving = new Set<string>();
  readonly #retries: DueQueue<string>;
  readonly #onObjectChange: Disposable;
  readonly #payloadMounts: PayloadMounts;
  #volatile: Promise<void> | undefined;

  constructor(opts: LocalVolumesOptions, deps: LocalVolumesDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'volumes' });
    this.#paths = new VolumePaths(opts.rootDir);
    this.#payloadMounts = new PayloadMounts(this.#paths);
    this.#backoff = new MountBackoff(deps.clock);
    this.#retries = new DueQueue<string>(deps.clock, (uid) => this.notifyPod(uid));
    this.#onObjectChange = deps.objects.onChange((uid) => {
      this.#backoff.release(uid);
      this.notifyPod(uid);
    });
  }

  async mountPod(pod: Pod, signal: AbortSignal): Promise<ReadonlyMap<string, MountedVolume>> {
    const uid = pod.metadata?.uid ?? '';
    this.#deps.objects.registerPod(pod);
    await mkdir(this.#paths.podDir(uid), { recursive: true, mode: 0o750 });
    const before = this.#mounted.get(uid);
    const mounted = new Map<string, MountedVolume>();
    const failures = new Map<string, unknown>();
    let allFresh = true;
    const round = this.#deps.claims?.startRound(uid) ?? { isDue: false };
    await Promise.all(
      usedVolumes(pod).map(async (volume) => {
        try {
          const result = await this.#trySetUp(pod, volume, round, signal);
          this.#backoff.succeeded(uid, volume.name);
          if (result !== undefined) mounted.set(volume.name, { plugin: volumePlugin(volume), ...result });
        } catch (err) {
          const isNews = !signal.aborted && this.#backoff.failed(uid, volume.name, err);
          if (isNews) this.#reportFailure(pod, volume, err);
          const present = signal.aborted ? undefined : before?.get(volume.name);
          if (present === undefined) failures.set(volume.name, err);
          else mounted.set(volume.name, present); // what is in place serves the pod as it is until it can be renewed
          allFresh = false;
        }
      }),
    );
    if (failures.size > 0) throw this.#mountFailure(pod, failures, signal);
    if (allFresh) this.#stopRetrying(uid);
    else this.#retries.set(uid, this.#backoff.retryInMs(uid));
    this.#mounted.set(uid, mounted);
    return mounted;
  }

  async unmountPod(podUid: string, signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    const mounted = [...(this.#mounted.get(podUid)?.values() ?? [])];
    this.#mounted.delete(podUid);
    const startMs = clock.monotonicMs();
    let ok = false;
    try {
      await this.#unmountAll(podUid, signal);
      ok = true;
    } finally {
      for (const volume of mounted) this.#observe('unmount', volume, volume.plugin ?? '', startMs, ok);
    }
  }

  async #unmountAll(podUid: string, signal: AbortSignal): Promise<void> {
    this.#deps.tokens.forgetPod(podUid);
    this.#stopRetrying(podUid);
    const podDir = this.#paths.podDir(podUid);
    this.#leaving.add(podUid);
    await this.#unmountUnder([path.join(podDir, 'volume-subpaths')], signal); // they hold the volumes that they are of
    await this.#deps.claims?.unmountPod(podUid, signal);
    const mounts = await this.#unmountUnder([podDir, this.#paths.volatilePodDir(podUid)], signal);
    this.#payloadMounts.forgetPod(podUid);
    await this.#deps.claims?.releaseDisks(mounts, signal);
    // Nothing should be mounted below any more; what somebody mounts now is refused by the walk, not emptied.
    await removeTree(this.#paths.volatilePodDir(podUid), signal);
    for (const name of ['volume-subpaths', 'volumes', 'volumeDevices', 'plugins']) {
      await removeTree(path.join(podDir, name), signal);
    }
    this.#leaving.delete(podUid);
  }

  /** Unmounts what is left and removes the whole pod directory, termination logs included. Idempotent. */
  async removePodDir(podUid: string, signal: AbortSignal): Promise<void> {
    await this.unmountPod(podUid, signal);
    await removeTree(this.#paths.podDir(podUid), signal);
  }

  volumesOf(podUid: string): ReadonlyMap<string, MountedVolume> | undefined {
    return this.#mounted.get(podUid);
  }

  onPodVolumesChanged(handler: (podUid: string) => void): Disposable {
    this.#handlers.add(handler);
    return { [Symbol.dispose]: () => void this.#handlers.delete(handler) };
  }

  /** Tells that the pod's volumes should be brought up to date now, e.g. because a token is due. */
  notifyPod(podUid: string): void {
    for (const handler of this.#handlers) handler(podUid);
  }

  /** Tries again at once for every pod that waits for a volume, or to be rid of one: the driver may be there now. */
  notifyWaitingPods(): void {
    for (const uid of new Set([...this.#backoff.podUids, ...this.#leaving])) {
      this.#backoff.release(uid);
      this.notifyPod(uid);
    }
  }

  async listPodDirs(): Promise<string[]> {
    const found = new Set<string>();
    for (const dir of [this.#paths.podsDir, this.#paths.volatileDir]) {
      for (const name of await readdirIfThere(dir)) found.add(name);
    }
    return [...found];
  }

  /** For a kubelet that may come after us on this node. Nobody may use the volumes any more but running pods. */
  async handOver(): Promise<void> {
    const hostPaths = [...this.#mounted.values()].flatMap((volumes) => [...volumes.values()].map((v) => v.hostPath));
    await this.#payloadMounts.handOver(hostPaths, this.#deps.mounter);
  }

  forgetPod(podUid: string): void {
    this.#deps.objects.forgetPod(podUid);
    this.#deps.tokens.forgetPod(podUid);
    this.#stopRetrying(podUid);
  }

  [Symbol.dispose](): void {
    this.#retries[Symbol.dispose]();
    this.#onObjectChange[Symbol.dispose]();
  }

  #stopRetrying(podUid: string): void {
    this.#retries.delete(podUid);
    this.#backoff.forgetPod(podUid);
  }

  #observe(
    what: keyof typeof OPERATIONS,
    volume: Pick<MountedVolume, 'isBlock'>,
    plugin: string,
    startMs: number,
    ok: boolean,
  ): void {
    const { clock, observer } = this.#deps;
    const operation = OPERATIONS[what][volume.isBlock === true ? 'device' : 'files'];
    observer?.volumeOperation(plugin, operation, (clock.monotonicMs() - startMs) / 1000, ok);
  }

  /** Drivers are left alone until the next try is due; what this node can see by itself is looked at each time. */
  async #trySetUp(
    pod: Pod,
    volume: Volume,
    round: { readonly isDue: boolean },
    signal: AbortSignal,
  ): Promise<MountedVolume | undefined> {
    const uid = pod.metadata?.uid ?? '';
    const held = this.#deps.claims?.serves(volume) ? this.#backoff.heldBack(uid, volume.name) : undefined;
    if (held !== undefined) throw held.err;
    const startMs = this.#deps.clock.monotonicMs();
    const wasThere = this.#mounted.get(uid)?.has(volume.name) ?? false;
    try {
      const result = await this.#setUp(pod, volume, round, signal);
      const isWork = !wasThere || payloadPlugin(volume) !== undefined; // content is looked through each time
      if (result !== undefined && isWork) {
        this.#observe('mount', result, result.plugin ?? volumePlugin(volume), startMs, true);
      }
      return result;
    } catch (err) {
      const step = stepOf(err);
      if (step !== 'process' && step !== 'attach') {
        const isBlock = err instanceof VolumeStepError && err.isBlock;
        this.#observe('mount', { isBlock }, volumePlugin(volume), startMs, false);
      }
      throw err;
    }
  }

  async #setUp(
    pod: Pod,
    volume: Volume,
    round: { readonly isDue: boolean },
    signal: AbortSignal,
  ): Promise<MountedVolume | undefined> {
    const uid = pod.metadata?.uid ?? '';
    const { name } = volume;
    const { claims } = this.#deps;
    if (claims?.serves(volume)) return await claims.setUp(pod, volume, round, signal);
    if (volume.hostPath !== undefined) {
      // Looked at once: a running pod's storage may have fallen silent, which is none of its other volumes' business.
      const present = this.#mounted.get(uid)?.get(name);
      if (present !== undefined) return present;
      return { name, hostPath: await prepareHostPath(volume.hostPath), readOnly: false, selinuxRelabel: false };
    }
    if (volume.emptyDir !== undefined) {
      const plugin = 'kubernetes.io~empty-dir';
      const dir = this.#paths.volumeDir(uid, plugin, name);
      const readyFile = this.#paths.readyFile(uid, plugin, name);
      const { nodeMemoryBytes } = this.#opts;
      await setUpEmptyDir({ pod, source: volume.emptyDir, dir, readyFile, nodeMemoryBytes }, this.#deps, signal);
      return { name, hostPath: dir, readOnly: false, selinuxRelabel: true };
    }
    const plugin = payloadPlugin(volume);
    if (plugin !== undefined) return await this.#setUpPayload(pod, volume, plugin, signal);
    if (volume.image !== undefined) return undefined; // the runtime mounts images itself
    throw new AgentError('no volume plugin matched', { code: 'VOLUME_UNSUPPORTED' });
  }

  async #setUpPayload(pod: Pod, volume: Volume, plugin: PluginDir, signal: AbortSignal): Promise<MountedVolume> {
    const uid = pod.metadata?.uid ?? '';
    // First the content: without it nothing is made that would have to be taken down again.
    const payload = await buildPayload(pod, volume, this.#deps, signal);
    const isVolatile = plugin !== 'kubernetes.io~configmap';
    if (isVolatile) await this.#ensureVolatile(signal);
    const usualDir = this.#paths.volumeDir(uid, plugin, volume.name);
    const isOurs = isVolatile && !this.#payloadMounts.isAdopted(usualDir);
    const dir = isOurs ? this.#paths.volatileVolumeDir(uid, plugin, volume.name) : usualDir;
    const files = isVolatile && payload.size <= MAX_FILES_AT_ONCE ? memoryFiles : diskFiles;
    await files.mkdir(dir, { recursive: true, mode: 0o750 });
    await widenMode(files, dir, isVolatile ? 0o1777 : 0o777); // as the emptyDir that upstream wraps around the content
    await makeNestedMountPoints(pod, volume.name, dir);
    const fsGroup = pod.spec?.securityContext?.fsGroup;
    const beforePublish = fsGroup === undefined ? undefined : (d: string) => applyFsGroup(d, fsGroup, true, this.#log);
    await writeAtomically(dir, payload, this.#deps.clock.now(), { beforePublish, files });
    if (fsGroup !== undefined) await giveToGroup(dir, fsGroup, true, this.#log);
    return { name: volume.name, hostPath: dir, readOnly: true, selinuxRelabel: true };
  }

  /** Mounts the tmpfs of all pods' secrets once. What an earlier process of ours, or a kubelet, left is used on. */
  #ensureVolatile(signal: AbortSignal): Promise<void> {
    this.#volatile ??= this.#mountVolatile(signal).catch((err: unknown) => {
      this.#volatile = undefined; // the next volume tries again
      throw err;
    });
    return this.#volatile;
  }

  async #mountVolatile(signal: AbortSignal): Promise<void> {
    const dir = this.#paths.volatileDir;
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const mounts = await this.#deps.mounter.list();
    this.#payloadMounts.adopt(mounts);
    if (mounts.some((m) => m.mountPoint === dir)) return;
    await mountNoSwap(this.#deps.mounter, dir, ['mode=0700'], signal);
  }

  /** Answers what is still mounted elsewhere. */
  async #unmountUnder(dirs: readonly string[], signal: AbortSignal): Promise<readonly MountPoint[]> {
    const { mounter } = this.#deps;
    const inside = (mounts: readonly MountPoint[]) => dirs.flatMap((dir) => mountsUnder(mounts, dir));
    const before = await mounter.list();
    const there = inside(before);
    if (there.length === 0) return before;
    for (const mount of there) await mounter.unmount(mount.mountPoint, signal);
    const mounts = await mounter.list();
    const left = inside(mounts);
    if (left.length === 0) return mounts;
    throw new AgentError(`still mounted: ${left.map((m) => m.mountPoint).join(', ')}`, {
      code: 'VOLUME_UNMOUNT_FAILED',
      retryable: true,
    });
  }

  /** Steps before mounting are told for all volumes together, or are waited for without a word. */
  #reportFailure(pod: Pod, volume: Volume, err: unknown): void {
    const report = (reason: string, what: string, name: string) => {
      const message = `${what} for volume "${name}" : ${errorMessage(err)}`;
      this.#deps.events.event(podReference(pod), 'Warning', reason, message);
    };
    if (err instanceof VolumeStepError) {
      if (err.step === 'process' || err.step === 'attach') return;
      if (err.isBlock) report('FailedMapVolume', `MapVolume.${err.step} failed`, err.volume);
      else if (err.step === 'NodeExpandVolume') {
        report('FailedMount', 'MountVolume.Setup failed while expanding volume', err.volume);
      } else report('FailedMount', `MountVolume.${err.step} failed`, err.volume);
      return;
    }
    const unsupported = err instanceof AgentError && err.code === 'VOLUME_UNSUPPORTED';
    report(
      'FailedMount',
      unsupported ? 'MountVolume.FindPluginBySpec failed' : 'MountVolume.SetUp failed',
      volume.name,
    );
  }

  #mountFailure(pod: Pod, failures: ReadonlyMap<string, unknown>, signal: AbortSignal): AgentError {
    const uid = pod.metadata?.uid ?? '';
    const names = [...failures.keys()].sort();
    const at = (step: string) => names.filter((n) => stepOf(failures.get(n)) === step).join(' ');
    const causes = [...new Set([...failures.values()].map(errorMessage))].join('; ');
    const text = `unmounted volumes=[${names.join(' ')}], unattached volumes=[${at('attach')}], failed to process volumes=[${at('process')}]: ${causes}`;
    if ([...failures.values()].some((err) => err instanceof AttachLimitError)) {
      const message = `Node has reached its volume attachment limit, rejecting pod. ${text}`;
      return new AgentError(message, { code: 'VOLUME_ATTACHMENT_LIMIT' });
    }
    if (!signal.aborted) this.#retries.set(uid, this.#backoff.retryInMs(uid));
    if (at('process') !== '' && !signal.aborted) {
      const message = `Unable to attach or mount volumes: ${text}`;
      this.#deps.events.event(podReference(pod), 'Warning', 'FailedMount', message);
    }
    return new AgentError(text, { code: 'VOLUME_MOUNT_FAILED', retryable: true });
  }
}

const stepOf = (err: unknown): string | undefined => (err instanceof VolumeStepError ? err.step : undefined);

function payloadPlugin(volume: Volume): PluginDir | undefined {
  if (volume.configMap !== undefined) return 'kubernetes.io~configmap';
  if (volume.secret !== undefined) return 'kubernetes.io~secret';
  if (volume.downwardAPI !== undefined) return 'kubernetes.io~downward-api';
  return volume.projected === undefined ? undefined : 'kubernetes.io~projected';
}

/** Sets `mode`, but for setgid, which fsGroup gives; without a write where it is set already. */
async function widenMode(files: FileCalls, dir: string, mode: number): Promise<void> {
  if (((await files.lstat(dir)).mode & 0o5777) !== mode) await files.chmod(dir, mode);
}

async function readdirIfThere(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return [];
    throw err;
  }
}
