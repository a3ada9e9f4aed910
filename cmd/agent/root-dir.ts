// The kubelet's root directory on the host: made before anything else uses it, and its mount taken back in the end.
import { readdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errnoOf, errorMessage } from '../../core/errors.ts';
import { systemMounter } from '../../host/mounts.ts';
import { lockForThisProcess } from '../../host/process-lock.ts';
import { shareMount, unshareMount } from '../../host/shared-mount.ts';
import { type DataDirs, ensureDataDirs } from '../../kubelet/data-dirs.ts';
import { VolumePaths } from '../../kubelet/volumes/volume-paths.ts';
import type { AgentContext } from './shared.ts';

type Host = Pick<AgentContext, 'exec' | 'log'>;

/** One that was told to end may take so long, ms. */
const PREDECESSOR_MS = 5_000;

/** Answers the root directory without links. @throws {AgentError} ROOT_DIR_IN_USE, and as `ensureDataDirs` does. */
export async function prepareRootDir(
  { exec, log, clock }: Host & Pick<AgentContext, 'clock'>,
  dirs: DataDirs,
): Promise<string> {
  const rootDir = await ensureDataDirs(dirs);
  await claimRootDir(rootDir, { log, clock });
  try {
    const { list } = systemMounter(exec);
    if (await shareMount(rootDir, { exec, list })) log.info({ rootDir }, 'the root directory is a shared mount now');
  } catch (err) {
    // Pods run without it, but for those that hand mounts on: CSI drivers, mount propagation Bidirectional.
    log.warn({ err, rootDir }, 'the root directory is no shared mount: the runtime will refuse CSI drivers');
  }
  return rootDir;
}

/** Two agents would start each pod twice, and take each other's sockets away. */
async function claimRootDir(rootDir: string, { log, clock }: Pick<AgentContext, 'log' | 'clock'>): Promise<void> {
  let holder: Awaited<ReturnType<typeof lockForThisProcess>>;
  try {
    holder = await lockForThisProcess(path.join(rootDir, 'nodelet.lock'), { waitMs: PREDECESSOR_MS }, clock);
  } catch (err) {
    // On a disk that is full or read-only a node has to work all the same: what runs goes on.
    log.warn({ error: errorMessage(err), rootDir }, 'cannot see to it that no other agent uses the root directory');
    return;
  }
  if (holder === undefined) return;
  throw new AgentError(`the root directory ${rootDir} is used by another agent, process ${holder.pid}`, {
    code: 'ROOT_DIR_IN_USE',
    hint: 'end that one first; a second node on one host needs a --root-dir, ports and a container runtime of its own',
  });
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
