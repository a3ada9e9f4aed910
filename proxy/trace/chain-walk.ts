// The rules of one chain and of those it jumps to, one after the other, for one branch of a connection. Where chance decides
// (statistic, numgen) there are more branches afterwards.
import { AgentError } from '../../core/errors.ts';
import { type Ended, effectOf, hex, hopOf, type Place, type State, translated, withHop, withPacket } from './branch.ts';
import type { HostFacts } from './host-facts.ts';
import { type Choice, type Rule, UnknownRule } from './ruleset.ts';
import type { Hop } from './way.ts';

/** Ways that are followed; rules that branch more are not made for Services. */
export const MAX_WAYS = 20_000;
/** Jumps within jumps; the kernel allows 16 in nftables. */
const MAX_DEPTH = 64;
/** Smaller chances are rounding errors of probabilities: 0.33333333349 is a third. */
export const NEGLIGIBLE = 1e-6;

export class ChainWalk {
  /** Rules that could not be judged. */
  readonly unknown = new Set<string>();
  readonly #facts: HostFacts;

  constructor(facts: HostFacts) {
    this.#facts = facts;
  }

  /** How `start` leaves a chain, in every branch; `return` when it went through. */
  walk(place: Place, start: State): Ended[] {
    if (place.depth > MAX_DEPTH) throw unbounded(`jumps from ${place.chain.name} go on without end`);
    const ended: Ended[] = [];
    let states = [start];
    for (const rule of place.chain.rules) {
      if (states.length === 0) break;
      states = states.flatMap((state) => this.#rule(place, rule, state, ended));
      if (states.length + ended.length > MAX_WAYS) throw unbounded(`rules in ${place.chain.name} branch too often`);
    }
    for (const state of states) ended.push({ state, end: 'return' });
    return ended;
  }

  /** Branches that go on with the next rule of the chain; the others are added to `ended`. */
  #rule(place: Place, rule: Rule, start: State, ended: Ended[]): State[] {
    try {
      return this.#steps(place, rule, start, ended);
    } catch (err) {
      if (!(err instanceof UnknownRule)) throw err;
      this.#note(place, rule, err.message);
      return [start];
    }
  }

  #note(place: Place, rule: Rule, what: string): void {
    this.unknown.add(`${place.table.name} ${place.chain.name}: ${rule.text} (${what})`);
  }

  #steps(place: Place, rule: Rule, start: State, ended: Ended[]): State[] {
    const next: State[] = [];
    const pass = (state: State, share: number) => {
      if (share > NEGLIGIBLE) next.push({ ...state, share: state.share * share });
    };
    let state = start;
    let chance = 1;
    for (const step of rule.steps) {
      if (step.is === 'unknown') {
        this.#note(place, rule, step.what);
        return [...next, state];
      }
      if (step.is === 'match') {
        const matching = step.chance(state.packet, this.#facts);
        pass(state, 1 - matching);
        if (matching <= NEGLIGIBLE) return next;
        chance *= matching;
        state = { ...state, share: state.share * matching };
      } else if (step.is === 'mark') {
        const mark = step.next(state.packet.mark);
        const effect = `mark ${hex(state.packet.mark)} → ${hex(mark)}`;
        state = withHop(withPacket(state, { mark }), { ...hopOf(place, rule), effect, share: chance });
      } else {
        const choices = step.choices(state.packet, this.#facts);
        pass(state, 1 - choices.reduce((sum, c) => sum + c.share, 0));
        const goOn = choices.flatMap((c) => this.#take(place, rule, state, c, chance, ended));
        // A verdict other than "continue" ends the rule; with "continue" further steps may follow, which no tool writes.
        return [...next, ...goOn];
      }
    }
    return [...next, state];
  }

  #take(place: Place, rule: Rule, from: State, choice: Choice, chance: number, ended: Ended[]): State[] {
    const { verdict, entry } = choice;
    const share = chance * choice.share;
    const taken = { ...from, share: from.share * choice.share };
    if (verdict.to === 'continue') return [taken];
    const hop: Hop = {
      ...hopOf(place, rule),
      effect: effectOf(verdict),
      share,
      ...(entry === undefined ? {} : { entry }),
    };
    const at = withHop(taken, hop);
    switch (verdict.to) {
      case 'accept':
      case 'drop':
      case 'reject':
        ended.push({ state: at, end: verdict.to });
        return [];
      case 'return':
        ended.push({ state: at, end: 'return' });
        return [];
      case 'jump':
      case 'goto':
        return this.#jump(place, verdict.to, verdict.chain, at, ended);
      case 'dnat':
      case 'snat':
      case 'masquerade':
        ended.push({ state: translated(at, verdict, this.#facts), end: 'nat' });
        return [];
    }
  }

  #jump(place: Place, kind: 'jump' | 'goto', name: string, at: State, ended: Ended[]): State[] {
    const chain = place.table.chains.get(name);
    if (chain === undefined) {
      this.unknown.add(`${place.table.name} ${place.chain.name}: a jump to ${name}, which is not there`);
      return [at];
    }
    const back: State[] = [];
    for (const result of this.walk({ ...place, chain, depth: place.depth + 1 }, at)) {
      if (result.end !== 'return') ended.push(result);
      else if (kind === 'goto') ended.push(result);
      else back.push(result.state);
    }
    return back;
  }
}

export function unbounded(what: string): AgentError {
  return new AgentError(`the rules of this host cannot be followed: ${what}`, {
    code: 'TRACE_UNBOUNDED',
    hint: 'look at the chain with iptables-save or nft list ruleset',
  });
}
