// Processes without a shell: an argument array, input on stdin, a timeout. The one way in which this program starts
// other programs; tests hand in a recorder.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { linkedSignal } from '../core/abort.ts';
import { AgentError } from '../core/errors.ts';
import { notStarted, withStreams } from './not-started.ts';

export interface ExecOptions {
  readonly input?: string | Uint8Array;
  readonly signal?: AbortSignal;
  /** The process is killed after this, ms. Default 30,000. */
  readonly timeoutMs?: number;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Bytes of stdout and of stderr that are kept; more is read and dropped. Default 1 MiB. */
  readonly maxOutputBytes?: number;
  /** Gets stdout as it comes, so that a long one need not be in memory; the result then has what was not handed over. */
  readonly onStdout?: (chunk: Buffer) => void;
}

export interface ExecResult {
  /** Exit code; 128 + signal number is not used: see `signal`. */
  readonly code: number;
  readonly signal: NodeJS.Signals | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A killed process may be in no hurry: it hangs in the kernel on storage that does not answer, or what it has started
 * (mount's helper for NFS) holds its streams. It is waited for this much longer, ms.
 */
const KILLED_WAIT_MS = 1_000;

/** Resolves with whatever exit code came. @throws {AgentError} EXEC_NOT_FOUND, EXEC_TIMEOUT, EXEC_FAILED (not started). */
export type Exec = (program: string, args: readonly string[], opts?: ExecOptions) => Promise<ExecResult>;

export const systemExec: Exec = async (program, args, opts = {}) => {
  return await conversation(startProcess(program, args, opts), opts);
};

/** The end of it, or that it could not be started, is told by `conversation`. @throws {AgentError} EXEC_FAILED out of descriptors */
export function startProcess(
  program: string,
  args: readonly string[],
  { env, cwd }: Pick<ExecOptions, 'env' | 'cwd'> = {},
): ChildProcessWithoutNullStreams {
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(env === undefined ? {} : { env }),
    ...(cwd === undefined ? {} : { cwd }),
  });
  return withStreams(program, child);
}

/** Feeds `input` to a process that was just started, or waits for it, and listens to its end. @throws as an Exec does. */
export async function conversation(
  child: ChildProcessWithoutNullStreams,
  opts: Omit<ExecOptions, 'env' | 'cwd'>,
): Promise<ExecResult> {
  const [program = '', ...args] = child.spawnargs;
  using limit = linkedSignal(opts.signal, opts.timeoutMs ?? 30_000);
  const maxBytes = opts.maxOutputBytes ?? 1 << 20;
  const { onStdout } = opts;
  const stdout = onStdout === undefined ? collect(child.stdout, maxBytes) : () => '';
  if (onStdout !== undefined) child.stdout.on('data', onStdout);
  const stderr = collect(child.stderr, maxBytes);
  child.stdin.on('error', () => {}); // EPIPE: the program ended without reading; its exit code tells
  child.stdin.end(opts.input ?? '');
  try {
    const { code, signal } = await endOf(child, limit.signal);
    if (limit.signal.aborted) {
      const why = opts.signal?.aborted ? 'was cancelled' : `did not end within ${opts.timeoutMs ?? 30_000} ms`;
      throw new AgentError(`${program} ${args.join(' ')} ${why}`, { code: 'EXEC_TIMEOUT', retryable: true });
    }
    return { code: code ?? -1, signal: signal ?? undefined, stdout: stdout(), stderr: stderr() };
  } catch (cause) {
    throw cause instanceof AgentError ? cause : notStarted(program, cause);
  }
}

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/**
 * Waits until the process has ended and its streams are closed; once `killed` aborts it is killed, and waited for no
 * longer than a moment. @throws when it could not be started
 */
async function endOf(child: ChildProcessWithoutNullStreams, killed: AbortSignal): Promise<Ending> {
  const { promise, resolve, reject } = Promise.withResolvers<Ending>();
  let giveUp: NodeJS.Timeout | undefined;
  const kill = () => {
    child.kill('SIGKILL');
    giveUp = setTimeout(() => {
      letGo(child);
      resolve({ code: null, signal: 'SIGKILL' });
    }, KILLED_WAIT_MS);
  };
  child.once('error', reject);
  child.once('close', (code, signal) => resolve({ code, signal }));
  killed.addEventListener('abort', kill, { once: true });
  if (killed.aborted) kill();
  try {
    return await promise;
  } finally {
    clearTimeout(giveUp);
    killed.removeEventListener('abort', kill);
  }
}

/** Nothing of it is waited for any more, nor held open. */
function letGo(child: ChildProcessWithoutNullStreams): void {
  for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
  child.unref();
}

/** @throws {AgentError} EXEC_STATUS with stderr when the program ends with another code than 0. */
export async function execOk(
  exec: Exec,
  program: string,
  args: readonly string[],
  opts?: ExecOptions,
): Promise<string> {
  const r = await exec(program, args, opts);
  if (r.code === 0) return r.stdout;
  throw new AgentError(`${program} ${args.join(' ')} failed (${r.signal ?? `exit ${r.code}`}): ${r.stderr.trim()}`, {
    code: 'EXEC_STATUS',
    details: { exitCode: r.code },
  });
}

function collect(stream: NodeJS.ReadableStream, maxBytes: number): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    if (size < maxBytes) chunks.push(chunk.subarray(0, maxBytes - size));
    size += chunk.length;
  });
  return () => Buffer.concat(chunks).toString('utf8');
}
