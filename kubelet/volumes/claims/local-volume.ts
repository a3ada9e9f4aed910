// PersistentVolumes of type local: a directory of this node, bound into the pod's directory, a device with a file
// system, or a bare device. After pkg/volume/local. What is mounted says who uses what, so that a killed agent finds
// its way back.
import { mkdir, readlink, rm, rmdir, stat, symlink } from 'node:fs/promises';
import path from 'node:path';
import type { PersistentVolume } from '../../../api/kinds.ts';
import type { Pod } from '../../../api/pod.ts';
import { AgentError, errnoOf } from '../../../core/errors.ts';
import { KeyedLock } from '../../../core/keyed-lock.ts';
import { type Mounter, type MountPoint, mountsUnder } from '../../../host/mounts.ts';
import { podReference } from '../../runtime/runtime-deps.ts';
import { giveVolumeToPodGroup, type VolumeGroupDeps } from '../volume-group.ts';
import type { VolumePaths } from '../volume-paths.ts';
import { mountOptionsOf } from './claim-rules.ts';

const PLUGIN = 'kubernetes.io~local-volume';
const DEFAULT_FS_TYPE = 'ext4';

export interface LocalVolumeDeps extends VolumeGroupDeps {
  readonly paths: VolumePaths;
  readonly mounter: Mounter;
}

export class LocalDisks {
  readonly #deps: LocalVolumeDeps;
  /** A device is not unmounted while a pod is about to use it. */
  readonly #lock = new KeyedLock<string>();

  constructor(deps: LocalVolumeDeps) {
    this.#deps = deps;
  }

  /** Idempotent. Answers where the file system is mounted, or the link to the device. @throws {AgentError} LOCAL_VOLUME */
  async setUp(pod: Pod, pv: PersistentVolume, readOnly: boolean, signal: AbortSignal): Promise<string> {
    const { paths } = this.#deps;
    const source = pv.spec?.local?.path ?? '';
    const uid = pod.metadata?.uid ?? '';
    const name = pv.metadata?.name ?? '';
    if (source.split('/').includes('..')) throw refusal(`invalid path: ${source} must not contain '..'`);
    const stats = await statOrRefuse(source);
    if (pv.spec?.volumeMode === 'Block') {
      if (!stats.isBlockDevice()) throw refusal(`path ${JSON.stringify(source)} is not a block device`);
      return await linkDevice(paths.deviceLink(uid, PLUGIN, name), source);
    }
    if (!stats.isDirectory() && !stats.isBlockDevice()) {
      throw refusal(`path ${JSON.stringify(source)} is neither a directory nor a block device`);
    }
    const dir = paths.volumeDir(uid, PLUGIN, name);
    await this.#lock.run(name, async () => {
      const from = stats.isDirectory() ? source : await this.#mountDevice(pv, source, readOnly);
      await this.#bind(from, dir, pod, pv, readOnly, signal);
    });
    return dir;
  }

  /**
   * Grows the file system on a device that `setUp` has mounted to what the device has now; a directory is as large as what
   * it lies in, and a bare device has nothing to grow. Idempotent. @throws {AgentError} LOCAL_VOLUME, DISK_REFUSED,
   * DISK_GROW_FAILED
   */
  async grow(pv: PersistentVolume): Promise<void> {
    const source = pv.spec?.local?.path ?? '';
    if (pv.spec?.volumeMode === 'Block' || (await statOrRefuse(source)).isDirectory()) return;
    await this.#lock.run(pv.metadata?.name ?? '', () => this.#deps.mounter.growDevice(source, this.#deviceMount(pv)));
  }

  /** Unmounts devices that no pod uses any more. `mounts`: the mount table, as it is or was a moment ago. Idempotent. */
  async release(mounts: readonly MountPoint[], signal: AbortSignal): Promise<void> {
    const { paths, mounter } = this.#deps;
    for (const { mountPoint } of mountsUnder(mounts, paths.localDisksDir)) {
      const name = path.basename(mountPoint);
      if (mountPoint !== path.join(paths.localDisksDir, name)) continue; // somebody else's, inside a volume
      await this.#lock.run(name, async () => {
        if (this.#usersOf(name, await mounter.list()).length > 0) return;
        await mounter.unmount(mountPoint, signal);
        await rmdir(mountPoint).catch(() => undefined); // an empty directory more or less
      });
    }
  }

  async #mountDevice(pv: PersistentVolume, device: string, readOnly: boolean): Promise<string> {
    const dir = this.#deviceMount(pv);
    const { mounter } = this.#deps;
    if ((await mounter.list()).some((m) => m.mountPoint === dir)) return dir;
    await mkdir(dir, { recursive: true, mode: 0o750 });
    const fsType = pv.spec?.local?.fsType || DEFAULT_FS_TYPE;
    await mounter.mountDevice(device, dir, { fsType, options: mountOptionsOf(pv), readOnly });
    return dir;
  }

  #deviceMount(pv: PersistentVolume): string {
    return path.join(this.#deps.paths.localDisksDir, pv.metadata?.name ?? '');
  }

  /** The files are given to the group of the first pod that mounts them; later ones hear that they have another. */
  async #bind(from: string, dir: string, pod: Pod, pv: PersistentVolume, readOnly: boolean, signal: AbortSignal) {
    const { mounter, events } = this.#deps;
    const name = pv.metadata?.name ?? '';
    const users = this.#usersOf(name, await mounter.list());
    const others = users.filter((user) => user !== dir);
    await mkdir(dir, { recursive: true, mode: 0o750 });
    if (!users.includes(dir))
      await (readOnly ? mounter.bindReadOnly(from, dir, signal) : mounter.bind(from, dir, signal));
    const fsGroup = pod.spec?.securityContext?.fsGroup;
    if (fsGroup === undefined || readOnly) return;
    if (others.length > 0) {
      const { gid } = await stat(dir);
      if (gid === fsGroup) return;
      const text = `The requested fsGroup is ${fsGroup}, but the volume ${name} has GID ${gid}. The volume may not be shareable.`;
      events.event(podReference(pod), 'Warning', 'AlreadyMountedVolume', text);
      return;
    }
    await giveVolumeToPodGroup(pod, dir, false, this.#deps);
  }

  /** Directories of pods where the volume is mounted. */
  #usersOf(name: string, mounts: readonly MountPoint[]): string[] {
    const end = `/volumes/${PLUGIN}/${name}`;
    const inPods = mountsUnder(mounts, this.#deps.paths.podsDir).map((m) => m.mountPoint);
    return inPods.filter((mountPoint) => mountPoint.endsWith(end));
  }
}

async function statOrRefuse(source: string) {
  try {
    return await stat(source);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') throw refusal(`path ${JSON.stringify(source)} does not exist`);
    throw err;
  }
}

async function linkDevice(link: string, device: string): Promise<string> {
  if ((await readlink(link).catch(() => undefined)) === device) return link;
  await mkdir(path.dirname(link), { recursive: true, mode: 0o750 });
  await rm(link, { force: true });
  await symlink(device, link);
  return link;
}

function refusal(text: string): AgentError {
  return new AgentError(text, { code: 'LOCAL_VOLUME', retryable: true });
}
