// How each kind of volume is measured. Pure.
import type { Volume } from '../../api/pod.ts';

/** `tree` on disk or in memory: what lies below it; `fileSystem`: it is one; `claim`: whoever serves it is asked. */
export type VolumeMeasure = 'disk tree' | 'memory tree' | 'memory file system' | 'claim' | 'none';

/** Secrets, tokens and downward API files lie in memory here: they use nothing of the disk. */
export function volumeMeasure(volume: Volume): VolumeMeasure {
  if (volume.emptyDir !== undefined) {
    const medium = volume.emptyDir.medium ?? '';
    return medium === '' ? 'disk tree' : 'memory file system';
  }
  if (volume.configMap !== undefined || volume.gitRepo !== undefined) return 'disk tree';
  if (volume.secret ?? volume.projected ?? volume.downwardAPI) return 'memory tree';
  if (volume.persistentVolumeClaim ?? volume.ephemeral ?? volume.csi) return 'claim';
  return 'none';
}
