// Rotates one container log: renames it, has the runtime open a new one, compresses the older ones and removes the
// oldest. Killed at any point, the next rotation finishes what was begun. After pkg/kubelet/logs/container_log_manager.go.
import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { errnoOf } from '../../core/errors.ts';
import { statOrClose } from '../../host/opened.ts';

const COMPRESSED = '.gz';
const TEMPORARY = '.tmp';

export interface RotationPlan {
  /** Left by a rotation that was interrupted. */
  readonly leftovers: readonly string[];
  /** Beyond the number to keep, oldest first. */
  readonly surplus: readonly string[];
  readonly toCompress: readonly string[];
}

/**
 * Pure: what becomes of the rotated files `names` (base names, in any order). With the live file and the one about to
 * be rotated there are then at most `maxFiles`. Names end in the time of rotation, so they sort by age.
 */
export function planRotation(names: readonly string[], maxFiles: number): RotationPlan {
  const all = new Set(names);
  const isLeftover = (n: string) => n.endsWith(TEMPORARY) || (!n.endsWith(COMPRESSED) && all.has(`${n}${COMPRESSED}`));
  const rotated = names.filter((n) => !isLeftover(n)).sort((a, b) => (stem(a) < stem(b) ? -1 : 1));
  const surplusCount = Math.max(0, rotated.length - Math.max(0, maxFiles - 2));
  return {
    leftovers: names.filter(isLeftover),
    surplus: rotated.slice(0, surplusCount),
    toCompress: rotated.slice(surplusCount).filter((n) => !n.endsWith(COMPRESSED)),
  };
}

function stem(name: string): string {
  return name.endsWith(COMPRESSED) ? name.slice(0, -COMPRESSED.length) : name;
}

/** `20060102-150405` in local time, as upstream names rotated files. */
export function rotationStamp(nowMs: number): string {
  const d = new Date(nowMs);
  const two = (n: number) => String(n).padStart(2, '0');
  const day = `${d.getFullYear()}${two(d.getMonth() + 1)}${two(d.getDate())}`;
  return `${day}-${two(d.getHours())}${two(d.getMinutes())}${two(d.getSeconds())}`;
}

/**
 * Rotates `log` whatever its size. `reopen` makes the runtime create the file anew; when it has not, the log gets its
 * name back, so that nothing is written to a file that is no longer read.
 * @throws what `reopen` or the file system throws.
 */
export async function rotateLog(
  log: string,
  opts: { readonly maxFiles: number; readonly nowMs: number },
  reopen: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const dir = path.dirname(log);
  const prefix = `${path.basename(log)}.`;
  const names = (await readdir(dir)).filter((n) => n.startsWith(prefix));
  const plan = planRotation(names, opts.maxFiles);
  for (const name of [...plan.leftovers, ...plan.surplus])
    await rm(path.join(dir, name), { recursive: true, force: true });
  for (const name of plan.toCompress) await compress(path.join(dir, name), signal);
  const rotated = await freeName(`${log}.${rotationStamp(opts.nowMs)}`);
  await rename(log, rotated);
  try {
    await reopen();
  } catch (err) {
    // Where only the answer was lost, or the agent ends and waits for none, the runtime writes to the new file already.
    if (!(await exists(log))) await rename(rotated, log);
    throw err;
  }
}

/** A second rotation within one second must not write over the first one's file. */
async function freeName(wanted: string): Promise<string> {
  for (let n = 0; ; n++) {
    const name = n === 0 ? wanted : `${wanted}-${n}`;
    if (!(await exists(name)) && !(await exists(`${name}${COMPRESSED}`))) return name;
  }
}

/** Neither end may be a link or a FIFO: pods that may write to the log directory could lead root elsewhere with it. */
const SOURCE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const TARGET = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** The original goes only when its copy is on disk under its final name. What is no regular file just goes. */
async function compress(file: string, signal: AbortSignal): Promise<void> {
  await using source = await openPlain(file);
  if (source !== undefined) await writeCompressed(source, file, signal);
  await rm(file, { recursive: true, force: true });
}

async function openPlain(file: string): Promise<FileHandle | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(file, SOURCE);
  } catch (err) {
    if (['ELOOP', 'ENXIO', 'ENOENT'].includes(errnoOf(err) ?? '')) return undefined;
    throw err;
  }
  if ((await statOrClose(handle)).isFile()) return handle;
  await handle.close();
  return undefined;
}

async function writeCompressed(source: FileHandle, file: string, signal: AbortSignal): Promise<void> {
  const temporary = `${file}${TEMPORARY}`;
  try {
    await using target = await open(temporary, TARGET, (await source.stat()).mode & 0o7777);
    await pipeline(source.createReadStream(), createGzip(), target.createWriteStream({ flush: true }), { signal });
    await rename(temporary, `${file}${COMPRESSED}`);
  } catch (err) {
    await rm(temporary, { force: true });
    throw err;
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return false;
    throw err;
  }
}
