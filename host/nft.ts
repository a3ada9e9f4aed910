// nftables through its own tool: one process for a whole change, all or nothing.
import { AgentError } from '../core/errors.ts';
import type { Exec } from './exec.ts';

export interface NftCallOptions {
  readonly signal?: AbortSignal;
}

const TIMEOUT_MS = 120_000;
/** nft 1.0.6 needs 28 s of CPU time to list a table of 30,000 Services. */
const LIST_TIMEOUT_MS = 300_000;
const MAX_LIST_BYTES = 256 << 20;

/**
 * Applies `payload` in one transaction; an empty one costs nothing.
 * @throws {AgentError} RULES_REJECTED, with the tool's words.
 */
export async function applyNft(exec: Exec, payload: string, opts: NftCallOptions = {}): Promise<void> {
  if (payload === '') return;
  const r = await exec('nft', ['-f', '-'], { input: payload, timeoutMs: TIMEOUT_MS, ...opts });
  if (r.code === 0) return;
  const line = Number(/^[^:]*:(\d+):/.exec(r.stderr)?.[1] ?? 0);
  const refused = payload.split('\n')[line - 1];
  const where = refused === undefined ? '' : `, at ${JSON.stringify(refused.slice(0, 300))}`;
  throw new AgentError(
    `nft refused the rules (${r.signal ?? `exit ${r.code}`}): ${r.stderr.trim().slice(0, 1000)}${where}`,
    { code: 'RULES_REJECTED', retryable: true, details: { line, rule: refused } },
  );
}

/** Looks whether the kernel would take `payload`, without a change. Returns nft's words when it would not. */
export async function checkNft(exec: Exec, payload: string, opts: NftCallOptions = {}): Promise<string | undefined> {
  const r = await exec('nft', ['--check', '-f', '-'], { input: payload, timeoutMs: TIMEOUT_MS, ...opts });
  return r.code === 0 ? undefined : r.stderr.trim() || `exit ${r.code}`;
}

export interface NftListOptions extends NftCallOptions {
  /** Elements of named sets and maps too; those of anonymous ones are part of their rules and always there. */
  readonly withElements?: boolean;
}

/** A listing command (`list chain ip t c`) as text; undefined when the object is not there. @throws {AgentError} RULES_UNREADABLE. */
export async function listNft(
  exec: Exec,
  args: readonly string[],
  { withElements = false, ...opts }: NftListOptions = {},
): Promise<string | undefined> {
  const limits = { maxOutputBytes: MAX_LIST_BYTES, timeoutMs: LIST_TIMEOUT_MS };
  const r = await exec('nft', [...(withElements ? [] : ['--terse']), ...args], { ...limits, ...opts });
  if (r.code === 0) return r.stdout;
  if (/No such file or directory/.test(r.stderr)) return undefined;
  throw new AgentError(`nft ${args.join(' ')} failed (${r.signal ?? `exit ${r.code}`}): ${r.stderr.trim()}`, {
    code: 'RULES_UNREADABLE',
    retryable: true,
  });
}
