// Places on the host that all labs use. The last lab to go takes them along, so that the host is as it was.
import { readdir, readFile, rmdir } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { errnoOf } from '../core/errors.ts';
import type { Exec } from '../host/exec.ts';
import { HOST_LINK_PREFIX } from './names.ts';

/** Every node mounts its own over this one; the mount point has to exist on the host. */
export const CNI_STATE_DIR = '/var/lib/cni';
/** Made, and mounted on itself, by the first `ip netns add` of a machine. */
const NETNS_DIR = '/run/netns';

/** Call with the host-wide lock held: no lab may come up meanwhile. Leaves what anybody still uses. */
export async function removeSharedPlaces(exec: Exec): Promise<void> {
  // A mount point that is removed takes along the mounts on it in every other namespace, so all labs must be gone: those
  // of this network namespace, and those of others that share the file system.
  if (Object.keys(networkInterfaces()).some((name) => name.startsWith(HOST_LINK_PREFIX))) return;
  if (!(await isMountPointAnywhere(CNI_STATE_DIR))) await removeIfEmpty(CNI_STATE_DIR);
  if (await isEmpty(NETNS_DIR)) {
    await exec('umount', [NETNS_DIR]); // fails where it is no mount, or in use again
    await removeIfEmpty(NETNS_DIR);
  }
}

export async function removeIfEmpty(dir: string): Promise<void> {
  try {
    await rmdir(dir);
  } catch (err) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST', 'EBUSY'].includes(errnoOf(err) ?? '')) throw err;
  }
}

/** Whether something is mounted at `dir` in the mount namespace of any process that can be seen. */
export async function isMountPointAnywhere(dir: string): Promise<boolean> {
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const table = await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => ''); // it ended meanwhile
    if (table.split('\n').some((line) => line.split(' ')[4] === dir)) return true;
  }
  return false;
}

async function isEmpty(dir: string): Promise<boolean> {
  try {
    return (await readdir(dir)).length === 0;
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return false;
    throw err;
  }
}
