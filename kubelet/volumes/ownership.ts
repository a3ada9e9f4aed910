// fsGroup: gives a volume's files to a group, children before their directory. After pkg/volume/volume_linux.go.
import { chmod, lchown, lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from '../../core/log.ts';

/**
 * Faults are logged and passed over, as upstream: a file that vanished or a refusing file system stops no pod.
 * `onFile` is called after each file and directory.
 */
export async function applyFsGroup(
  root: string,
  gid: number,
  readOnly: boolean,
  log: Logger,
  onFile: () => void = () => {},
): Promise<void> {
  const entries = await readdir(root, { withFileTypes: true });
  for (const entry of entries) {
    const child = path.join(root, entry.name);
    if (entry.isDirectory()) await applyFsGroup(child, gid, readOnly, log, onFile);
    else {
      await giveToGroup(child, gid, readOnly, log);
      onFile();
    }
  }
  await giveToGroup(root, gid, readOnly, log);
  onFile();
}

/** One file or directory; of a symlink only the link itself changes its group. */
export async function giveToGroup(file: string, gid: number, readOnly: boolean, log: Logger): Promise<void> {
  try {
    const stats = await lstat(file);
    const before = stats.mode & 0o7777;
    let mode = before | (readOnly ? 0o440 : 0o660);
    if (stats.isDirectory()) mode |= 0o2110;
    if (stats.isSymbolicLink()) mode = before; // its own mode means nothing, and chmod would go through it
    if (stats.gid === gid && mode === before) return; // a pod that is looked at again causes no writes
    await lchown(file, -1, gid);
    if (!stats.isSymbolicLink()) await chmod(file, mode); // after lchown, which clears setgid
  } catch (err) {
    log.warn({ err, file }, 'volume ownership not changed');
  }
}

/** fsGroupChangePolicy OnRootMismatch: true when the root has the group and the bits already. */
export async function matchesFsGroup(root: string, gid: number, readOnly: boolean): Promise<boolean> {
  const stats = await lstat(root);
  const wanted = (readOnly ? 0o440 : 0o660) | 0o2110;
  return stats.gid === gid && (stats.mode & wanted) === wanted;
}
