// What is at a path that may lead anywhere, asked by a process of its own. Storage that does not answer (a server of
// NFS that is gone, a file system in user space that hangs) holds whoever asks, often so that not even a kill helps. Our
// own file work has four threads: four such paths, and the agent could not read a file any more.
import { constants } from 'node:fs';
import { AgentError } from '../core/errors.ts';
import { type Exec, systemExec } from './exec.ts';

export type FileKind = 'file' | 'directory' | 'socket' | 'character device' | 'block device' | 'other';

/** By the type in st_mode (inode(7)). */
const KINDS: ReadonlyMap<number, FileKind> = new Map([
  [constants.S_IFREG, 'file'],
  [constants.S_IFDIR, 'directory'],
  [constants.S_IFSOCK, 'socket'],
  [constants.S_IFCHR, 'character device'],
  [constants.S_IFBLK, 'block device'],
]);
/** PATH_MAX of Linux, bytes. */
const MAX_PATH_BYTES = 4096;
/** strerror(3) of what a path can be wrong in: nothing can be reached by it. */
const UNREACHABLE =
  /: (No such file or directory|Not a directory|Too many levels of symbolic links|File name too long|Permission denied)$/;
/** A disk that spins up takes seconds; nobody waits longer for an answer, ms. */
const PATIENCE_MS = 15_000;
/** The process that asks is let go after this, ms: so many of them for each path that never answers, and no more. */
const GIVE_UP_MS = 600_000;

/** Questions under way by path: who asks again meanwhile waits for the same answer. */
const asked = new Map<string, Promise<FileKind | undefined>>();

/**
 * Follows links. Undefined when there is nothing that could be reached by that path.
 * @throws {AgentError} STORAGE_SILENT when there is no answer in `patienceMs`; FILE_KIND for other refusals of the kernel.
 */
export async function fileKind(
  path: string,
  exec: Exec = systemExec,
  patienceMs = PATIENCE_MS,
): Promise<FileKind | undefined> {
  if (Buffer.byteLength(path) >= MAX_PATH_BYTES) return undefined;
  let answer = asked.get(path);
  if (answer === undefined) {
    answer = ask(path, exec).finally(() => asked.delete(path));
    answer.catch(() => {}); // whoever waits for it is told
    asked.set(path, answer);
  }
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(silent(path)), patienceMs);
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function ask(path: string, exec: Exec): Promise<FileKind | undefined> {
  const env = { ...process.env, LC_ALL: 'C' };
  const args = ['-L', '-c', '%f', '--', path]; // as BusyBox knows them, too
  const { code, stdout, stderr } = await exec('stat', args, { env, timeoutMs: GIVE_UP_MS });
  if (code === 0) return KINDS.get(Number.parseInt(stdout, 16) & constants.S_IFMT) ?? 'other';
  const words = stderr.trim();
  if (UNREACHABLE.test(words)) return undefined;
  throw new AgentError(words === '' ? `stat ${path} failed` : words, { code: 'FILE_KIND', retryable: true });
}

function silent(path: string): AgentError {
  return new AgentError(`the storage behind ${path} does not answer`, {
    code: 'STORAGE_SILENT',
    retryable: true,
    hint: `see what is mounted there (findmnt -T ${path}) and whether its server runs`,
  });
}
