// A directory whose mounts containers may add to and see: CSI drivers are pods that mount below the kubelet's root
// directory, and the runtime refuses to share a directory with them that is not on a shared mount. systemd shares all
// mounts at boot; elsewhere the directory is bound onto itself. After kubelet's MakeRShared (pkg/volume/util/hostutil).
import path from 'node:path';
import { type Exec, execOk } from './exec.ts';
import type { MountPoint } from './mounts.ts';

export interface SharedMountDeps {
  readonly exec: Exec;
  readonly list: () => Promise<readonly MountPoint[]>;
}

const TIMEOUT_MS = 30_000;

/** The mount that holds `dir`, which is canonical: the innermost one and, of several at one place, the topmost. */
export function mountHolding(mounts: readonly MountPoint[], dir: string): MountPoint | undefined {
  let holding: MountPoint | undefined;
  for (const mount of mounts) {
    if (isWithin(dir, mount.mountPoint) && mount.mountPoint.length >= (holding?.mountPoint.length ?? 0))
      holding = mount;
  }
  return holding;
}

const isWithin = (dir: string, top: string): boolean =>
  dir === top || dir.startsWith(top.endsWith('/') ? top : `${top}/`);

/**
 * Makes `dir`, which is canonical, part of a shared mount where it is not. True when that took a change of mounts.
 * Idempotent, also after a kill half-way. @throws {AgentError} EXEC_STATUS, e.g. without the capability SYS_ADMIN.
 */
export async function shareMount(dir: string, { exec, list }: SharedMountDeps): Promise<boolean> {
  const holding = mountHolding(await list(), dir);
  if (holding?.isShared) return false;
  // With what is mounted below, which would be hidden otherwise: volumes of pods that an earlier agent has left.
  if (holding?.mountPoint !== dir)
    await execOk(exec, 'mount', ['-n', '--rbind', '--', dir, dir], { timeoutMs: TIMEOUT_MS });
  await execOk(exec, 'mount', ['-n', '--make-rshared', '--', dir], { timeoutMs: TIMEOUT_MS });
  return true;
}

/**
 * Takes back what `shareMount` has mounted; a mount of somebody else at `dir` stays. False when there is none of ours.
 * @throws {AgentError} EXEC_STATUS while something is mounted below, or in use.
 */
export async function unshareMount(dir: string, { exec, list }: SharedMountDeps): Promise<boolean> {
  const mounts = await list();
  const own = mountHolding(mounts, dir);
  if (own === undefined || !isBoundOntoItself(own, mounts, dir)) return false;
  await execOk(exec, 'umount', ['-n', '-c', '--', dir], { timeoutMs: TIMEOUT_MS });
  return true;
}

/** Pure: the mount shows at `dir` what would be there without it. */
function isBoundOntoItself(own: MountPoint, mounts: readonly MountPoint[], dir: string): boolean {
  if (own.mountPoint !== dir) return false;
  const below = mountHolding(
    mounts.filter((m) => m !== own),
    dir,
  );
  if (below === undefined || below.device !== own.device) return false;
  return own.root === path.join(below.root, path.relative(below.mountPoint, dir));
}
