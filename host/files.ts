// Files that other programs read: written whole or not at all.
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../core/errors.ts';

/** By file: the last of the writes that are under way in this process. */
const writes = new Map<string, Promise<void>>();

/**
 * Replaces `file` atomically: a dot-file beside it (readers of directories ignore those), fsync, rename, fsync of the
 * directory. `mode` is set exactly, whatever the umask. With `durable: false` nothing is synced: the file outlives this
 * process, but after a power cut it may be an older one, or empty. Writes of one file in this process have their turns;
 * two processes must not write one file at a time: the dot-file has the same name each time, so that the next write
 * takes the place of what one that was killed left.
 */
export async function writeFileAtomic(
  file: string,
  content: string | Uint8Array,
  mode = 0o644,
  { durable = true }: { readonly durable?: boolean } = {},
): Promise<void> {
  const before = writes.get(file);
  const mine = (before ?? Promise.resolve()).catch(() => {}).then(() => replace(file, content, mode, durable));
  writes.set(file, mine);
  try {
    await mine;
  } finally {
    if (writes.get(file) === mine) writes.delete(file);
  }
}

/** Beside `file`; what a write that was killed leaves. */
export const temporaryOf = (file: string): string => path.join(path.dirname(file), `.${path.basename(file)}.tmp`);

async function replace(file: string, content: string | Uint8Array, mode: number, durable: boolean): Promise<void> {
  const temporary = temporaryOf(file);
  try {
    await using handle = await openNew(temporary, mode);
    await handle.writeFile(content);
    await handle.chmod(mode);
    if (durable) await handle.sync();
    await rename(temporary, file);
  } catch (err) {
    await rm(temporary, { force: true });
    throw err;
  }
  if (!durable) return;
  await using dirHandle = await open(path.dirname(file), 'r');
  await dirHandle.sync();
}

/** In the place of what is there: that may be a link, or open to others than `mode` allows. */
async function openNew(file: string, mode: number): Promise<FileHandle> {
  try {
    return await open(file, 'wx', mode);
  } catch (err) {
    if (errnoOf(err) !== 'EEXIST') throw err;
    await rm(file);
    return await open(file, 'wx', mode);
  }
}
