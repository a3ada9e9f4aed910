// How to ask the kernel whether the table is whole without listing it: nft 1.0.6 reads every rule for `list chain`, which
// takes 0.5 s with 5,000 Services. Instead, deletions are tried without being done. What something else uses must be
// refused as busy, and what is there must be let go.
import type { Element } from './service-rules.ts';
import { BASE_CHAINS, type Container, containerKind, familyName, JUMPS, type NftOptions, TABLE } from './table.ts';
import { Transaction } from './transaction.ts';

export interface WholeCheck {
  /** For `nft --check`. */
  readonly document: string;
  /** Lines, counted from 1, that the kernel must refuse, being in use; it must refuse no other one. */
  readonly busyLines: readonly number[];
}

/** Containers that rules of lookup chains use whatever Services there are. */
const USED_CONTAINERS: readonly Container[] = [
  'service-ips',
  'service-nodeports',
  'no-endpoint-services',
  'no-endpoint-nodeports',
  'firewall-ips',
  'cluster-ips',
  'hairpin-connections',
];

/**
 * Whose jumps the first document looks at, the second one looking at the others': most lookup chains are led to from two
 * base chains, and stay in use while one of these is whole.
 */
const FIRST_HALF: ReadonlySet<string> = new Set([
  'filter-prerouting-pre-dnat',
  'filter-input',
  'filter-forward',
  'nat-prerouting',
  'nat-postrouting',
]);

/**
 * Documents that together find an emptied base chain or lookup chain, a container that is gone, and any of `elements`
 * that is not there.
 */
export function renderWholeChecks(opts: NftOptions, elements: readonly Element[]): readonly [WholeCheck, WholeCheck] {
  const halfOf = (isFirst: boolean): WholeCheck => {
    const at = `${familyName(opts)} ${TABLE}`;
    const isLookedAt = (chain: string) => FIRST_HALF.has(chain) === isFirst;
    const lines: string[] = [];
    const busyLines: number[] = [];
    if (isFirst) {
      lines.push(...elementDeletions(opts, elements)); // first: nft itself takes a container for gone from its line on
      for (const name of USED_CONTAINERS) busyLines.push(lines.push(`delete ${containerKind(name)} ${at} ${name}`));
    }
    for (const { name } of BASE_CHAINS) if (!isLookedAt(name)) lines.push(`flush chain ${at} ${name}`);
    for (const chain of chainsThatNeed(isLookedAt)) busyLines.push(lines.push(`delete chain ${at} ${chain}`));
    return { document: `${lines.join('\n')}\n`, busyLines };
  };
  return [halfOf(true), halfOf(false)];
}

/** Lookup chains that one base chain alone, of those looked at, leads to. */
function chainsThatNeed(isLookedAt: (chain: string) => boolean): string[] {
  const users = new Map<string, number>();
  for (const [from, , to] of JUMPS) if (isLookedAt(from)) users.set(to, (users.get(to) ?? 0) + 1);
  return [...users].filter(([, count]) => count === 1).map(([chain]) => chain);
}

function elementDeletions(opts: NftOptions, elements: readonly Element[]): string[] {
  const transaction = new Transaction(opts);
  transaction.changeElements(elements, []);
  return transaction.render().split('\n').slice(0, -1);
}

/**
 * What nft's refusal of a check means: undefined words are none. `unclear`: the kernel or the tool refused for another
 * reason.
 */
export function judgeRefusal(refusal: string | undefined, { busyLines }: WholeCheck): 'whole' | 'broken' | 'unclear' {
  const busy = new Set<number>();
  let isBroken = false;
  for (const [, line, reason] of (refusal ?? '').matchAll(/^[^:\n]*:(\d+):[\d-]+: Error: (.*)$/gm)) {
    if (reason!.includes('Device or resource busy')) busy.add(Number(line));
    else if (reason!.includes('No such file or directory')) isBroken = true;
    else return 'unclear';
  }
  if (refusal !== undefined && busy.size === 0 && !isBroken) return 'unclear';
  return isBroken || busyLines.some((line) => !busy.has(line)) ? 'broken' : 'whole';
}
