// Chains of Services with very many endpoints, pure. A chain takes iptables-nft time with the square of its rules to write:
// 1.6 s of CPU time for 10,000 endpoints, 20 ms for one of them alone (1.8.9). So endpoints stay where they are, and of the
// chain only those rules are written that differ.
import type { ServiceRules } from './service-rules.ts';

/** From so many rules on a chain is changed rule by rule; shorter ones are written anew, in the order of the endpoints. */
export const LONG_CHAIN = 500;

/** A rule takes two commands to change: with more than this part of the chain changed, writing it anew is cheaper. */
const MOST_EDITS = 1 / 4;

/**
 * `wanted`, in an order in which few rules of the chain with the rules `before` change. How likely a rule is to match
 * depends on how many rules follow it: endpoints keep their places as counted from the end. One that is new takes the
 * place of one that went, or else comes first; a place that is left is taken by the one that was first.
 */
export function arranged<T>(wanted: readonly T[], chainOf: (one: T) => string, before: readonly string[]): T[] {
  const rest = new Map(wanted.map((one) => [chainOf(one), one]));
  const places: (T | undefined)[] = [];
  for (const chain of new Set(before.map(targetOf))) {
    if (!chain.startsWith('KUBE-SEP-')) continue;
    places.push(rest.get(chain));
    rest.delete(chain);
  }
  const added = [...rest.values()];
  let first = 0;
  for (let i = places.length - 1; i >= 0; i--) {
    if (places[i] !== undefined) continue;
    if (added.length > 0) {
      places[i] = added.pop();
      continue;
    }
    while (first < i && places[first] === undefined) first++;
    places[i] = places[first];
    places[first] = undefined;
  }
  return [...added, ...places.filter((one) => one !== undefined)];
}

function targetOf(rule: string): string {
  return rule.slice(rule.lastIndexOf('-j ') + 3);
}

/**
 * Commands that bring `chain` from the rules `before` to `after`, none of which occurs twice; undefined where the chain had
 * better be written anew. Each place is named as it is when its command's turn has come, and nothing refers to a rule of the
 * same document, which iptables-nft could not name to the kernel.
 */
export function chainEdits(
  chain: string,
  before: readonly string[],
  after: readonly string[],
): readonly string[] | undefined {
  const kept = keptRules(before, after);
  const edits: string[] = [];
  let [i, j, place] = [0, 0, 1];
  while (i < before.length || j < after.length) {
    if (i < before.length && !kept.has(before[i]!)) {
      edits.push(`-D ${chain} ${place}`);
      i++;
    } else if (j < after.length && !kept.has(after[j]!)) {
      edits.push(i < before.length ? `-I ${chain} ${place} ${after[j]}` : `-A ${chain} ${after[j]}`);
      [j, place] = [j + 1, place + 1];
    } else [i, j, place] = [i + 1, j + 1, place + 1];
    if (edits.length > after.length * MOST_EDITS) return undefined;
  }
  return edits;
}

/** Rules of both that come in the same order in both. */
function keptRules(before: readonly string[], after: readonly string[]): ReadonlySet<string> {
  const places = new Map(before.map((rule, i) => [rule, i]));
  const kept = new Set<string>();
  let last = -1;
  for (const rule of after) {
    const place = places.get(rule) ?? -1;
    if (place <= last) continue;
    kept.add(rule);
    last = place;
  }
  return kept;
}

/** What the kernel holds of the long chains: other rules are not remembered. */
export class LongChains {
  readonly #rules = new Map<string, readonly string[]>();

  clear(): void {
    this.#rules.clear();
  }

  /** Undefined for a chain that is not long, or not there. */
  get(chain: string): readonly string[] | undefined {
    return this.#rules.get(chain);
  }

  /** A Service's chains become `after`, none when it goes; `before` are the names of those it had. */
  replace(before: Iterable<string>, after: ServiceRules['chains'] | undefined): void {
    for (const chain of before) this.#rules.delete(chain);
    for (const [chain, rules] of after ?? []) if (rules.length >= LONG_CHAIN) this.#rules.set(chain, rules);
  }
}
