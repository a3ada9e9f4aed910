// Publishes a set of files so that a reader sees all of the old or all of the new: a time-stamped directory behind the
// symlink `..data`. The layout is visible to pods and fixed by pkg/volume/util/atomic_writer.go.
import { randomInt } from 'node:crypto';
import path from 'node:path';
import { AgentError, errnoOf } from '../../core/errors.ts';
import { diskFiles, type FileCalls } from '../../host/file-calls.ts';
import { removeTree } from '../../host/remove-tree.ts';

export interface ProjectedFile {
  readonly data: Uint8Array;
  readonly mode: number;
  /** Owner of the file; root when absent. */
  readonly uid?: number;
}

/** Relative path → file. */
export type Payload = ReadonlyMap<string, ProjectedFile>;

const DATA = '..data';
const NEW_DATA = '..data_tmp';
/** `..2026_01_02_15_04_05.123456789` */
const STAMPED = /^\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d+$/;
const MAX_PATH = 4096;
const MAX_ELEMENT = 255;

/**
 * A path as it may come from a pod's `items`: relative, without `..`, its first element not starting with `..`.
 * Returned without `.` elements and doubled slashes.
 * @throws {AgentError} VOLUME_PATH_INVALID
 */
export function cleanPayloadPath(name: string): string {
  const refuse = (why: string): never => {
    throw new AgentError(`invalid path: ${why}`, { code: 'VOLUME_PATH_INVALID' });
  };
  if (name === '' || name.includes('\0')) refuse(`must not be empty: ${JSON.stringify(name)}`);
  if (name.startsWith('/')) refuse(`must be relative path: ${name}`);
  if (Buffer.byteLength(name) > MAX_PATH) refuse(`must be less than or equal to ${MAX_PATH} characters`);
  const elements = name.split('/').filter((e) => e !== '' && e !== '.');
  if (elements.length === 0) refuse(`must not be empty: ${JSON.stringify(name)}`);
  if (elements.includes('..')) refuse(`must not contain '..': ${name}`);
  if (elements.some((e) => Buffer.byteLength(e) > MAX_ELEMENT)) {
    refuse(`filenames must be less than or equal to ${MAX_ELEMENT} characters`);
  }
  if (elements[0]!.startsWith('..')) refuse(`must not start with '..': ${name}`);
  return elements.join('/');
}

export interface AtomicWriterOptions {
  readonly beforePublish?: ((dataDir: string) => Promise<void>) | undefined;
  readonly files?: FileCalls;
}

/**
 * Makes `targetDir` (which exists) show exactly `payload`. Returns false when it already did: nothing is touched then.
 * What an earlier call left half done, because it was killed, is finished or removed. One call per directory at a time.
 * `beforePublish` gets the new data directory, for ownership; `files` says how the calls are made.
 * @throws {AgentError} VOLUME_PATH_INVALID before anything is written.
 */
export async function writeAtomically(
  targetDir: string,
  payload: Payload,
  nowMs: number,
  { beforePublish, files = diskFiles }: AtomicWriterOptions = {},
): Promise<boolean> {
  const wanted = new Map([...payload].map(([name, file]) => [cleanPayloadPath(name), file]));
  const current = await currentDataDir(files, targetDir);
  await removeLeftovers(files, targetDir, current);
  const same = current !== undefined && (await hasSameContent(files, path.join(targetDir, current), wanted));
  if (!same) {
    const stamped = stampedName(nowMs);
    const dataDir = path.join(targetDir, stamped);
    await writeFiles(files, dataDir, wanted);
    await beforePublish?.(dataDir);
    await files.symlink(stamped, path.join(targetDir, NEW_DATA));
    await files.rename(path.join(targetDir, NEW_DATA), path.join(targetDir, DATA));
  }
  await syncUserLinks(files, targetDir, wanted);
  if (!same && current !== undefined) await removeTree(path.join(targetDir, current));
  return !same;
}

/** Name of the published data directory. Only names of our own form are followed: the link could be anybody's. */
async function currentDataDir(files: FileCalls, targetDir: string): Promise<string | undefined> {
  try {
    const name = await files.readlink(path.join(targetDir, DATA));
    return STAMPED.test(name) ? name : undefined;
  } catch (err) {
    if (errnoOf(err) === 'ENOENT' || errnoOf(err) === 'EINVAL') return undefined;
    throw err;
  }
}

async function removeLeftovers(files: FileCalls, targetDir: string, current: string | undefined): Promise<void> {
  for (const name of await files.readdir(targetDir)) {
    const stale = name === NEW_DATA || (STAMPED.test(name) && name !== current);
    if (stale) await removeTree(path.join(targetDir, name));
  }
}

async function hasSameContent(files: FileCalls, dataDir: string, payload: Payload): Promise<boolean> {
  const present = await listFiles(files, dataDir);
  if (present === undefined || present.length !== payload.size) return false;
  for (const name of present) {
    const wanted = payload.get(name);
    if (wanted === undefined || !(await files.readFile(path.join(dataDir, name))).equals(wanted.data)) return false;
  }
  return true;
}

/** Regular files below `dir`, as relative paths; undefined when it is not there. */
async function listFiles(files: FileCalls, dir: string): Promise<string[] | undefined> {
  try {
    const entries = await files.readdir(dir, { recursive: true, withFileTypes: true });
    return entries.filter((e) => !e.isDirectory()).map((e) => path.relative(dir, path.join(e.parentPath, e.name)));
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return undefined;
    throw err;
  }
}

async function writeFiles(files: FileCalls, dataDir: string, payload: Payload): Promise<void> {
  await files.mkdir(dataDir);
  await files.chmod(dataDir, 0o755);
  for (const [name, file] of payload) {
    const target = path.join(dataDir, name);
    if (name.includes('/')) await files.mkdir(path.dirname(target), { recursive: true });
    await files.writeFile(target, file.data, { mode: 0o600, flag: 'wx' });
    await files.chmod(target, file.mode); // exactly, whatever the umask
    if (file.uid !== undefined) await files.lchown(target, file.uid, -1);
  }
}

/** Top-level names point through `..data`, so that one rename moves them all. */
async function syncUserLinks(files: FileCalls, targetDir: string, payload: Payload): Promise<void> {
  const wanted = new Set([...payload.keys()].map((name) => name.split('/')[0]!));
  for (const name of wanted) {
    const link = path.join(targetDir, name);
    try {
      await files.symlink(path.join(DATA, name), link);
    } catch (err) {
      if (errnoOf(err) !== 'EEXIST') throw err;
    }
  }
  for (const entry of await files.readdir(targetDir, { withFileTypes: true })) {
    // Directories here are mount points of volumes nested below this one, not ours to remove.
    if (entry.name.startsWith('..') || wanted.has(entry.name) || !entry.isSymbolicLink()) continue;
    await files.unlink(path.join(targetDir, entry.name));
  }
}

function stampedName(nowMs: number): string {
  const stamp = new Date(nowMs).toISOString().slice(0, 19).replace(/[-:T]/g, '_');
  return `..${stamp}.${randomInt(1_000_000_000, 10_000_000_000)}`;
}
