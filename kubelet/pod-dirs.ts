// The directories of a pod under the root directory, before volumes and containers need them.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';

/** Volumes and containers add their own beside these. */
const SUB_DIRS = ['volumes', 'plugins'] as const;
const MODE = 0o750;

/** Idempotent. */
export async function ensurePodDirs(rootDir: string, uid: string): Promise<void> {
  const dir = path.join(rootDir, 'pods', uid);
  await mkdir(dir, { recursive: true, mode: MODE });
  await Promise.all(SUB_DIRS.map((sub) => mkdir(path.join(dir, sub), { recursive: true, mode: MODE })));
}
