// Follows the first packet of a connection through all rules, hook by hook, as netfilter does. Where chance decides
// (statistic, numgen) every way is followed and carries its share. Pure.
import { AgentError } from '../../core/errors.ts';
import type { HostFacts } from './host-facts.ts';
import {
  type BaseChain,
  type Chain,
  type Choice,
  type Hook,
  type Packet,
  type Protocol,
  type Rule,
  type Ruleset,
  type Table,
  UnknownRule,
  type Verdict,
} from './ruleset.ts';

export interface Connection {
  /** Canonical text of addresses of one family. */
  readonly from: string;
  readonly to: string;
  readonly port: number;
  readonly protocol: Protocol;
}

/** A rule that did something to the packet. */
export interface Hop {
  readonly hook: Hook;
  /** `nat`, `ip kube-proxy`. */
  readonly table: string;
  readonly chain: string;
  readonly rule: string;
  readonly comment: string;
  /** `→ KUBE-SVC-…`, `mark 0x4000`, `DNAT to 10.244.1.5:8080`. */
  readonly effect: string;
  /** The entry of a map that was met. */
  readonly entry?: string;
  /** The chance of this branch at this rule; 1 where nothing is left to chance. */
  readonly share: number;
}

export type Outcome = 'delivered' | 'dropped' | 'rejected' | 'unroutable';

export interface Way {
  /** Chance that a connection goes this way; those of all ways make 1. */
  readonly share: number;
  readonly outcome: Outcome;
  /** Where it arrives, or was going when it ended. */
  readonly destination: { readonly ip: string; readonly port: number };
  readonly isDnat: boolean;
  /** What the destination sees as the source. */
  readonly source: 'kept' | 'masqueraded' | 'rewritten';
  /** Undefined when it is not known. */
  readonly sourceIp: string | undefined;
  /** The destination is this host. */
  readonly isLocal: boolean;
  readonly hops: readonly Hop[];
}

export interface Trace {
  readonly connection: Connection;
  /** Most likely first. */
  readonly ways: readonly Way[];
  /** Rules on the way that could not be judged and count as not matching. */
  readonly unknown: readonly string[];
}

/** Ways that are followed; rules that branch more are not made for Services. */
const MAX_WAYS = 20_000;
/** Jumps within jumps; the kernel allows 16 in nftables. */
const MAX_DEPTH = 64;
/** Smaller chances are rounding errors of probabilities: 0.33333333349 is a third. */
const NEGLIGIBLE = 1e-6;

/** @throws {AgentError} TRACE_UNBOUNDED when the rules branch without end. */
export function trace(connection: Connection, ruleset: Ruleset, facts: HostFacts): Trace {
  const tracer = new Tracer(ruleset, facts);
  const ways = tracer.run(connection).sort(byShare);
  return { connection, ways, unknown: [...tracer.unknown] };
}

/** Most likely first; those that are equally likely (but for rounding) by where they arrive. */
function byShare(a: Way, b: Way): number {
  const difference = Math.round(b.share / NEGLIGIBLE) - Math.round(a.share / NEGLIGIBLE);
  if (difference !== 0) return difference;
  const [one, other] = [a, b].map((w) => `${w.destination.ip} ${w.destination.port}`) as [string, string];
  return one < other ? -1 : one > other ? 1 : 0;
}

/** Hops in reverse: branches share what they have in common. */
interface Trail {
  readonly hop: Hop;
  readonly before: Trail | undefined;
}

interface State {
  readonly packet: Packet;
  readonly share: number;
  readonly trail: Trail | undefined;
  readonly sourceNow: string | undefined;
}

type NatVerdict = Extract<Verdict, { to: 'dnat' } | { to: 'snat' } | { to: 'masquerade' }>;

type End = 'accept' | 'drop' | 'reject' | 'return' | 'nat';

interface Ended {
  readonly state: State;
  readonly end: End;
}

