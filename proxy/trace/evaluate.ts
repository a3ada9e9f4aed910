// Follows the first packet of a connection through all rules, hook by hook, as netfilter does. Where chance decides
// (statistic, numgen) every way is followed and carries its share. Pure.
import { hopOf, type Place, type State, wayOf, withHop, withPacket } from './branch.ts';
import { ChainWalk, MAX_WAYS, NEGLIGIBLE, unbounded } from './chain-walk.ts';
import type { HostFacts } from './host-facts.ts';
import type { BaseChain, Chain, Hook, Ruleset, Table } from './ruleset.ts';
import type { Connection, Outcome, Trace, Way } from './way.ts';

/** @throws {AgentError} TRACE_UNBOUNDED when the rules branch without end. */
export function trace(connection: Connection, ruleset: Ruleset, facts: HostFacts): Trace {
  const tracer = new Tracer(ruleset, facts);
  const ways = tracer.run(connection).sort(byShare);
  return { connection, ways, unknown: [...tracer.unknown] };
}

class Tracer {
  readonly #chains: ChainWalk;
  readonly #ruleset: Ruleset;
  readonly #facts: HostFacts;
  readonly #ways: Way[] = [];

  constructor(ruleset: Ruleset, facts: HostFacts) {
    this.#ruleset = ruleset;
    this.#facts = facts;
    this.#chains = new ChainWalk(facts);
  }

  get unknown(): ReadonlySet<string> {
    return this.#chains.unknown;
  }

  run({ from, to, port, protocol }: Connection): Way[] {
    const isOwn = this.#facts.isLocal(from);
    const inDevice = isOwn ? undefined : this.#facts.deviceTo(from);
    const outDevice = isOwn ? this.#facts.deviceTo(to) : undefined;
    const start: State = {
      packet: {
        source: from,
        destination: to,
        protocol,
        port,
        mark: 0,
        isDnat: false,
        isSnat: false,
        inDevice,
        outDevice,
      },
      share: 1,
      trail: undefined,
      sourceNow: from,
    };
    // A program cannot even send where no route leads, whatever the rules would have made of it.
    if (isOwn && outDevice === undefined) this.#end(start, 'unroutable');
    else this.#walk(start, isOwn);
    return this.#ways;
  }

  #walk(start: State, isOwn: boolean): void {
    for (const state of this.#hook(isOwn ? 'output' : 'prerouting', start)) this.#route(state, isOwn);
  }

  /** After the first hook the kernel knows where the packet leaves, or that it stays. */
  #route(state: State, isOwn: boolean): void {
    const { destination } = state.packet;
    const outDevice = this.#facts.deviceTo(destination);
    const isLocal = this.#facts.isLocal(destination);
    if (outDevice === undefined) {
      this.#end(state, 'unroutable');
      return;
    }
    const leaving = withPacket(state, { outDevice });
    if (isLocal && !isOwn) {
      for (const s of this.#hook('input', withPacket(leaving, { outDevice: undefined }))) this.#end(s, 'delivered');
      return;
    }
    const forwarded = isOwn ? [leaving] : this.#hook('forward', leaving);
    for (const s of forwarded) {
      for (const sent of this.#hook('postrouting', s)) {
        if (isLocal) this.#loop(sent);
        else this.#end(sent, 'delivered');
      }
    }
  }

  /** From the host to itself, over `lo`: it comes in again, with its addresses settled. */
  #loop(state: State): void {
    const entering = withPacket(state, { inDevice: 'lo', outDevice: undefined });
    for (const s of this.#hook('prerouting', entering, 'settled')) {
      for (const arrived of this.#hook('input', s)) this.#end(arrived, 'delivered');
    }
  }

  /** What gets through the base chains of `hook`. `settled`: NAT was decided on before. */
  #hook(hook: Hook, start: State, nat: 'open' | 'settled' = 'open'): State[] {
    const bases = this.#ruleset
      .flatMap((table) => [...table.chains.values()].map((chain) => ({ table, chain, base: chain.base })))
      .filter((c): c is { table: Table; chain: Chain; base: BaseChain } => c.base?.hook === hook)
      .sort((a, b) => a.base.priority - b.base.priority);
    let states = [start];
    for (const { table, chain, base } of bases) {
      if (base.type === 'nat' && nat === 'settled') continue;
      const isSource = hook === 'postrouting' || hook === 'input';
      states = states.flatMap((state) => {
        const isDone = base.type === 'nat' && (isSource ? state.packet.isSnat : state.packet.isDnat);
        return isDone ? [state] : this.#baseChain({ table, chain, hook, depth: 0 }, base, state);
      });
    }
    return states;
  }

  #baseChain(place: Place, base: BaseChain, start: State): State[] {
    const through: State[] = [];
    for (const { state, end } of this.#chains.walk(place, start)) {
      if (end === 'drop' || (end === 'return' && base.policy === 'drop')) {
        const hop = {
          ...hopOf(place, { text: 'policy drop', comment: '' }),
          effect: 'dropped by the policy of the chain',
        };
        this.#end(end === 'drop' ? state : withHop(state, hop), 'dropped');
      } else if (end === 'reject') this.#end(state, 'rejected');
      else through.push(state);
    }
    return through;
  }

  #end(state: State, outcome: Outcome): void {
    if (this.#ways.length >= MAX_WAYS) throw unbounded('rules branch too often');
    this.#ways.push(wayOf(state, outcome, this.#facts));
  }
}

/** Most likely first; those that are equally likely (but for rounding) by where they arrive. */
function byShare(a: Way, b: Way): number {
  const difference = Math.round(b.share / NEGLIGIBLE) - Math.round(a.share / NEGLIGIBLE);
  if (difference !== 0) return difference;
  const [one, other] = [a, b].map((w) => `${w.destination.ip} ${w.destination.port}`) as [string, string];
  return one < other ? -1 : one > other ? 1 : 0;
}
