// iptables rules in bulk: one process for the whole change, all or nothing per table.
import { StringDecoder } from 'node:string_decoder';
import { isDeepStrictEqual } from 'node:util';
import { AgentError } from '../core/errors.ts';
import type { Exec } from './exec.ts';

export type IptablesFamily = 4 | 6;

export interface TablePayload {
  readonly table: 'filter' | 'nat' | 'mangle';
  /** Created when missing, emptied when not. */
  readonly chains: readonly string[];
  /** Whole commands: `-A CHAIN …`, `-I …`, `-D …`, `-X CHAIN`. */
  readonly rules: readonly string[];
}

/** Pure: one `iptables-restore --noflush` document. Tables without content are left out. */
export function renderRestore(tables: readonly TablePayload[]): string {
  const lines: string[] = [];
  for (const t of tables) {
    if (t.chains.length === 0 && t.rules.length === 0) continue;
    lines.push(`*${t.table}`);
    for (const chain of t.chains) lines.push(`:${chain} - [0:0]`);
    for (const rule of t.rules) lines.push(rule); // not push(...): a full sync has 75,000 of them
    lines.push('COMMIT');
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

/** The process that `applyRestore` starts. Waits up to 5 s for the xtables lock, as upstream does. */
export function restoreCommand(family: IptablesFamily): { readonly program: string; readonly args: readonly string[] } {
  const program = family === 6 ? 'ip6tables-restore' : 'iptables-restore';
  return { program, args: ['-w', '5', '--noflush', '--counters'] };
}

/**
 * Applies `payload` in one process; an empty one costs nothing. Each table changes as a whole or not at all, but an
 * earlier table stays changed when a later one is refused.
 * @throws {AgentError} RULES_REJECTED, with the refused line in `details`.
 */
export async function applyRestore(
  exec: Exec,
  payload: string,
  opts: { readonly family?: IptablesFamily; readonly signal?: AbortSignal } = {},
): Promise<void> {
  if (payload === '') return;
  const { program, args } = restoreCommand(opts.family ?? 4);
  const r = await exec(program, args, {
    input: payload,
    timeoutMs: 120_000,
    ...(opts.signal === undefined ? {} : { signal: opts.signal }),
  });
  if (r.code === 0) return;
  const line = Number(/line:? (\d+)/i.exec(r.stderr)?.[1] ?? 0);
  const rule = payload.split('\n')[line - 1];
  const refused = rule === undefined ? '' : `, at ${JSON.stringify(rule.slice(0, 300))}`;
  throw new AgentError(
    `${program} refused the rules (${r.signal ?? `exit ${r.code}`}): ${r.stderr.trim().slice(0, 1000)}${refused}`,
    { code: 'RULES_REJECTED', retryable: true, details: { line, rule } },
  );
}

export interface ExpectedRules {
  readonly table: TablePayload['table'];
  /** `-A CHAIN …` lines that must stand in their chains. */
  readonly rules: readonly string[];
  /** How many rules chains must have. */
  readonly counts?: ReadonlyMap<string, number>;
}

/**
 * True when all rules stand in their chains. One process, which lists these chains only: the cost does not follow the size
 * of the ruleset, as that of `iptables-save` does.
 * @throws {AgentError} RULES_UNREADABLE when the kernel cannot be asked.
 */
export async function areRulesInPlace(
  exec: Exec,
  tables: readonly ExpectedRules[],
  opts: { readonly family?: IptablesFamily; readonly signal?: AbortSignal } = {},
): Promise<boolean> {
  const checks = tables.map(({ table, rules, counts }) => ({
    table,
    chains: [],
    rules: [
      ...rules.map((r) => r.replace(/^-[AI] /, '-C ')),
      ...[...(counts?.keys() ?? [])].map((chain) => `-S ${chain}`),
    ],
  }));
  const listed = new ListedChains();
  const program = opts.family === 6 ? 'ip6tables-restore' : 'iptables-restore';
  const r = await exec(program, ['-w', '5', '--noflush'], {
    input: renderRestore(checks),
    onStdout: (chunk) => listed.push(chunk),
    ...(opts.signal === undefined ? {} : { signal: opts.signal }),
  });
  if (r.code === 0) {
    listed.push(Buffer.from(r.stdout));
    const wanted = tables.flatMap(({ counts }) => [...(counts?.values() ?? [])]);
    return isDeepStrictEqual(listed.counts, wanted);
  }
  // 1: no such rule; 2: no such chain to jump to. Their texts differ by back end. 4 is a lock or a kernel that refuses.
  if (r.code === 1 || r.code === 2) return false;
  throw new AgentError(`${program} cannot check rules (${r.signal ?? `exit ${r.code}`}): ${r.stderr.trim()}`, {
    code: 'RULES_UNREADABLE',
    retryable: true,
  });
}

/**
 * Whether there is an iptables of the family that works, asked as upstream does: by a chain that is always there. Exit code
 * 4 is a lock held by another, or a kernel in trouble.
 */
export async function isIptablesUsable(exec: Exec, family: IptablesFamily, signal: AbortSignal): Promise<boolean> {
  const program = family === 6 ? 'ip6tables' : 'iptables';
  try {
    const { code } = await exec(program, ['-w', '5', '-t', 'nat', '-S', 'POSTROUTING'], { signal });
    return code === 0 || code === 4;
  } catch (err) {
    if (signal.aborted) throw err;
    return false; // there is no such program
  }
}

/** Counts the rules that `iptables -S CHAIN` prints, after a line with the chain itself: thousands, of which none is kept. */
class ListedChains {
  /** Of one chain after the other. */
  readonly counts: number[] = [];
  /** A line whose end has not come. */
  #rest = '';

  push(chunk: Buffer): void {
    const text = this.#rest + chunk.toString('latin1'); // only the start of a line is looked at
    let at = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', at)) {
      if (text.startsWith('-N ', at)) this.counts.push(0);
      else if (text.startsWith('-A ', at)) this.counts.push(this.counts.pop()! + 1);
      at = end + 1;
    }
    this.#rest = text.slice(at);
  }
}

export interface SavedTable {
  readonly chains: ReadonlySet<string>;
  /** As `iptables-save` prints them, `-A CHAIN …`. */
  readonly rules: readonly string[];
}

export interface Jump {
  readonly table: TablePayload['table'];
  /** `-A CHAIN … -j OWN` */
  readonly rule: string;
}

/** What the kernel holds, by table; only tables in use appear. @throws {AgentError} RULES_UNREADABLE. */
export async function saveRules(
  exec: Exec,
  opts: {
    readonly family?: IptablesFamily;
    readonly signal?: AbortSignal;
    /** Rules of these chains only; default all. */
    readonly rulesOf?: ReadonlySet<string>;
    /** `-A CHAIN … -j OWN` rules to ask for one by one where the tool lists a table not at all. */
    readonly jumps?: readonly Jump[];
  } = {},
): Promise<ReadonlyMap<string, SavedTable>> {
  const program = opts.family === 6 ? 'ip6tables-save' : 'iptables-save';
  const parser = new SaveParser(opts.rulesOf);
  const r = await exec(program, [], {
    onStdout: (chunk) => parser.push(chunk),
    timeoutMs: 120_000,
    ...(opts.signal === undefined ? {} : { signal: opts.signal }),
  });
  if (r.code !== 0) {
    throw new AgentError(`${program} failed (${r.signal ?? `exit ${r.code}`}): ${r.stderr.trim()}`, {
      code: 'RULES_UNREADABLE',
      retryable: true,
    });
  }
  parser.push(Buffer.from(r.stdout));
  const tables = new Map(parser.end());
  if (!parser.isWhole) {
    throw new AgentError(`${program} ended in the middle of a table`, { code: 'RULES_UNREADABLE', retryable: true });
  }
  for (const table of parser.unlisted) tables.set(table, await askFor(exec, table, opts));
  return tables;
}

/**
 * iptables-nft says of a table in which somebody put a rule by `nft` that it cannot show no more than that, with exit code
 * 0, but goes on changing it: taken for empty, it would get another set of jumps each time.
 */
async function askFor(exec: Exec, table: string, opts: Parameters<typeof saveRules>[1] = {}): Promise<SavedTable> {
  const found: string[] = [];
  for (const jump of opts.jumps ?? []) {
    if (jump.table !== table) continue;
    if (await areRulesInPlace(exec, [{ table: jump.table, rules: [jump.rule] }], opts)) found.push(jump.rule);
  }
  return { chains: new Set(found.map((rule) => rule.slice(rule.lastIndexOf(' ') + 1))), rules: found };
}

/** Pure: the output of `iptables-save`; of rules, those of the chains `rulesOf`, or all. */
export function parseSave(text: string, rulesOf?: ReadonlySet<string>): ReadonlyMap<string, SavedTable> {
  const parser = new SaveParser(rulesOf);
  parser.push(Buffer.from(text));
  return parser.end();
}

/** Takes `iptables-save`'s output as it comes: with 5,000 Services it has 100,000 lines in 9 MB, few of them wanted. */
class SaveParser {
  readonly #rulesOf: ReadonlySet<string> | undefined;
  readonly #decoder = new StringDecoder('utf8');
  readonly #tables = new Map<string, { chains: Set<string>; rules: string[] }>();
  #table: { chains: Set<string>; rules: string[] } | undefined;
  /** Tables of which the tool says that it cannot show them. */
  readonly unlisted: string[] = [];
  /** False while a table has not ended. */
  isWhole = true;
  /** A line whose end has not come. */
  #rest = '';

  constructor(rulesOf: ReadonlySet<string> | undefined) {
    this.#rulesOf = rulesOf;
  }

  push(chunk: Buffer): void {
    const text = this.#rest + this.#decoder.write(chunk);
    let at = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', at)) {
      this.#line(text, at, end);
      at = end + 1;
    }
    this.#rest = text.slice(at);
  }

  end(): ReadonlyMap<string, SavedTable> {
    const last = this.#rest + this.#decoder.end();
    this.#line(last, 0, last.length);
    return this.#tables;
  }

  /** Lines that are not wanted are not even cut out. */
  #line(text: string, at: number, end: number): void {
    if (text.startsWith('*', at)) {
      this.isWhole = false;
      this.#table = { chains: new Set(), rules: [] };
      this.#tables.set(text.slice(at + 1, end).trim(), this.#table);
    } else if (text.startsWith(':', at)) {
      this.#table?.chains.add(copyOf(text.slice(at + 1, end).split(' ', 1)[0]!));
    } else if (text.startsWith('-A ', at) && this.#wants(text.slice(at + 3, text.indexOf(' ', at + 3)))) {
      this.#table?.rules.push(copyOf(text.slice(at, end)));
    } else if (text.startsWith('COMMIT', at)) this.isWhole = true;
    else if (text.startsWith('# Table `', at)) {
      const table = /^# Table `(\w+)' is incompatible/.exec(text.slice(at, end))?.[1];
      if (table !== undefined) this.unlisted.push(table);
    }
  }

  #wants(chain: string): boolean {
    return this.#rulesOf?.has(chain) ?? true;
  }
}

/** A part of a text keeps the whole of it in memory; a copy does not. */
function copyOf(line: string): string {
  return Buffer.from(line).toString();
}

/** The first rule of built-in chain `from` that jumps to `to`, whatever it matches. */
export function findJump(table: SavedTable | undefined, from: string, to: string): string | undefined {
  return table?.rules.find((r) => r.startsWith(`-A ${from} `) && r.endsWith(` -j ${to}`));
}

/** True when some rule of built-in chain `from` jumps to `to`, whatever it matches. */
export function hasJump(table: SavedTable | undefined, from: string, to: string): boolean {
  return findJump(table, from, to) !== undefined;
}
