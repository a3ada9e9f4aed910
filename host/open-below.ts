// Opens files below a directory for strangers: neither `..` nor symbolic links lead out of it, not even ones that are
// changed meanwhile, and nothing that is not a file or a directory is touched.
import { constants } from 'node:fs';
import { type FileHandle, open, readlink, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../core/errors.ts';

/** Undefined when there is nothing to be had there. The caller closes it. @throws for other faults, e.g. EMFILE. */
export async function openBelow(root: string, relative: string): Promise<FileHandle | undefined> {
  if (relative.includes('\0')) return undefined;
  try {
    const base = await realpath(root);
    // Above the root is the root, as for chroot.
    const found = await realpath(path.join(base, path.posix.normalize(`/${relative}`)));
    if (!isBelow(base, found)) return undefined;
    const stats = await stat(found);
    if (!stats.isFile() && !stats.isDirectory()) return undefined; // opening a FIFO or a device does things
    return await openSame(base, found);
  } catch (err) {
    if (GONE.has(errnoOf(err) ?? '')) return undefined;
    throw err;
  }
}

const GONE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'ENXIO', 'EACCES']);

/** What was opened is asked where it is: a directory on the way may have become a link since. */
async function openSame(base: string, file: string): Promise<FileHandle | undefined> {
  const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW, O_NOCTTY } = constants;
  const handle = await open(file, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
  try {
    const stats = await handle.stat();
    const isPlain = stats.isFile() || stats.isDirectory();
    if (isPlain && isBelow(base, await readlink(`/proc/self/fd/${handle.fd}`))) return handle;
  } catch (err) {
    await handle.close();
    throw err;
  }
  await handle.close();
  return undefined;
}

function isBelow(base: string, file: string): boolean {
  return file === base || file.startsWith(base === '/' ? '/' : `${base}/`);
}
