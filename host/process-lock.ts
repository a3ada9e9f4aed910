// One at a time for something that two would spoil: an agent's root directory, the changes of a lab. The lock is a file that
// names its holder: it is free when that process does not run any more, so that a process that is killed need not give it
// back.
import { randomUUID } from 'node:crypto';
import { link, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { errnoOf } from '../core/errors.ts';
import { identifyProcess, isRunning, type ProcessIdentity } from './process.ts';

export interface LockHolder extends ProcessIdentity {
  /** Tells one who holds it from others in the same process. Without one the whole process has it. */
  readonly token?: string | undefined;
}

export interface LockOptions {
  /** A holder that is about to end gets this long, ms. */
  readonly waitMs: number;
  /** Ends the waiting. */
  readonly signal?: AbortSignal;
}

const POLL_MS = 100;
/** Whoever removes an abandoned file is done within a few calls of the file system. */
const REMOVAL_POLL_MS = 5;

/** What a lock's file says: `nobody` when a crash of the host has left it empty. */
type Content = LockHolder | 'nobody' | 'gone';

/**
 * Takes the lock for as long as `self` runs. Undefined when it is ours, else who has it; may be asked again.
 * @throws errno errors when the file cannot be written, e.g. EROFS, ENOSPC, and ENOENT without its directory
 */
export async function lockFor(
  self: LockHolder,
  file: string,
  { waitMs, signal }: LockOptions,
  clock: Clock,
): Promise<ProcessIdentity | undefined> {
  const endMs = clock.monotonicMs() + waitMs;
  const mine = `${file}.new-${self.token ?? self.pid}`;
  await writeFile(mine, JSON.stringify(self), { mode: 0o600 });
  try {
    // Linked into place complete: nobody sees it without the name of its holder in it.
    while (!(await linked(mine, file))) {
      const holder = await contentOf(file);
      if (holder === 'gone') continue;
      if (isSame(holder, self)) return undefined;
      if (holder === 'nobody' || !(await isRunning(holder))) await removeAbandoned(file, holder, mine, clock);
      else if (clock.monotonicMs() >= endMs || signal?.aborted) return holder;
      else await clock.sleep(POLL_MS, signal);
    }
    await removeLeftovers(file);
    return undefined;
  } finally {
    await rm(mine, { force: true });
  }
}

/** @throws as `lockFor` does */
export async function lockForThisProcess(
  file: string,
  opts: LockOptions,
  clock: Clock,
): Promise<ProcessIdentity | undefined> {
  return await lockFor((await identifyProcess(process.pid))!, file, opts, clock);
}

/** Waits for the lock and holds it until it is disposed of. @throws as `lockFor` does, and the reason of `signal` */
export async function holdLock(file: string, clock: Clock, signal: AbortSignal): Promise<AsyncDisposable> {
  signal.throwIfAborted();
  const self: LockHolder = { ...(await identifyProcess(process.pid))!, token: randomUUID() };
  const holder = await lockFor(self, file, { waitMs: Number.POSITIVE_INFINITY, signal }, clock);
  if (holder !== undefined) throw signal.reason;
  // Nobody takes it from a process that runs: it is still ours.
  return { [Symbol.asyncDispose]: () => rm(file, { force: true }) };
}

/**
 * Removes `file`, which names one that is `dead`. Between the look at it and the removal somebody else may have put a new
 * one there; so whoever removes says beforehand, in a file of that name, whom, and one at a time may. A claim of one that was
 * killed before the removal is abandoned like any lock.
 */
async function removeAbandoned(file: string, dead: LockHolder | 'nobody', mine: string, clock: Clock): Promise<void> {
  const claim = `${file}.${typeof dead === 'string' ? dead : `${dead.pid}-${dead.startTicks}`}`;
  if (!(await linked(mine, claim))) {
    const other = await contentOf(claim);
    if (other === 'gone') return; // the caller looks again
    if (other !== 'nobody' && (await isRunning(other))) await clock.sleep(REMOVAL_POLL_MS);
    else await removeAbandoned(claim, other, mine, clock);
    return;
  }
  try {
    if (isSame(await contentOf(file), dead)) await rm(file, { force: true });
  } finally {
    await rm(claim, { force: true });
  }
}

/**
 * What is beside our `file` of those that were killed on their way to it. One of somebody who runs, or that is being written,
 * stays. As the lock is ours, a claim that names whom we followed, or one before, is of no use to anybody.
 */
async function removeLeftovers(file: string): Promise<void> {
  const [dir, prefix] = [path.dirname(file), `${path.basename(file)}.`];
  for (const name of (await readdir(dir)).filter((n) => n.startsWith(prefix))) {
    const left = await contentOf(path.join(dir, name));
    if (typeof left === 'object' && !(await isRunning(left))) await rm(path.join(dir, name), { force: true });
  }
}

function isSame(a: Content, b: Content): boolean {
  if (typeof a === 'string' || typeof b === 'string') return a === b;
  return a.pid === b.pid && a.startTicks === b.startTicks && a.token === b.token;
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (err) {
    if (errnoOf(err) === 'EEXIST') return false;
    throw err;
  }
}

async function contentOf(file: string): Promise<Content> {
  try {
    const { pid, startTicks, token } = JSON.parse(await readFile(file, 'utf8')) as Partial<LockHolder>;
    if (typeof pid !== 'number' || typeof startTicks !== 'number') return 'nobody';
    return { pid, startTicks, ...(token === undefined ? {} : { token }) };
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return 'gone';
    if (err instanceof SyntaxError) return 'nobody';
    throw err;
  }
}
