// Where CSI volumes are below the root directory, and the file that says whose they are. Both are upstream's, so that
// either kubelet finds what the other has left (pkg/volume/csi/csi_util.go, csi_block.go).
import { createHash } from 'node:crypto';
import path from 'node:path';
import { AgentError } from '../../../core/errors.ts';

export const VOLUME_DATA_FILE = 'vol_data.json';
const PLUGIN_DIR = 'kubernetes.io~csi';

/** `vol_data.json`: beside `mount` in the pod's directory, and beside `globalmount` with the first two fields alone. */
export interface VolumeData {
  readonly driverName: string;
  readonly volumeHandle: string;
  readonly attachmentID?: string;
  readonly nodeName?: string;
  /** Name of the PersistentVolume or, of an inline volume, of the pod's volume. */
  readonly specVolID?: string;
  readonly volumeLifecycleMode?: 'Persistent' | 'Ephemeral';
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** As the controllers name the attachment they make. */
export function attachmentName(volumeHandle: string, driver: string, nodeName: string): string {
  return `csi-${sha256(volumeHandle + driver + nodeName)}`;
}

/** Handle of an inline volume. */
export function ephemeralHandle(podUid: string, volumeName: string): string {
  return `csi-${sha256(podUid + volumeName)}`;
}

/** How node.status.volumesInUse and volumesAttached name a volume. */
export function uniqueVolumeName(driver: string, volumeHandle: string): string {
  return `kubernetes.io/csi/${driver}^${volumeHandle}`;
}

/** The driver of a volume by the name that `uniqueVolumeName` gave it. */
export function driverOf(uniqueName: string): string {
  return uniqueName.slice('kubernetes.io/csi/'.length).split('^', 1)[0]!;
}

export class CsiPaths {
  readonly #podsDir: string;
  readonly #csiDir: string;

  constructor(rootDir: string) {
    this.#podsDir = path.join(rootDir, 'pods');
    this.#csiDir = path.join(rootDir, 'plugins', 'kubernetes.io', 'csi');
  }

  get podsDir(): string {
    return this.#podsDir;
  }

  /** Holds a directory per driver, and `volumeDevices`. */
  get csiDir(): string {
    return this.#csiDir;
  }

  /** All of a pod's CSI volumes with a file system. */
  podVolumesDir(podUid: string): string {
    return path.join(this.#podsDir, checked(podUid), 'volumes', PLUGIN_DIR);
  }

  /** Holds `vol_data.json` and `mount`. */
  podVolumeDir(podUid: string, specName: string): string {
    return path.join(this.podVolumesDir(podUid), checked(specName));
  }

  publishTarget(podUid: string, specName: string): string {
    return path.join(this.podVolumeDir(podUid, specName), 'mount');
  }

  /** Links to a pod's block volumes, by name of the PersistentVolume. */
  podDevicesDir(podUid: string): string {
    return path.join(this.#podsDir, checked(podUid), 'volumeDevices', PLUGIN_DIR);
  }

  podDeviceLink(podUid: string, specName: string): string {
    return path.join(this.podDevicesDir(podUid), checked(specName));
  }

  /** Holds `vol_data.json` and `globalmount` of a volume with a file system. */
  stagingDir(driver: string, volumeHandle: string): string {
    return path.join(this.#csiDir, checked(driver), sha256(volumeHandle));
  }

  stagingTarget(driver: string, volumeHandle: string): string {
    return path.join(this.stagingDir(driver, volumeHandle), 'globalmount');
  }

  blockStagingTarget(specName: string): string {
    return path.join(this.#csiDir, 'volumeDevices', 'staging', checked(specName));
  }

  /** The driver makes the device file at this path. */
  blockPublishTarget(podUid: string, specName: string): string {
    return path.join(this.#csiDir, 'volumeDevices', 'publish', checked(specName), checked(podUid));
  }

  blockDataDir(specName: string): string {
    return path.join(this.#csiDir, 'volumeDevices', checked(specName), 'data');
  }
}

/** Uids, names of volumes and drivers become path elements: anything that is not one plain element is refused. */
function checked(element: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/.test(element)) return element;
  throw new AgentError(`${JSON.stringify(element)} is no name of a pod, volume or driver`, {
    code: 'VOLUME_PATH_INVALID',
  });
}
