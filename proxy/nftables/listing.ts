// What `nft list` says of our table, brought to one form with what we write, so that a full sync can leave alone what is
// right already. Writing rules anew is dear: for each anonymous map the kernel looks through all sets of the table, so
// 5,000 chains written again take 6 s of CPU time, and reading them 0.7 s. Whatever is not understood here differs from
// everything we want, and is written.
import { Turns } from '../../core/turns.ts';
import { isAffinitySet, isServiceChain } from './names.ts';

export interface TableListing {
  /** Rules in canonical form by chain: those of single Services and endpoints. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** Timeouts in seconds, 0 for none, by affinity set. */
  readonly affinitySets: ReadonlyMap<string, number>;
}

/** Reads what `nft --terse list table` prints. `undefined` text: there is no table. */
export async function parseTable(text: string | undefined): Promise<TableListing> {
  const chains = new Map<string, string[]>();
  const affinitySets = new Map<string, number>();
  let rules: string[] | undefined;
  let set: string | undefined;
  const turns = new Turns();
  for (const line of linesOf(text ?? '')) {
    if (turns.isDue) await turns.next();
    const opening = /^\t(chain|set|map) (\S+) \{$/.exec(line);
    if (opening !== null) {
      const [, kind, name] = opening;
      rules = kind === 'chain' && isServiceChain(name!) ? [] : undefined;
      set = kind === 'set' && isAffinitySet(name!) ? name : undefined;
      if (rules !== undefined) chains.set(name!, rules);
      if (set !== undefined) affinitySets.set(set, 0);
    } else if (line === '\t}') {
      rules = undefined;
      set = undefined;
    } else if (rules !== undefined) {
      rules.push(canonicalRule(line.trim()));
    } else if (set !== undefined) {
      const timeout = /^\t\ttimeout (\S+)$/.exec(line)?.[1];
      if (timeout !== undefined) affinitySets.set(set, durationSeconds(timeout));
    }
  }
  return { chains, affinitySets };
}

export interface ListedElement {
  /** Empty in sets. */
  readonly value: string;
  readonly comment: string;
}

/** Reads what `nft list set` or `list map` prints of one container. */
export async function parseElements(text: string): Promise<Map<string, ListedElement>> {
  const found = new Map<string, ListedElement>();
  let isInside = false;
  const turns = new Turns();
  for (const line of linesOf(text)) {
    if (turns.isDue) await turns.next();
    let rest = line.trim();
    if (rest.startsWith('elements = {')) {
      isInside = true;
      rest = rest.slice('elements = {'.length);
    }
    if (!isInside) continue;
    if (rest.endsWith('}')) {
      isInside = false;
      rest = rest.slice(0, -1);
    }
    for (const part of rest.split(',')) {
      const element = /^([^"]*?)(?: comment "([^"]*)")?(?: : (.+))?$/.exec(part.trim());
      if (element?.[1]) found.set(element[1], { value: element[3] ?? '', comment: element[2] ?? '' });
    }
  }
  return found;
}

/**
 * Pure: one text for one meaning, of rules as this mode writes them and as different versions of nft print them. Rules
 * that mean something else never come out equal.
 */
export function canonicalRule(rule: string): string {
  return rule
    .replace(/(?:meta )?mark set (?:meta )?mark (?:or|\|) (0x[0-9a-f]+)/, (_, bits) => `mark or ${Number(bits)}`)
    .replace(/ dnat (ip6?) addr \. port to /, ' dnat $1 to ')
    .replace(/\{([^{}]*)\}/g, (_, items: string) => {
      const sorted = items.split(',').map((item) => item.trim().replace(/\/(32|128)$/, ''));
      return sorted.length === 1 ? sorted[0]! : `{ ${sorted.sort().join(', ')} }`;
    });
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { d: 86_400, h: 3_600, m: 60, s: 1, ms: 0.001 };

/** `2d3h4m5s` as nft prints it. */
function durationSeconds(text: string): number {
  let seconds = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|[dhms])/g)) seconds += Number(count) * UNIT_SECONDS[unit!]!;
  return seconds;
}

/** Not split(): a listing has hundreds of thousands of lines. */
function* linesOf(text: string): Generator<string> {
  let at = 0;
  while (at < text.length) {
    const end = text.indexOf('\n', at);
    if (end < 0) break;
    yield text.slice(at, end);
    at = end + 1;
  }
}
