// Where volumes are below the root directory. The names below `pods/` are upstream's; `volatile/` is ours: the one tmpfs
// that holds secrets, tokens and downward API files of all pods (docs/decisions/0010).
import path from 'node:path';
import { AgentError } from '../../core/errors.ts';

export type PluginDir =
  | 'kubernetes.io~empty-dir'
  | 'kubernetes.io~configmap'
  | 'kubernetes.io~secret'
  | 'kubernetes.io~projected'
  | 'kubernetes.io~downward-api'
  | 'kubernetes.io~local-volume'
  | 'kubernetes.io~nfs';

export class VolumePaths {
  readonly podsDir: string;
  readonly volatileDir: string;
  /** Where devices are mounted, once for all pods that use them. */
  readonly localDisksDir: string;

  constructor(rootDir: string) {
    this.podsDir = path.join(rootDir, 'pods');
    this.volatileDir = path.join(rootDir, 'volatile');
    this.localDisksDir = path.join(rootDir, 'plugins/kubernetes.io/local-volume/mounts');
  }

  podDir(podUid: string): string {
    return path.join(this.podsDir, checked(podUid));
  }

  volatilePodDir(podUid: string): string {
    return path.join(this.volatileDir, checked(podUid));
  }

  volumeDir(podUid: string, plugin: PluginDir, volume: string): string {
    return path.join(this.podDir(podUid), 'volumes', plugin, checked(volume));
  }

  /** Link to a block device. */
  deviceLink(podUid: string, plugin: PluginDir, volume: string): string {
    return path.join(this.podDir(podUid), 'volumeDevices', plugin, checked(volume));
  }

  volatileVolumeDir(podUid: string, plugin: PluginDir, volume: string): string {
    return path.join(this.volatilePodDir(podUid), plugin, checked(volume));
  }

  /** Its presence says that the emptyDir was set up to the end. */
  readyFile(podUid: string, plugin: PluginDir, volume: string): string {
    return path.join(this.podDir(podUid), 'plugins', plugin, checked(volume), 'ready');
  }
}

/** Uids and volume names become path elements: anything that is not one plain element is refused. */
function checked(element: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/.test(element)) return element;
  throw new AgentError(`${JSON.stringify(element)} is no pod uid or volume name`, { code: 'VOLUME_PATH_INVALID' });
}
