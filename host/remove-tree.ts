// Removes a directory tree and nothing else, whatever other processes do to it meanwhile: it goes from directory to
// directory by open descriptors (Node.js has no openat(2); /proc/self/fd/N/NAME is the same walk), follows no link and
// enters no other mount, not even a bind mount of the same file system.
import { constants } from 'node:fs';
import { type FileHandle, open, opendir, readFile, rename, rmdir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errnoOf } from '../core/errors.ts';

/** Directories below this depth are moved up before they are walked: descriptors and recursion stay bounded. */
const MAX_DEPTH = 48;
/** How often in one walk an entry is tried again because somebody changes or fills it. */
const MAX_RETRIES = 32;
const OPEN_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** What open says when the entry is no directory (any more). */
const NOT_A_DIRECTORY = new Set(['ENOTDIR', 'ELOOP']);

interface Walk {
  readonly signal: AbortSignal | undefined;
  /** The mount that holds the whole tree. */
  readonly mountId: string;
  /** The tree's top; deep directories move here. */
  top: Directory | undefined;
  moved: number;
  retriesLeft: number;
}

/**
 * Removes `dir` with all that is in it; not there is success. May be called again after any failure or a kill.
 * `dir`'s parent is trusted: no part of that path may be another's to change.
 * @throws {AgentError} REMOVE_REFUSED when `dir` or something in it is a mount; what lies there is untouched.
 * @throws an errno error for any other refusal of the kernel, e.g. ENOTEMPTY while somebody keeps writing.
 */
export async function removeTree(dir: string, signal?: AbortSignal): Promise<void> {
  let parent: Directory;
  try {
    parent = await openDirectory(path.dirname(dir), path.dirname(dir));
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return;
    throw err;
  }
  await using _ = parent;
  const walk: Walk = { signal, mountId: parent.mountId, top: undefined, moved: 0, retriesLeft: MAX_RETRIES };
  await removeEntry(parent, path.basename(dir), 0, walk);
}

interface Directory extends AsyncDisposable {
  /** For people. */
  readonly name: string;
  readonly mountId: string;
  /** The directory itself, wherever it is now. */
  readonly self: string;
}

async function openDirectory(file: string, name: string): Promise<Directory> {
  const handle = await open(file, OPEN_FLAGS);
  try {
    return {
      name,
      mountId: await mountIdOf(handle),
      self: `/proc/self/fd/${handle.fd}`,
      [Symbol.asyncDispose]: () => handle.close(),
    };
  } catch (err) {
    await handle.close();
    throw err;
  }
}

/** The kernel's number of the mount through which the file was opened (proc(5), fdinfo). */
async function mountIdOf(handle: FileHandle): Promise<string> {
  const info = await readFile(`/proc/self/fdinfo/${handle.fd}`, 'utf8');
  const id = /^mnt_id:\s*(\d+)$/m.exec(info)?.[1];
  if (id === undefined) throw new Error('the kernel tells no mnt_id in /proc/self/fdinfo');
  return id;
}

/** A name may change from file to directory at any moment: what the kernel refuses as one is tried as the other. */
async function removeEntry(parent: Directory, name: string, depth: number, walk: Walk, isFile = false): Promise<void> {
  const file = `${parent.self}/${name}`;
  const shown = path.join(parent.name, name);
  for (let tryFile = isFile; ; walk.retriesLeft--) {
    walk.signal?.throwIfAborted();
    try {
      if (tryFile) await unlink(file);
      else await removeDirectory(parent, name, depth, walk);
      return;
    } catch (err) {
      const errno = errnoOf(err) ?? '';
      if (errno === 'ENOENT') return;
      if (errno === 'EBUSY') throw refusal(shown, err); // a mount point cannot be unlinked
      const isOther = tryFile ? errno === 'EISDIR' : NOT_A_DIRECTORY.has(errno);
      if (walk.retriesLeft <= 0 || !(isOther || errno === 'ENOTEMPTY')) throw err;
      if (isOther) tryFile = !tryFile;
    }
  }
}

async function removeDirectory(parent: Directory, name: string, depth: number, walk: Walk): Promise<void> {
  const file = `${parent.self}/${name}`;
  if (depth > MAX_DEPTH && walk.top !== undefined) {
    await rename(file, `${walk.top.self}/.removing-${process.pid}-${Date.now().toString(36)}-${walk.moved}`);
    walk.moved += 1;
    return;
  }
  {
    await using dir = await openDirectory(file, path.join(parent.name, name));
    if (dir.mountId !== walk.mountId) throw refusal(dir.name);
    walk.top ??= dir;
    await empty(dir, depth, walk);
  }
  await rmdir(file);
}

/** Names that come up from the depths are met in another round over the top. */
async function empty(dir: Directory, depth: number, walk: Walk): Promise<void> {
  let before: number;
  do {
    before = walk.moved;
    for await (const entry of await opendir(dir.self)) {
      await removeEntry(dir, entry.name, depth + 1, walk, !entry.isDirectory());
    }
  } while (walk.top === dir && walk.moved > before);
}

function refusal(file: string, cause?: unknown): AgentError {
  const options = { code: 'REMOVE_REFUSED', cause, retryable: true, hint: `see what uses it: findmnt ${file}` };
  return new AgentError(`not removed, something is mounted there: ${file}`, options);
}
