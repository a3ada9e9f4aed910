// The kubelet's root directory on the host: made before anything else uses it, and its mount taken back in the end.
import { readdir, realpath } from 'node:fs/promises';
import { errnoOf, errorMessage } from '../../core/errors.ts';
import { systemMounter } from '../../host/mounts.ts';
import { shareMount, unshareMount } from '../../host/shared-mount.ts';
import { type DataDirs, ensureDataDirs } from '../../kubelet/data-dirs.ts';
import { VolumePaths } from '../../kubelet/volumes/volume-paths.ts';
import type { AgentContext } from './shared.ts';

type Host = Pick<AgentContext, 'exec' | 'log'>;

/** Answers the root directory without links. @throws {AgentError} as `ensureDataDirs` does. */
export async function prepareRootDir({ exec, log }: Host, dirs: DataDirs): Promise<string> {
  const rootDir = await ensureDataDirs(dirs);
  try {
    const { list } = systemMounter(exec);
    if (await shareMount(rootDir, { exec, list })) log.info({ rootDir }, 'the root directory is a shared mount now');
  } catch (err) {
    // Pods run without it, but for those that hand mounts on: CSI drivers, mount propagation Bidirectional.
    log.warn({ err, rootDir }, 'the root directory is no shared mount: the runtime will refuse CSI drivers');
  }
  return rootDir;
}

/** What the agent has mounted for all pods goes, unless some have volumes there. Never throws. */
export async function releaseRootDir({ exec, log }: Host, dir: string): Promise<void> {
  try {
    const rootDir = await realpath(dir);
    const { list, unmount } = systemMounter(exec);
    const { volatileDir } = new VolumePaths(rootDir);
    if (await isEmpty(volatileDir)) await unmount(volatileDir); // not mounted is success
    await unshareMount(rootDir, { exec, list });
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return; // there never was an agent
    log.warn({ error: errorMessage(err), rootDir: dir }, 'mounts below the root directory stay');
  }
}

async function isEmpty(dir: string): Promise<boolean> {
  try {
    return (await readdir(dir)).length === 0;
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return false; // no pod had secrets here
    throw err;
  }
}
