// Which volumes a pod uses, and where its containers mount them inside each other.
import { lstat, mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Pod, Volume } from '../../api/pod.ts';
import { errnoOf } from '../../core/errors.ts';

/** Volumes that some container uses; others are neither made nor waited for. */
export function usedVolumes(pod: Pod): Volume[] {
  const used = new Set(
    allContainers(pod).flatMap((c) => [...(c.volumeMounts ?? []), ...(c.volumeDevices ?? [])].map((m) => m.name)),
  );
  return (pod.spec?.volumes ?? []).filter((v) => used.has(v.name));
}

function allContainers(pod: Pod) {
  const { containers = [], initContainers = [], ephemeralContainers = [] } = pod.spec ?? {};
  return [...containers, ...initContainers, ...ephemeralContainers];
}

/** Where containers mount another volume inside this read-only one, the runtime needs the directory to be there. */
export async function makeNestedMountPoints(pod: Pod, volume: string, dir: string): Promise<void> {
  for (const { volumeMounts: mounts = [] } of allContainers(pod)) {
    for (const outer of mounts.filter((m) => m.name === volume)) {
      for (const inner of mounts) {
        const relative = path.posix.relative(outer.mountPath, inner.mountPath);
        if (relative === '' || relative === '..' || relative.startsWith('../')) continue;
        await makeDirsInside(dir, relative);
      }
    }
  }
}

/** Stops at anything that is there and no directory: a file of the volume, or a link to one. */
async function makeDirsInside(root: string, relative: string): Promise<void> {
  let dir = root;
  for (const part of relative.split('/')) {
    dir = path.join(dir, part);
    try {
      await mkdir(dir, { mode: 0o755 });
    } catch (err) {
      if (errnoOf(err) !== 'EEXIST') throw err;
      if (!(await lstat(dir)).isDirectory()) return;
    }
  }
}
