// The kernel's named packet counters (nfnetlink_acct), through the nfacct program.
import { AgentError } from '../core/errors.ts';
import type { Exec } from './exec.ts';

/** Makes the counter when it is missing; one that is there keeps what it has counted. @throws {AgentError} EXEC_NOT_FOUND, NFACCT_FAILED. */
export async function ensureCounter(exec: Exec, name: string, signal: AbortSignal): Promise<void> {
  if ((await readCounters(exec, signal)).has(name)) return;
  const r = await exec('nfacct', ['add', name], { signal });
  if (r.code === 0 || (await readCounters(exec, signal)).has(name)) return; // somebody else was faster
  throw failed(`add ${name}`, r.stderr);
}

/** Idempotent. A counter that some rule feeds stays. @throws {AgentError} EXEC_NOT_FOUND. */
export async function removeCounter(exec: Exec, name: string, signal: AbortSignal): Promise<void> {
  await exec('nfacct', ['delete', name], { signal });
}

/** Packets by counter. @throws {AgentError} EXEC_NOT_FOUND, NFACCT_FAILED. */
export async function readCounters(exec: Exec, signal?: AbortSignal): Promise<ReadonlyMap<string, number>> {
  const r = await exec('nfacct', ['list'], signal === undefined ? {} : { signal });
  if (r.code !== 0) throw failed('list', r.stderr);
  return parseCounters(r.stdout);
}

/** Pure: lines of `{ pkts = 00000000000000000003, bytes = 00000000000000000180 } = name;`. */
function parseCounters(text: string): ReadonlyMap<string, number> {
  const counters = new Map<string, number>();
  for (const [, packets, name] of text.matchAll(/^\{ pkts = (\d+), bytes = \d+[^}]*\} = (\S+?);?$/gm)) {
    counters.set(name!, Number(packets));
  }
  return counters;
}

function failed(what: string, stderr: string): AgentError {
  return new AgentError(`nfacct ${what} failed: ${stderr.trim().slice(0, 300)}`, { code: 'NFACCT_FAILED' });
}
