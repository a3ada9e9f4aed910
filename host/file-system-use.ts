// How full file systems are, and how much a directory takes of one.
import { readdir, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import type { Exec } from './exec.ts';

export interface FileSystemFigures {
  readonly capacityBytes: number;
  /** For programs that are not root's. */
  readonly availableBytes: number;
  readonly usedBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
  readonly inodesUsed: number;
}

/** Of the file system that holds `dir`. @throws as statfs(2). */
export async function fileSystemFigures(dir: string): Promise<FileSystemFigures> {
  const { blocks, bsize, bavail, bfree, files, ffree } = await statfs(dir);
  return {
    capacityBytes: blocks * bsize,
    availableBytes: bavail * bsize,
    usedBytes: (blocks - bfree) * bsize,
    inodes: files,
    inodesFree: ffree,
    inodesUsed: files - ffree,
  };
}

export interface TreeSize {
  readonly usedBytes: number;
  readonly inodesUsed: number;
}

const BLOCK_BYTES = 512;
/** One process measures so many directories: their paths fit well into what execve(2) takes. */
const DIRS_PER_PROCESS = 200;

/**
 * What the trees below `dirs` take on disk, links counted once, other file systems left out. A process of its own
 * walks them: a volume may hold a million files. Trees that cannot be read (any more) are not in the answer.
 * @throws {AgentError} EXEC_NOT_FOUND, EXEC_TIMEOUT
 */
export async function treeSizes(
  exec: Exec,
  dirs: readonly string[],
  timeoutMs: number,
): Promise<Map<string, TreeSize>> {
  const sizes = new Map<string, TreeSize>();
  for (let i = 0; i < dirs.length; i += DIRS_PER_PROCESS) {
    const some = dirs.slice(i, i + DIRS_PER_PROCESS);
    const bytes = await du(exec, ['--block-size=1'], some, timeoutMs);
    const inodes = await du(exec, ['--inodes'], some, timeoutMs);
    for (const dir of some) {
      const [usedBytes, inodesUsed] = [bytes.get(dir), inodes.get(dir)];
      if (usedBytes !== undefined && inodesUsed !== undefined) sizes.set(dir, { usedBytes, inodesUsed });
    }
  }
  return sizes;
}

/** What it could not read it names on stderr, with exit code 1; the rest of its answer is good. */
async function du(
  exec: Exec,
  unit: readonly string[],
  dirs: readonly string[],
  timeoutMs: number,
): Promise<Map<string, number>> {
  const args = ['--summarize', '--one-file-system', '--null', ...unit, '--', ...dirs];
  const { stdout } = await exec('du', args, { timeoutMs });
  const found = new Map<string, number>();
  for (const entry of stdout.split('\0')) {
    const tab = entry.indexOf('\t');
    if (tab > 0) found.set(entry.slice(tab + 1), Number(entry.slice(0, tab)));
  }
  return found;
}

/** The plain files directly in `dir`: blocks on disk, and how many. Zeros when there is no such directory. */
export async function flatDirSize(dir: string): Promise<TreeSize> {
  const names = await readdir(dir).catch(() => []);
  let [usedBytes, inodesUsed] = [0, 0];
  for (const name of names) {
    const stats = await stat(path.join(dir, name)).catch(() => undefined); // rotated away meanwhile
    if (!stats?.isFile()) continue;
    usedBytes += stats.blocks * BLOCK_BYTES;
    inodesUsed += 1;
  }
  return { usedBytes, inodesUsed };
}

/** One file, links not followed further than to it. Zeros when it is not there. */
export async function fileSize(file: string): Promise<TreeSize> {
  const stats = await stat(file).catch(() => undefined);
  return stats === undefined
    ? { usedBytes: 0, inodesUsed: 0 }
    : { usedBytes: stats.blocks * BLOCK_BYTES, inodesUsed: 1 };
}

/** Which file system `dir` is on. @throws as stat(2). */
export async function deviceOf(dir: string): Promise<number> {
  return (await stat(dir)).dev;
}
