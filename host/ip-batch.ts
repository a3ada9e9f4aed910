// iproute2 in bulk: one `ip -batch` or `bridge -batch` for all changes of a kind.
import { AgentError } from '../core/errors.ts';
import type { Exec, ExecResult } from './exec.ts';

export interface BatchOptions {
  /** Name of a network namespace to work in, see netns.ts; the process's own when absent. */
  readonly netns?: string;
  readonly signal?: AbortSignal;
  /** Go on after a refused line; the error then comes at the end. */
  readonly force?: boolean;
}

/**
 * Runs `lines` (commands without the leading `ip`) in one process; none costs nothing. Lines before a refused one have
 * taken effect. @throws {AgentError} IP_REFUSED, with the first refused line in `details`.
 */
export function ipBatch(exec: Exec, lines: readonly string[], opts: BatchOptions = {}): Promise<void> {
  return batch(exec, 'ip', lines, opts);
}

/** The same for `bridge`, e.g. `fdb replace …`. */
export function bridgeBatch(exec: Exec, lines: readonly string[], opts: BatchOptions = {}): Promise<void> {
  return batch(exec, 'bridge', lines, opts);
}

async function batch(
  exec: Exec,
  program: 'ip' | 'bridge',
  lines: readonly string[],
  opts: BatchOptions,
): Promise<void> {
  if (lines.length === 0) return;
  const args = [...netnsArgs(opts), ...(opts.force ? ['-force'] : []), '-batch', '-'];
  const signal = opts.signal === undefined ? {} : { signal: opts.signal };
  const r = await exec(program, args, { input: `${lines.join('\n')}\n`, ...signal });
  if (r.code === 0) return;
  const number = Number(/Command failed -:(\d+)/.exec(r.stderr)?.[1] ?? 0);
  const line = lines[number - 1];
  throw new AgentError(`${program} refused ${line ?? 'the batch'}: ${r.stderr.trim().slice(0, 500)}`, {
    code: 'IP_REFUSED',
    retryable: true,
    details: { line },
  });
}

/** The answer of `ip -j …` or `bridge -j …`. Undefined when a device that it names does not exist. */
export async function readJson<T>(
  exec: Exec,
  program: 'ip' | 'bridge',
  args: readonly string[],
  opts: BatchOptions = {},
): Promise<readonly T[] | undefined> {
  const r = await settledAnswer(exec, program, [...netnsArgs(opts), '-j', ...args], opts);
  if (r.code === 0) return r.stdout.trim() === '' ? [] : (JSON.parse(r.stdout) as T[]);
  if (/does not exist|Cannot find device/i.test(r.stderr)) return undefined;
  throw new AgentError(`${program} ${args.join(' ')} failed (${r.signal ?? `exit ${r.code}`}): ${r.stderr.trim()}`, {
    code: 'EXEC_STATUS',
    retryable: true,
  });
}

/** The answers of several `ip` commands in one process, as one list; a command that is refused answers nothing. */
export async function readJsonBatch<T>(
  exec: Exec,
  lines: readonly string[],
  opts: BatchOptions = {},
): Promise<readonly T[]> {
  if (lines.length === 0) return [];
  const args = [...netnsArgs(opts), '-j', '-force', '-batch', '-'];
  const r = await settledAnswer(exec, 'ip', args, opts, `${lines.join('\n')}\n`);
  const answers = r.stdout.split('\n').filter((line) => line.startsWith('['));
  return answers.flatMap((line) => JSON.parse(line) as T[]);
}

const READ_ATTEMPTS = 5;

/**
 * The kernel lists links, addresses and routes in pieces. Where one comes or goes meanwhile, iproute2 says so and its
 * answer may lack others, too: a node that starts many pods would not find its own address. So it is asked again, as it
 * is when it failed without a word. What still comes and goes at the last attempt is taken as it is.
 */
async function settledAnswer(
  exec: Exec,
  program: 'ip' | 'bridge',
  args: readonly string[],
  { signal }: BatchOptions,
  input?: string,
): Promise<ExecResult> {
  const opts = {
    maxOutputBytes: 64 << 20,
    ...(input === undefined ? {} : { input }),
    ...(signal === undefined ? {} : { signal }),
  };
  for (let attempt = 1; ; attempt++) {
    const r = await exec(program, args, opts);
    const silent = r.code !== 0 && r.signal === undefined && r.stderr.trim() === '';
    if (attempt === READ_ATTEMPTS || !(silent || r.stderr.includes('Dump was interrupted'))) return r;
  }
}

function netnsArgs(opts: BatchOptions): string[] {
  return opts.netns === undefined ? [] : ['-n', opts.netns];
}

/** A link as `ip -j -d link` or `ip -j address` shows it: the part that is used. */
export interface IpLink {
  readonly ifname: string;
  readonly mtu: number;
  readonly address?: string;
  readonly flags?: readonly string[];
  readonly linkinfo?: { readonly info_kind?: string; readonly info_data?: Readonly<Record<string, unknown>> };
  readonly addr_info?: readonly { readonly family: string; readonly local: string; readonly prefixlen: number }[];
}

export interface IpRoute {
  readonly dst: string;
  readonly gateway?: string;
  readonly dev?: string;
  /** The source address that packets get. */
  readonly prefsrc?: string;
  readonly flags?: readonly string[];
}

export interface IpNeighbour {
  readonly dst: string;
  readonly lladdr?: string;
  readonly state?: readonly string[];
}

export interface FdbEntry {
  readonly mac: string;
  readonly dst?: string;
  readonly state?: string;
}