interface Place {
  readonly table: Table;
  readonly chain: Chain;
  readonly hook: Hook;
  readonly depth: number;
}

class Tracer {
  readonly unknown = new Set<string>();
  readonly #ruleset: Ruleset;
  readonly #facts: HostFacts;
  readonly #ways: Way[] = [];

  constructor(ruleset: Ruleset, facts: HostFacts) {
    this.#ruleset = ruleset;
    this.#facts = facts;
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
    for (const { state, end } of this.#chain(place, start)) {
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

  #chain(place: Place, start: State): Ended[] {
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
        ended.push({ state: this.#nat(at, verdict), end: 'nat' });
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
    for (const result of this.#chain({ ...place, chain, depth: place.depth + 1 }, at)) {
      if (result.end !== 'return') ended.push(result);
      else if (kind === 'goto') ended.push(result);
      else back.push(result.state);
    }
    return back;
  }

  #nat(state: State, verdict: NatVerdict): State {
    const { packet } = state;
    if (verdict.to === 'dnat') {
      return withPacket(state, {
        destination: verdict.ip ?? packet.destination,
        port: verdict.port ?? packet.port,
        isDnat: true,
      });
    }
    const sourceNow = verdict.to === 'snat' ? verdict.ip : this.#facts.sourceTo(packet.destination);
    return {
      ...withPacket(state, { isSnat: true, ...(sourceNow === undefined ? {} : { source: sourceNow }) }),
      sourceNow,
    };
  }

  #end(state: State, outcome: Outcome): void {
    const { packet } = state;
    const hops: Hop[] = [];
    for (let trail = state.trail; trail !== undefined; trail = trail.before) hops.push(trail.hop);
    hops.reverse();
    if (this.#ways.length >= MAX_WAYS) throw unbounded('rules branch too often');
    this.#ways.push({
      share: state.share,
      outcome,
      destination: { ip: packet.destination, port: packet.port },
      isDnat: packet.isDnat,
      source: !packet.isSnat ? 'kept' : hops.some((h) => h.effect === MASQUERADED) ? 'masqueraded' : 'rewritten',
      sourceIp: state.sourceNow,
      isLocal: this.#facts.isLocal(packet.destination),
      hops,
    });
  }
}

const MASQUERADED = 'masqueraded';

function effectOf(verdict: Verdict): string {
  switch (verdict.to) {
    case 'jump':
    case 'goto':
      return `→ ${verdict.chain}`;
    case 'dnat': {
      const ip = verdict.ip?.includes(':') ? `[${verdict.ip}]` : (verdict.ip ?? '');
      return `DNAT to ${ip}${verdict.port === undefined ? '' : `:${verdict.port}`}`;
    }
    case 'snat':
      return `SNAT to ${verdict.ip ?? ''}`;
    case 'masquerade':
      return MASQUERADED;
    default:
      return EFFECTS[verdict.to];
  }
}

const EFFECTS = {
  accept: 'accepted',
  drop: 'dropped',
  reject: 'rejected',
  return: 'returns',
  continue: 'goes on',
} as const;

function hopOf({ hook, table, chain }: Place, rule: Pick<Rule, 'text' | 'comment'>): Hop {
  return { hook, table: table.name, chain: chain.name, rule: rule.text, comment: rule.comment, effect: '', share: 1 };
}

function withHop(state: State, hop: Hop): State {
  return { ...state, trail: { hop, before: state.trail } };
}

function withPacket(state: State, changes: Partial<Packet>): State {
  return { ...state, packet: { ...state.packet, ...changes } };
}

function hex(mark: number): string {
  return `0x${mark.toString(16)}`;
}

function unbounded(what: string): AgentError {
  return new AgentError(`the rules of this host cannot be followed: ${what}`, {
    code: 'TRACE_UNBOUNDED',
    hint: 'look at the chain with iptables-save or nft list ruleset',
  });
}
