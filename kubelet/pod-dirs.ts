// The directories of pods under the root directory: made before volumes and containers need them, removed when nothing
// is left of the pod. After pkg/kubelet/kubelet_volumes.go cleanupOrphanedPodDirs.
import { lstat, mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errnoOf } from '../core/errors.ts';

/** Made for every pod; volumes and containers add their own below. */
const SUB_DIRS = ['volumes', 'plugins'] as const;
const MODE = 0o750;
/** A uid is a name of a directory that gets removed: nothing that could lead elsewhere. */
const UID = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

export function podDir(rootDir: string, uid: string): string {
  if (!UID.test(uid)) throw new AgentError(`${JSON.stringify(uid)} is no pod uid`, { code: 'POD_UID_INVALID' });
  return path.join(rootDir, 'pods', uid);
}

export async function ensurePodDirs(rootDir: string, uid: string): Promise<void> {
  const dir = podDir(rootDir, uid);
  await mkdir(dir, { recursive: true, mode: MODE });
  await Promise.all(SUB_DIRS.map((sub) => mkdir(path.join(dir, sub), { recursive: true, mode: MODE })));
}

/**
 * Removes a pod's directory after its volumes are gone. What lies in `volumes` is data: only empty directories are
 * removed there. Idempotent.
 * @throws when a volume still has content (ENOTEMPTY) or something is mounted below the directory (POD_DIR_MOUNTED).
 */
export async function removePodDir(rootDir: string, uid: string): Promise<void> {
  const dir = podDir(rootDir, uid);
  const top = await device(dir);
  if (top === undefined) return;
  await removeEmptyDirs(path.join(dir, 'volumes'), top);
  for (const entry of await readdir(dir)) {
    const child = path.join(dir, entry);
    await refuseMounts(child, top);
    await rm(child, { recursive: true, force: true });
  }
  await rmdir(dir);
}

async function device(file: string): Promise<number | undefined> {
  try {
    return (await lstat(file)).dev;
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return undefined;
    throw err;
  }
}

async function subDirs(dir: string): Promise<string[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true });
    return entries.filter((e) => e.isDirectory()).map((e) => path.join(dir, e.name));
  } catch (err) {
    if (errnoOf(err) === 'ENOENT' || errnoOf(err) === 'ENOTDIR') return [];
    throw err;
  }
}

async function removeEmptyDirs(dir: string, top: number): Promise<void> {
  const dev = await device(dir);
  if (dev === undefined) return;
  if (dev !== top) throw mounted(dir);
  for (const child of await subDirs(dir)) await removeEmptyDirs(child, top);
  await rmdir(dir);
}

/** A recursive removal must never reach through a mount into somebody's data. */
async function refuseMounts(dir: string, top: number): Promise<void> {
  const dev = await device(dir);
  if (dev === undefined) return;
  if (dev !== top) throw mounted(dir);
  for (const child of await subDirs(dir)) await refuseMounts(child, top);
}

function mounted(dir: string): AgentError {
  return new AgentError(`${dir} is a mount: the pod's directory stays until it is unmounted`, {
    code: 'POD_DIR_MOUNTED',
    retryable: true,
    hint: 'see what holds it with: findmnt -R /var/lib/kubelet/pods',
  });
}
