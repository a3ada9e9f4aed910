// The directories of a pod under the root directory, before volumes and containers need them.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../core/errors.ts';

/** Volumes and containers add their own beside these. */
const SUB_DIRS = ['volumes', 'plugins'] as const;
const MODE = 0o750;

/** Idempotent. */
export async function ensurePodDirs(rootDir: string, uid: string): Promise<void> {
  const dir = path.join(rootDir, 'pods', uid);
  await makeDir(dir);
  await Promise.all(SUB_DIRS.map((sub) => makeDir(path.join(dir, sub))));
}

/** With its parents. Of a file system that is read-only Node says there that something is missing; mkdir(2) says what it is. */
async function makeDir(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: MODE });
  } catch (err) {
    if (errnoOf(err) !== 'ENOENT') throw err;
    await mkdir(dir, { mode: MODE });
  }
}
