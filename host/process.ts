// Long-lived processes that outlive the one who starts them: labs start a node's containerd and agent, and a later
// command stops them. A pid alone may have been given to somebody else by then, so a process is known by its pid and
// the time at which it started.
import { spawn } from 'node:child_process';
import { closeSync, createReadStream, fstatSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Clock } from '../core/clock.ts';
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';

export interface ProcessIdentity {
  readonly pid: number;
  /** Start time in clock ticks since boot: field 22 of /proc/<pid>/stat (proc(5)). */
  readonly startTicks: number;
}

export interface DetachedOptions {
  /** Standard output and error are appended to this file. */
  readonly logFile: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** What it is called in errors, where `program` only leads to it. */
  readonly name?: string;
}

export interface DetachedProcess {
  readonly identity: ProcessIdentity;
  /** Resolves when the process says that it is ready (see READY_FD_ENV). @throws {AgentError} PROCESS_ENDED. */
  ready(signal: AbortSignal): Promise<void>;
}

/** The environment variable that names the file descriptor on which a started program writes one line when ready. */
export const READY_FD_ENV = 'NODELET_READY_FD';

/** Starts `program` in a session of its own, so that neither Ctrl-C nor the end of this process reaches it. */
export async function spawnDetached(
  program: string,
  args: readonly string[],
  opts: DetachedOptions,
): Promise<DetachedProcess> {
  const log = openSync(opts.logFile, 'a', 0o644);
  const said: OwnLog = { file: opts.logFile, start: fstatSync(log).size };
  try {
    const child = spawn(program, args, {
      detached: true,
      stdio: ['ignore', log, log, 'pipe'],
      env: { ...(opts.env ?? process.env), [READY_FD_ENV]: '3' },
      ...(opts.cwd === undefined ? {} : { cwd: opts.cwd }),
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const identity = await identifyProcess(child.pid!);
    child.unref();
    const readyPipe = child.stdio[3] as Socket;
    readyPipe.unref(); // only somebody who waits for it keeps this process alive
    const name = opts.name ?? program;
    if (identity === undefined) throw await endedAtOnce(name, said);
    return { identity, ready: (signal) => waitReady(name, readyPipe, exited, said, signal) };
  } catch (cause) {
    if (cause instanceof AgentError) throw cause;
    throw new AgentError(`cannot start ${program}: ${errorMessage(cause)}`, { code: 'EXEC_FAILED', cause });
  } finally {
    closeSync(log);
  }
}

async function waitReady(
  program: string,
  pipe: Socket,
  exited: Promise<void>,
  log: OwnLog,
  signal: AbortSignal,
): Promise<void> {
  pipe.ref();
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => stop(), { once: true });
  const line = new Promise<'ready' | 'closed'>((resolve) => {
    pipe.once('data', () => resolve('ready'));
    pipe.once('close', () => resolve('closed'));
  });
  const first = await Promise.race([
    line,
    exited.then(() => 'closed' as const),
    stopped.then(() => 'stopped' as const),
  ]);
  pipe.destroy();
  if (first === 'closed') throw await endedAtOnce(program, log);
  if (first === 'stopped') throw signal.reason;
}

/** What a process has written: its log from where it began, before that are the words of those that ran earlier. */
interface OwnLog {
  readonly file: string;
  readonly start: number;
}

async function endedAtOnce(program: string, { file, start }: OwnLog): Promise<AgentError> {
  const lastWords = lastWordsIn(await text(createReadStream(file, { start })).catch(() => ''));
  const what = `${program} ended before it was ready${lastWords === '' ? '' : `: ${lastWords}`}`;
  return new AgentError(what, { code: 'PROCESS_ENDED', hint: `see ${file}` });
}

const MAX_LAST_WORDS = 400;

/** Why a program gave up, as far as its log tells: our own programs say it in a line that begins with their name. */
function lastWordsIn(log: string): string {
  const lines = log.split('\n').filter((line) => line.trim() !== '');
  const said = lines.findLast((line) => line.startsWith('nodelet: '))?.slice('nodelet: '.length) ?? lines.at(-1) ?? '';
  return said.slice(0, MAX_LAST_WORDS);
}

/** The identity of a running process, undefined when there is none (or only a zombie). */
export async function identifyProcess(pid: number): Promise<ProcessIdentity | undefined> {
  try {
    return identityIn(await readFile(`/proc/${pid}/stat`, 'utf8'));
  } catch (err) {
    if (errnoOf(err) === 'ENOENT' || errnoOf(err) === 'ESRCH') return undefined;
    throw err;
  }
}

/**
 * Pure: what a text of /proc/<pid>/stat tells (proc(5)). A zombie with further threads is still ending: they hold its
 * files, and so the ports that it listens on, until the last one is gone.
 */
export function identityIn(stat: string): ProcessIdentity | undefined {
  // The command name is in parentheses and may itself hold any character: fields are counted from the last ')'.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, threads] = [fields[0], Number(fields[17])];
  if (state === 'X' || (state === 'Z' && threads <= 1)) return undefined;
  return { pid: Number.parseInt(stat, 10), startTicks: Number(fields[19]) };
}

export async function isRunning(identity: ProcessIdentity): Promise<boolean> {
  return (await identifyProcess(identity.pid))?.startTicks === identity.startTicks;
}

/** Children of `pid`, in this process's pid namespace. */
export async function childrenOf(pid: number): Promise<number[]> {
  try {
    const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return text
      .split(' ')
      .filter((s) => s !== '')
      .map(Number);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT' || errnoOf(err) === 'ESRCH') return [];
    throw err;
  }
}

const EXIT_POLL_MS = 20; // Node.js has no pidfd: the end of somebody else's child can only be looked for

/**
 * Asks with SIGTERM, waits up to `graceMs`, then SIGKILL. Resolves when the process is gone; a process that is not
 * running any more is success. @throws {AgentError} PROCESS_STUCK when it survives SIGKILL for 10 s.
 */
export async function stopProcess(identity: ProcessIdentity, graceMs: number, clock: Clock): Promise<void> {
  if (graceMs > 0 && (await signalProcess(identity, 'SIGTERM')) && (await waitForExit(identity, graceMs, clock)))
    return;
  await signalProcess(identity, 'SIGKILL');
  if (await waitForExit(identity, 10_000, clock)) return;
  throw new AgentError(`process ${identity.pid} does not end after SIGKILL`, { code: 'PROCESS_STUCK' });
}

/** False when the process is gone. */
export async function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): Promise<boolean> {
  if (!(await isRunning(identity))) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch (err) {
    if (errnoOf(err) === 'ESRCH') return false;
    throw err;
  }
}

export async function waitForExit(identity: ProcessIdentity, timeoutMs: number, clock: Clock): Promise<boolean> {
  const endMs = clock.monotonicMs() + timeoutMs;
  while (await isRunning(identity)) {
    if (clock.monotonicMs() >= endMs) return false;
    await clock.sleep(EXIT_POLL_MS);
  }
  return true;
}
