// One branch of a connection on its way through the rules: the packet as it is there, its share, and how it came to be.
import type { HostFacts } from './host-facts.ts';
import type { Chain, Hook, Packet, Rule, Table, Verdict } from './ruleset.ts';
import type { Hop, Outcome, Way } from './way.ts';

/** Hops in reverse: branches share what they have in common. */
interface Trail {
  readonly hop: Hop;
  readonly before: Trail | undefined;
}

export interface State {
  readonly packet: Packet;
  readonly share: number;
  readonly trail: Trail | undefined;
  readonly sourceNow: string | undefined;
}

type NatVerdict = Extract<Verdict, { to: 'dnat' } | { to: 'snat' } | { to: 'masquerade' }>;

export type End = 'accept' | 'drop' | 'reject' | 'return' | 'nat';

export interface Ended {
  readonly state: State;
  readonly end: End;
}

export interface Place {
  readonly table: Table;
  readonly chain: Chain;
  readonly hook: Hook;
  readonly depth: number;
}

/** The packet as the verdict makes it. */
export function translated(state: State, verdict: NatVerdict, facts: HostFacts): State {
  const { packet } = state;
  if (verdict.to === 'dnat') {
    return withPacket(state, {
      destination: verdict.ip ?? packet.destination,
      port: verdict.port ?? packet.port,
      isDnat: true,
    });
  }
  const sourceNow = verdict.to === 'snat' ? verdict.ip : facts.sourceTo(packet.destination);
  return {
    ...withPacket(state, { isSnat: true, ...(sourceNow === undefined ? {} : { source: sourceNow }) }),
    sourceNow,
  };
}

/** The branch at its end. */
export function wayOf(state: State, outcome: Outcome, facts: HostFacts): Way {
  const { packet } = state;
  const hops: Hop[] = [];
  for (let trail = state.trail; trail !== undefined; trail = trail.before) hops.push(trail.hop);
  hops.reverse();
  return {
    share: state.share,
    outcome,
    destination: { ip: packet.destination, port: packet.port },
    isDnat: packet.isDnat,
    source: !packet.isSnat ? 'kept' : hops.some((h) => h.effect === MASQUERADED) ? 'masqueraded' : 'rewritten',
    sourceIp: state.sourceNow,
    isLocal: facts.isLocal(packet.destination),
    hops,
  };
}

const MASQUERADED = 'masqueraded';

export function effectOf(verdict: Verdict): string {
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

export function hopOf({ hook, table, chain }: Place, rule: Pick<Rule, 'text' | 'comment'>): Hop {
  return { hook, table: table.name, chain: chain.name, rule: rule.text, comment: rule.comment, effect: '', share: 1 };
}

export function withHop(state: State, hop: Hop): State {
  return { ...state, trail: { hop, before: state.trail } };
}

export function withPacket(state: State, changes: Partial<Packet>): State {
  return { ...state, packet: { ...state.packet, ...changes } };
}

export function hex(mark: number): string {
  return `0x${mark.toString(16)}`;
}
