// One process at a time for something that two would spoil. The lock is a file that names its holder: it is free when that
// process does not run any more, so that nobody need give it back, not even a process that is killed.
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { Clock } from '../core/clock.ts';
import { errnoOf } from '../core/errors.ts';
import { identifyProcess, isRunning, type ProcessIdentity } from './process.ts';

export interface LockOptions {
  /** A holder that is about to end gets this long, ms. */
  readonly waitMs: number;
}

const POLL_MS = 100;
const TURN_POLL_MS = 5;

/**
 * Takes the lock for this process. Undefined when it is ours, else who has it.
 * @throws errno errors when the file cannot be written, e.g. EROFS and ENOSPC
 */
export async function lockFor(
  self: ProcessIdentity,
  file: string,
  opts: LockOptions,
  clock: Clock,
): Promise<ProcessIdentity | undefined> {
  const endMs = clock.monotonicMs() + opts.waitMs;
  for (;;) {
    const holder = await takeIfFree(self, file, clock);
    if (holder === undefined || clock.monotonicMs() >= endMs) return holder;
    await clock.sleep(POLL_MS);
  }
}

/** Who looks and who takes must be one at a time: a second file, held for as long as that, sees to it. */
async function takeIfFree(self: ProcessIdentity, file: string, clock: Clock): Promise<ProcessIdentity | undefined> {
  const mine = `${file}.${self.pid}`;
  const turn = `${file}.turn`;
  await writeFile(mine, JSON.stringify(self), { mode: 0o600 });
  try {
    // Linked into place complete: nobody sees it without the name of its holder in it.
    while (!(await linked(mine, turn))) {
      if (await isHeld(await holderOf(turn))) await clock.sleep(TURN_POLL_MS);
      else await rm(turn, { force: true }); // killed in the middle
    }
    try {
      const holder = await holderOf(file);
      const isOurs = holder?.pid === self.pid && holder.startTicks === self.startTicks;
      if (!isOurs && (await isHeld(holder))) return holder;
      await rename(mine, file);
      return undefined;
    } finally {
      await rm(turn, { force: true });
    }
  } finally {
    await rm(mine, { force: true });
  }
}

async function isHeld(holder: ProcessIdentity | undefined): Promise<boolean> {
  return holder !== undefined && (await isRunning(holder));
}

/** @throws as `lockFor` does */
export async function lockForThisProcess(
  file: string,
  opts: LockOptions,
  clock: Clock,
): Promise<ProcessIdentity | undefined> {
  return await lockFor((await identifyProcess(process.pid))!, file, opts, clock);
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

/** Undefined when nobody is named: the file is gone, or a crash of the host has left it empty. */
async function holderOf(file: string): Promise<ProcessIdentity | undefined> {
  try {
    const { pid, startTicks } = JSON.parse(await readFile(file, 'utf8')) as Partial<ProcessIdentity>;
    return typeof pid === 'number' && typeof startTicks === 'number' ? { pid, startTicks } : undefined;
  } catch (err) {
    if (errnoOf(err) === 'ENOENT' || err instanceof SyntaxError) return undefined;
    throw err;
  }
}
