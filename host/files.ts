// Files that other programs read: written whole or not at all.
import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import path from 'node:path';

/**
 * Replaces `file` atomically: a dot-file beside it (readers of directories ignore those), fsync, rename, fsync of the
 * directory. `mode` is set exactly, whatever the umask. With `durable: false` nothing is synced: the file outlives this
 * process, but after a power cut it may be an older one, or empty.
 */
export async function writeFileAtomic(
  file: string,
  content: string | Uint8Array,
  mode = 0o644,
  { durable = true }: { readonly durable?: boolean } = {},
): Promise<void> {
  const dir = path.dirname(file);
  const temporary = path.join(dir, `.${path.basename(file)}.${randomBytes(6).toString('hex')}`);
  try {
    await using handle = await open(temporary, 'wx', mode);
    await handle.writeFile(content);
    await handle.chmod(mode);
    if (durable) await handle.sync();
    await rename(temporary, file);
  } catch (err) {
    await rm(temporary, { force: true });
    throw err;
  }
  if (!durable) return;
  await using dirHandle = await open(dir, 'r');
  await dirHandle.sync();
}
