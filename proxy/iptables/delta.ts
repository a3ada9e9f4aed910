// What a partial sync writes: the difference between two states of some Services, pure.
import { renderRestore } from '../../host/iptables-restore.ts';
import type { KeptRules } from './kept-rules.ts';
import type { DispatchRule, ServiceRules, TopChain } from './service-rules.ts';

export interface ServiceChange {
  readonly before: KeptRules | undefined;
  readonly after: (ServiceRules & { readonly kept: KeptRules }) | undefined;
  /** Commands that change a chain instead of writing it anew. */
  readonly edits?: ReadonlyMap<string, readonly string[]>;
}

export interface DeltaContext {
  /** Of every Service as it will be, the changed ones included. Asked only when a top-level chain is written anew. */
  readonly dispatch: () => Iterable<DispatchRule>;
  /** The last rules of nat KUBE-SERVICES, as `-A` commands. */
  readonly tail: readonly string[];
  /** So many lines about chains of Services fit into one document. */
  readonly linesPerDocument: number;
}

/**
 * More rules than this are not taken out of a top-level chain one by one: with 5,000 rules in it, each `-D` takes
 * iptables-nft 20 ms, and writing the whole chain 280 ms.
 */
const MOST_DELETIONS = 14;

/** What top-level chains lose and get. */
type DispatchChanges = Map<TopChain, { readonly removed: string[]; readonly added: string[] }>;

/**
 * Documents that bring the kernel from `before` to `after`; none when nothing differs. New dispatch rules go to the head
 * of their chain, where the order does not matter, so that the cost follows the change. What does not fit into one
 * document comes in several: chains first, then what leads to them, then the removal of chains that nothing leads to.
 */
export function* renderDelta(changes: Iterable<ServiceChange>, ctx: DeltaContext): Generator<string> {
  const { written, edits, removed, dispatch } = difference(changes);
  const { filter, nat } = dispatchText(dispatch, ctx);
  // Behind the chains that they lead to, which are declared or written before.
  for (const edit of edits) nat.rules.push(edit);
  const lines = [...written.map(linesOf), edits.length, ...removed.map(() => LINES_OF_REMOVAL)];
  if (lines.reduce((sum, n) => sum + n, 0) <= ctx.linesPerDocument) {
    const own = chainText(written);
    const gone = removalText(removed);
    yield* nonEmpty([
      { table: 'filter', ...filter },
      {
        table: 'nat',
        chains: [...nat.chains, ...own.chains, ...gone.chains],
        rules: [...nat.rules, ...own.rules, ...gone.rules],
      },
    ]);
    return;
  }
  for (const some of slices(leavesFirst(written), ctx.linesPerDocument, linesOf)) {
    yield* nonEmpty([{ table: 'nat', ...chainText(some) }]);
  }
  yield* nonEmpty([
    { table: 'filter', ...filter },
    { table: 'nat', ...nat },
  ]);
  for (const some of slices(rootsFirst(removed), ctx.linesPerDocument, () => LINES_OF_REMOVAL)) {
    yield* nonEmpty([{ table: 'nat', ...removalText(some) }]);
  }
}

export type OwnChain = readonly [name: string, rules: readonly string[]];

export interface ChainText {
  readonly chains: readonly string[];
  readonly rules: readonly string[];
}

export function chainText(own: readonly OwnChain[]): ChainText {
  const rules: string[] = [];
  for (const [chain, list] of own) for (const rule of list) rules.push(`-A ${chain} ${rule}`);
  return { chains: own.map(([chain]) => chain), rules };
}

/** Declaring a chain empties it, so that it can be deleted. */
export function removalText(chains: readonly string[]): ChainText {
  return { chains, rules: chains.map((chain) => `-X ${chain}`) };
}

const DEPTHS = ['KUBE-SEP-', 'KUBE-SVC-', 'KUBE-SVL-', 'KUBE-EXT-', 'KUBE-FW-'];

/** Chains that others jump to come before these, so that a cut between documents leaves no jump without its target. */
export function leavesFirst(own: readonly OwnChain[]): OwnChain[] {
  return own.toSorted(([a], [b]) => depthOf(a) - depthOf(b));
}

/** The other way round, for removal: a chain that another one still jumps to cannot be deleted. Others come last. */
export function rootsFirst(chains: Iterable<string>): string[] {
  return [...chains].sort((a, b) => depthOf(b) - depthOf(a));
}

