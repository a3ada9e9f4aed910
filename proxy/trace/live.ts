// Reads from the kernel what the tracer needs: rules of both tools, addresses and routes, whom session affinity
// remembers. Only listing commands are run; nothing is changed.
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { Exec, ExecResult } from '../../host/exec.ts';
import { readJson } from '../../host/ip-batch.ts';
import { type HostFacts, hostFacts, type IpAddressEntry, type IpRouteEntry, readRecentLists } from './host-facts.ts';
import { parseIptablesSave } from './iptables-save.ts';
import { asArray, asObject } from './json.ts';
import { parseNftJson } from './nft-json.ts';
import type { Ruleset, Table } from './ruleset.ts';

export interface LiveState {
  readonly ruleset: Ruleset;
  readonly facts: HostFacts;
}

/** 30,000 Services are 25 MB of JSON. */
const MAX_BYTES = 512 << 20;
const TIMEOUT_MS = 120_000;

/** Of the network namespace in which `exec` runs programs. @throws {AgentError} RULES_UNREADABLE, EXEC_STATUS. */
export async function readLiveState(exec: Exec, family: 4 | 6, signal: AbortSignal): Promise<LiveState> {
  const ip = (args: readonly string[]) => readJson(exec, 'ip', [`-${family}`, ...args], { signal });
  const [ruleset, addresses, routes, recent] = await Promise.all([
    readRuleset(exec, family, signal),
    ip(['address']),
    ip(['route']),
    readRecent(exec, signal),
  ]);
  const facts = hostFacts((addresses ?? []) as IpAddressEntry[], (routes ?? []) as IpRouteEntry[], recent, family);
  return { ruleset, facts };
}

async function readRuleset(exec: Exec, family: 4 | 6, signal: AbortSignal): Promise<Ruleset> {
  const [iptables, names] = await Promise.all([readIptables(exec, family, signal), readTableNames(exec, signal)]);
  // iptables-nft keeps its tables in nftables, where a listing shows its matches as opaque: iptables-save has said more.
  const ofIptables = new Set(iptables.map((t) => `${family === 4 ? 'ip' : 'ip6'} ${t.name}`));
  const families = ['inet', family === 4 ? 'ip' : 'ip6'];
  const own = names.filter((t) => families.includes(t.family) && !ofIptables.has(`${t.family} ${t.name}`));
  const native = await Promise.all(own.map((t) => readNftTable(exec, t, family, signal)));
  return [...iptables, ...native.flat()];
}

async function readIptables(exec: Exec, family: 4 | 6, signal: AbortSignal): Promise<Table[]> {
  const prefix = family === 4 ? 'iptables' : 'ip6tables';
  const saved = await list(exec, `${prefix}-save`, [], signal);
  if (saved === undefined) return [];
  // The one back end says when rules of the other are there as well; the kernel goes through both.
  if (!/iptables-legacy tables present/.test(saved.stdout + saved.stderr)) return parseIptablesSave(saved.stdout);
  const legacy = await list(exec, `${prefix}-legacy-save`, [], signal);
  return [...parseIptablesSave(saved.stdout), ...parseIptablesSave(legacy?.stdout ?? '')];
}

interface TableName {
  readonly family: string;
  readonly name: string;
}

async function readTableNames(exec: Exec, signal: AbortSignal): Promise<TableName[]> {
  const listed = await list(exec, 'nft', ['-j', 'list', 'tables'], signal);
  if (listed === undefined) return [];
  return asArray(asObject(JSON.parse(listed.stdout)).nftables).flatMap((entry) => {
    const { table } = asObject(entry);
    return table === undefined ? [] : [asObject(table) as unknown as TableName];
  });
}

async function readNftTable(exec: Exec, { family, name }: TableName, of: 4 | 6, signal: AbortSignal): Promise<Table[]> {
  const listed = await list(exec, 'nft', ['-j', 'list', 'table', family, name], signal);
  return listed === undefined ? [] : parseNftJson(listed.stdout, of);
}

/** Undefined when the program is not installed: then nobody wrote rules with it. */
async function list(
  exec: Exec,
  program: string,
  args: readonly string[],
  signal: AbortSignal,
): Promise<ExecResult | undefined> {
  let result: ExecResult;
  try {
    result = await exec(program, args, { signal, maxOutputBytes: MAX_BYTES, timeoutMs: TIMEOUT_MS });
  } catch (err) {
    if (err instanceof AgentError && err.code === 'EXEC_NOT_FOUND') return undefined;
    throw err;
  }
  if (result.code === 0) return result;
  if (/exec of .* failed: No such file/.test(result.stderr)) return undefined; // `ip netns exec` did not find it
  throw new AgentError(
    `${program} ${args.join(' ')} failed (exit ${result.code}): ${result.stderr.trim().slice(0, 500)}`,
    {
      code: 'RULES_UNREADABLE',
      hint: 'run it as root, in the network namespace of the node',
    },
  );
}

async function readRecent(exec: Exec, signal: AbortSignal): Promise<Map<string, Set<string>>> {
  try {
    // 1: no line matches, 2: no such directory; both mean that nobody is remembered.
    const { stdout } = await exec('grep', ['-rH', 'src=', '/proc/net/xt_recent'], {
      signal,
      maxOutputBytes: MAX_BYTES,
    });
    return readRecentLists(stdout);
  } catch (err) {
    if (signal.aborted) throw err;
    throw new AgentError(`cannot read whom session affinity remembers: ${errorMessage(err)}`, {
      code: 'RULES_UNREADABLE',
      cause: err,
    });
  }
}
