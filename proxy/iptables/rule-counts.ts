// How many rules of Services stand where: what the metrics tell, and what shows that somebody took some of them away.
import type { KeptRules } from './kept-rules.ts';
import type { DispatchRule, TopChain } from './service-rules.ts';

/** The part of `KeptRules` that is counted. */
export type Counted = Pick<KeptRules, 'ownRules'> & { readonly dispatch: readonly Pick<DispatchRule, 'chain'>[] };

export class RuleCounts {
  readonly #dispatch = new Map<TopChain, number>();
  #own = 0;

  clear(): void {
    this.#dispatch.clear();
    this.#own = 0;
  }

  add(rules: Counted): void {
    this.#change(rules, 1);
  }

  remove(rules: Counted): void {
    this.#change(rules, -1);
  }

  /** Rules that lead to Services from a top-level chain. */
  in(chain: TopChain): number {
    return this.#dispatch.get(chain) ?? 0;
  }

  /** Rules of Services in a table, those of their own chains among them. */
  total(table: 'filter' | 'nat'): number {
    let sum = table === 'nat' ? this.#own : 0;
    for (const [chain, count] of this.#dispatch) if (chain.startsWith(`${table}/`)) sum += count;
    return sum;
  }

  #change({ dispatch, ownRules }: Counted, by: 1 | -1): void {
    this.#own += by * ownRules;
    for (const { chain } of dispatch) this.#dispatch.set(chain, this.in(chain) + by);
  }
}

/** Rules that a restore document writes into each of its tables; chains that it removes do not count, as upstream has it. */
export function writtenRules(document: string): Record<'filter' | 'nat', number> {
  const written = { filter: 0, nat: 0 };
  let table: keyof typeof written = 'nat';
  for (let at = 0; at < document.length; at = document.indexOf('\n', at) + 1) {
    if (document.startsWith('*', at)) table = document.startsWith('*filter', at) ? 'filter' : 'nat';
    else if (document.startsWith('-A ', at) || document.startsWith('-I ', at)) written[table]++;
  }
  return written;
}