function depthOf(name: string): number {
  return DEPTHS.findIndex((prefix) => name.startsWith(prefix));
}

/** Lines that a chain takes in a document: its declaration and its rules. */
export function linesOf([, rules]: OwnChain): number {
  return 1 + rules.length;
}

/** Lines that the removal of a chain takes. */
export const LINES_OF_REMOVAL = 2;

/** In their order, cut so that no part has more than `size` lines, unless one item alone has. */
export function slices<T>(all: readonly T[], size: number, linesOfItem: (item: T) => number): T[][] {
  const out: T[][] = [];
  let left = 0;
  for (const item of all) {
    const lines = linesOfItem(item);
    if (lines > left || out.length === 0) {
      out.push([]);
      left = size;
    }
    out.at(-1)!.push(item);
    left -= lines;
  }
  return out;
}

/** `filter/KUBE-SERVICES` → its table and its name. */
export function splitTopChain(chain: TopChain): ['filter' | 'nat', string] {
  const slash = chain.indexOf('/');
  return [chain.slice(0, slash) as 'filter' | 'nat', chain.slice(slash + 1)];
}

/** A `ChainText` that is being put together. */
interface GrowingText {
  readonly chains: string[];
  readonly rules: string[];
}

interface Difference {
  readonly written: readonly OwnChain[];
  /** Commands for chains of table nat. */
  readonly edits: readonly string[];
  readonly removed: readonly string[];
  readonly dispatch: DispatchChanges;
}

function difference(changes: Iterable<ServiceChange>): Difference {
  const written: OwnChain[] = [];
  const edits: string[] = [];
  const removed: string[] = [];
  const dispatch: DispatchChanges = new Map();
  for (const { before, after, edits: own } of changes) {
    diffDispatch(before?.dispatch ?? [], after?.dispatch ?? [], dispatch);
    for (const [chain, rules] of after?.chains ?? []) {
      if (before?.chains.get(chain) === after!.kept.chains.get(chain)) continue;
      const commands = own?.get(chain);
      if (commands === undefined) written.push([chain, rules]);
      else for (const command of commands) edits.push(command);
    }
    for (const chain of before?.chains.keys() ?? []) if (!after?.chains.has(chain)) removed.push(chain);
  }
  return { written, edits, removed, dispatch };
}

function diffDispatch(before: readonly DispatchRule[], after: readonly DispatchRule[], out: DispatchChanges): void {
  const textOf = (d: DispatchRule) => `${d.chain} ${d.spec}`;
  const old = new Set(before.map(textOf));
  const wanted = new Set(after.map(textOf));
  const changesOf = (chain: TopChain) => {
    const known = out.get(chain) ?? { removed: [], added: [] };
    out.set(chain, known);
    return known;
  };
  for (const d of before) if (!wanted.has(textOf(d))) changesOf(d.chain).removed.push(d.spec);
  for (const d of after) if (!old.has(textOf(d))) changesOf(d.chain).added.push(d.spec);
}

function dispatchText(dispatch: DispatchChanges, ctx: DeltaContext): Record<'filter' | 'nat', GrowingText> {
  const out: Record<'filter' | 'nat', GrowingText> = {
    filter: { chains: [], rules: [] },
    nat: { chains: [], rules: [] },
  };
  const anew = new Set<TopChain>();
  for (const [top, { removed, added }] of dispatch) {
    const [table, chain] = splitTopChain(top);
    if (removed.length > MOST_DELETIONS) {
      anew.add(top);
      out[table].chains.push(chain);
      continue;
    }
    for (const spec of removed) out[table].rules.push(`-D ${chain} ${spec}`);
    // Backwards, as each goes to the head: a rule that counts some packets must stay before the one for all.
    for (const spec of added.toReversed()) out[table].rules.push(`-I ${chain} ${spec}`);
  }
  if (anew.size === 0) return out;
  for (const { chain: top, spec } of ctx.dispatch()) {
    if (!anew.has(top)) continue;
    const [table, chain] = splitTopChain(top);
    out[table].rules.push(`-A ${chain} ${spec}`);
  }
  if (anew.has('nat/KUBE-SERVICES')) out.nat.rules.push(...ctx.tail);
  return out;
}

function* nonEmpty(tables: Parameters<typeof renderRestore>[0]): Generator<string> {
  const document = renderRestore(tables);
  if (document !== '') yield document;
}
