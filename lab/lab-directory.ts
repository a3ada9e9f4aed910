// The directory of a lab. One that `lab up` made goes with the lab; one that was there before stays.
import { realpathSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../core/errors.ts';
import { writeFileAtomic } from '../host/files.ts';

/** Holds the topmost directory that was made. A file of its own: what failed labs leave behind (logs) outlives their state. */
const MARKER = 'lab.made';
/** As of `rmdir`: somebody has put something there, or is in it. */
const IN_USE = ['ENOTEMPTY', 'EEXIST', 'EBUSY', 'ENOENT'];

/**
 * `dir`, absolute and without symbolic links, be it there or not: all that a lab makes in the kernel is named after it, and
 * the same lab may be spoken of through a link and without.
 */
export function canonicalDirectory(dir: string): string {
  const absolute = path.resolve(dir);
  try {
    return realpathSync(absolute);
  } catch (err) {
    // Other faults are told, with their remedies, by who goes on to use the directory.
    if (errnoOf(err) !== 'ENOENT') return absolute;
    return path.join(canonicalDirectory(path.dirname(absolute)), path.basename(absolute));
  }
}

/** Makes `dir` where it is missing, and notes that. */
export async function makeLabDirectory(dir: string): Promise<void> {
  const topmost = await mkdir(dir, { recursive: true, mode: 0o755 });
  if (topmost !== undefined) await writeFileAtomic(path.join(dir, MARKER), `${topmost}\n`, 0o600);
}

/** Removes `dir`, and what was made above it for its sake, if it was made and nothing is left in it. Idempotent. */
export async function removeMadeDirectory(dir: string): Promise<void> {
  const topmost = await madeDirectory(dir);
  if (topmost === undefined || (await readdir(dir)).some((name) => name !== MARKER)) return;
  await rm(path.join(dir, MARKER), { force: true });
  for (let at = dir; at === topmost || at.startsWith(`${topmost}/`); at = path.dirname(at)) {
    try {
      await rmdir(at);
    } catch (err) {
      if (!IN_USE.includes(errnoOf(err) ?? '')) throw err;
      return;
    }
  }
}

async function madeDirectory(dir: string): Promise<string | undefined> {
  try {
    return (await readFile(path.join(dir, MARKER), 'utf8')).trim();
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return undefined;
    throw err;
  }
}
