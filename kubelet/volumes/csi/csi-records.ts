// What the disk says of CSI volumes: which pods use which, and which are staged. The disk is written before a driver
// is asked, so that whatever a driver may have done is found again after a kill. In memory it is kept for looking up.
import { mkdir, readdir, readFile, rm, rmdir, symlink } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../../core/errors.ts';
import type { Logger } from '../../../core/log.ts';
import { once } from '../../../core/once.ts';
import { temporaryOf, writeFileAtomic } from '../../../host/files.ts';
import { CsiPaths, uniqueVolumeName, VOLUME_DATA_FILE, type VolumeData } from './csi-paths.ts';

/** A pod's use of a volume. */
export interface VolumeUse {
  readonly podUid: string;
  readonly specName: string;
  readonly driver: string;
  readonly handle: string;
  readonly isBlock: boolean;
}

export interface StagedVolume {
  readonly driver: string;
  readonly handle: string;
  /** Of a block volume: its staging directory goes by the name of the PersistentVolume. */
  readonly blockSpecName: string | undefined;
}

export class CsiRecords {
  readonly paths: CsiPaths;
  readonly #log: Logger;
  readonly #uses = new Map<string, VolumeUse>();
  readonly #staged = new Map<string, StagedVolume>();
  /** Reads the disk, once; to be awaited before anything else is asked. @throws what the disk is refused with */
  readonly load = once(() => this.#load());

  constructor(rootDir: string, log: Logger) {
    this.paths = new CsiPaths(rootDir);
    this.#log = log;
  }

  /** Of a pod, in any order. */
  usesOf(podUid: string): VolumeUse[] {
    return [...this.#uses.values()].filter((use) => use.podUid === podUid);
  }

  /** Pods that use the volume, or may. */
  usersOf(driver: string, handle: string): string[] {
    return [...this.#uses.values()].filter((u) => u.driver === driver && u.handle === handle).map((u) => u.podUid);
  }

  stagedOf(driver: string, handle: string): StagedVolume | undefined {
    return this.#staged.get(uniqueVolumeName(driver, handle));
  }

  /** Staged, though no pod uses them: the agent was killed on the way. */
  strays(driver: string): StagedVolume[] {
    return [...this.#staged.values()].filter((s) => s.driver === driver && this.usersOf(driver, s.handle).length === 0);
  }

  /** Unique names of all volumes that are staged or used, sorted. */
  volumeNames(): string[] {
    const names = [...this.#uses.values()].map((use) => uniqueVolumeName(use.driver, use.handle));
    return [...new Set([...names, ...this.#staged.keys()])].sort();
  }

  /** True when the pod had no use of it before. */
  async addUse(use: VolumeUse, data: VolumeData): Promise<boolean> {
    const key = keyOf(use);
    const isNew = !this.#uses.has(key);
    this.#uses.set(key, use); // at once: who unstages must see it
    const dir = use.isBlock ? this.paths.blockDataDir(use.specName) : this.paths.podVolumeDir(use.podUid, use.specName);
    await mkdir(dir, { recursive: true, mode: 0o750 });
    await writeFileAtomic(path.join(dir, VOLUME_DATA_FILE), JSON.stringify(data));
    if (use.isBlock) await this.#linkDevice(use);
    return isNew;
  }

  /** Before there is a device, it leads nowhere, but says that the pod is to have one. */
  async #linkDevice({ podUid, specName }: VolumeUse): Promise<void> {
    await mkdir(this.paths.podDevicesDir(podUid), { recursive: true, mode: 0o750 });
    const link = this.paths.podDeviceLink(podUid, specName);
    await rm(link, { force: true });
    await symlink(this.paths.blockPublishTarget(podUid, specName), link);
  }

  /** The pod's directories of the volume go, provided that they are empty. */
  async removeUse(use: VolumeUse): Promise<void> {
    if (use.isBlock) {
      await rm(this.paths.podDeviceLink(use.podUid, use.specName), { force: true });
    } else {
      await removeDataDir(this.paths.podVolumeDir(use.podUid, use.specName));
    }
    this.#uses.delete(keyOf(use));
  }

  async addStaged(staged: StagedVolume): Promise<void> {
    const { driver, handle, blockSpecName } = staged;
    this.#staged.set(uniqueVolumeName(driver, handle), staged);
    if (blockSpecName !== undefined) {
      await mkdir(this.paths.blockStagingTarget(blockSpecName), { recursive: true, mode: 0o750 });
      return;
    }
    await mkdir(this.paths.stagingTarget(driver, handle), { recursive: true, mode: 0o750 });
    const data: VolumeData = { driverName: driver, volumeHandle: handle };
    await writeFileAtomic(path.join(this.paths.stagingDir(driver, handle), VOLUME_DATA_FILE), JSON.stringify(data));
  }

  async removeStaged({ driver, handle, blockSpecName }: StagedVolume): Promise<void> {
    if (blockSpecName === undefined) {
      await removeEmptyDir(this.paths.stagingTarget(driver, handle));
      await removeDataDir(this.paths.stagingDir(driver, handle));
    } else {
      await removeEmptyDir(this.paths.blockStagingTarget(blockSpecName));
    }
    this.#staged.delete(uniqueVolumeName(driver, handle));
  }

  /** Of a block volume that no pod uses any more. */
  async removeBlockData(specName: string): Promise<void> {
    await removeEmptyDir(path.dirname(this.paths.blockPublishTarget('x', specName)));
    await removeDataDir(this.paths.blockDataDir(specName));
    await removeEmptyDir(path.dirname(this.paths.blockDataDir(specName)));
  }

  async #load(): Promise<void> {
    for (const podUid of await namesIn(this.paths.podsDir)) {
      await this.#loadPod(podUid).catch((err: unknown) => {
        this.#log.warn({ err, podUid }, 'CSI volumes of a pod directory cannot be told');
      });
    }
    await this.#loadStaged();
  }

  async #loadPod(podUid: string): Promise<void> {
    for (const specName of await namesIn(this.paths.podVolumesDir(podUid))) {
      const data = await this.#read(this.paths.podVolumeDir(podUid, specName));
      if (data !== undefined) this.#addLoaded({ podUid, specName, isBlock: false }, data);
    }
    for (const specName of await namesIn(this.paths.podDevicesDir(podUid))) {
      const data = await this.#read(this.paths.blockDataDir(specName));
      if (data !== undefined) this.#addLoaded({ podUid, specName, isBlock: true }, data);
    }
  }

  #addLoaded(use: Pick<VolumeUse, 'podUid' | 'specName' | 'isBlock'>, data: VolumeData): void {
    const loaded = { ...use, driver: data.driverName, handle: data.volumeHandle };
    this.#uses.set(keyOf(loaded), loaded);
  }

  async #loadStaged(): Promise<void> {
    const csiDir = this.paths.csiDir;
    for (const driver of await namesIn(csiDir)) {
      if (driver === 'volumeDevices') continue;
      for (const name of await namesIn(path.join(csiDir, driver))) {
        const dir = path.join(csiDir, driver, name);
        const data = await this.#read(dir);
        if (data === undefined) {
          await this.#tidy(dir, () => removeUnstaged(dir));
          continue;
        }
        const staged = { driver: data.driverName, handle: data.volumeHandle, blockSpecName: undefined };
        this.#staged.set(uniqueVolumeName(staged.driver, staged.handle), staged);
      }
    }
    for (const specName of await namesIn(path.join(csiDir, 'volumeDevices', 'staging'))) {
      const data = await this.#read(this.paths.blockDataDir(specName));
      if (data === undefined) continue;
      const staged = { driver: data.driverName, handle: data.volumeHandle, blockSpecName: specName };
      this.#staged.set(uniqueVolumeName(staged.driver, staged.handle), staged);
    }
    const kept = new Set([
      'staging',
      'publish',
      ...[...this.#uses.values(), ...this.#staged.values()].map(blockNameOf),
    ]);
    for (const specName of await namesIn(path.join(csiDir, 'volumeDevices'))) {
      if (!kept.has(specName)) await this.#tidy(specName, () => this.removeBlockData(specName));
    }
  }

  /** Directories of a volume that is neither used nor staged: the agent was killed before it was, or when it was no more. */
  async #tidy(volume: string, remove: () => Promise<void>): Promise<void> {
    await remove().catch((err: unknown) => this.#log.warn({ err, volume }, 'directories of a CSI volume stay'));
  }

  /** Undefined without a file, or with one that is damaged: nothing is known of such a volume. */
  async #read(dir: string): Promise<VolumeData | undefined> {
    const file = path.join(dir, VOLUME_DATA_FILE);
    try {
      const data = JSON.parse(await readFile(file, 'utf8')) as VolumeData;
      if (typeof data.driverName === 'string' && typeof data.volumeHandle === 'string') return data;
      this.#log.warn({ file }, 'volume data lacks driver or handle');
    } catch (err) {
      if (errnoOf(err) !== 'ENOENT' && errnoOf(err) !== 'ENOTDIR')
        this.#log.warn({ err, file }, 'volume data not read');
    }
    return undefined;
  }
}

const keyOf = (use: Pick<VolumeUse, 'podUid' | 'specName' | 'isBlock'>): string =>
  `${use.podUid}/${use.isBlock ? 'block' : 'mount'}/${use.specName}`;

const blockNameOf = (volume: VolumeUse | StagedVolume): string | undefined =>
  'blockSpecName' in volume ? volume.blockSpecName : volume.specName;

/** Unless something is mounted there, or the record cannot be read: then a driver may have it staged. */
async function removeUnstaged(dir: string): Promise<void> {
  if ((await namesIn(dir)).includes(VOLUME_DATA_FILE)) return;
  await removeEmptyDir(path.join(dir, 'globalmount'));
  await removeDataDir(dir);
}

/** A directory that has nothing but the data of a volume. @throws ENOTEMPTY as below. */
async function removeDataDir(dir: string): Promise<void> {
  const file = path.join(dir, VOLUME_DATA_FILE);
  await rm(file, { force: true });
  try {
    await removeEmptyDir(dir);
  } catch (err) {
    if (errnoOf(err) !== 'ENOTEMPTY') throw err;
    await rm(temporaryOf(file), { force: true }); // of a write that was killed
    await removeEmptyDir(dir);
  }
}

/** Gone already is success. @throws ENOTEMPTY: what is in it is not ours to remove. */
export async function removeEmptyDir(dir: string): Promise<void> {
  try {
    await rmdir(dir);
  } catch (err) {
    if (errnoOf(err) !== 'ENOENT') throw err;
  }
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT' || errnoOf(err) === 'ENOTDIR') return [];
    throw err;
  }
}
