// What the tracer walks through: rules of iptables and nftables in one form. A rule is a list of steps that are taken in
// order until one does not match or says where to go on. Readers: iptables-save.ts and nft-json.ts.
import type { HostFacts } from './host-facts.ts';

export type Protocol = 'tcp' | 'udp' | 'sctp';

export type Hook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';

/** The first packet of a connection, as rules see it at one moment. */
export interface Packet {
  readonly source: string;
  readonly destination: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly mark: number;
  /** Destination, source: rewritten by a rule before this one. */
  readonly isDnat: boolean;
  readonly isSnat: boolean;
  /** Undefined where the packet has none: `inDevice` on output, `outDevice` before routing. */
  readonly inDevice: string | undefined;
  readonly outDevice: string | undefined;
}

export type Verdict =
  | { readonly to: 'accept' | 'drop' | 'reject' | 'return' | 'continue' }
  | { readonly to: 'jump' | 'goto'; readonly chain: string }
  /** Undefined: stays as it is. */
  | { readonly to: 'dnat'; readonly ip: string | undefined; readonly port: number | undefined }
  | { readonly to: 'snat'; readonly ip: string | undefined }
  | { readonly to: 'masquerade' };

/** One of the ways that a step offers. `share`: its chance, all of a step make 1 or less; the rest does not match. */
export interface Choice {
  readonly share: number;
  readonly verdict: Verdict;
  /** The entry of a map that was met, `10.96.0.50 . tcp . 80 : goto service-…`. */
  readonly entry?: string;
}

export type Step =
  /** Chance from 0 to 1 that the packet goes on to the next step. */
  | { readonly is: 'match'; readonly chance: (packet: Packet, facts: HostFacts) => number }
  | { readonly is: 'mark'; readonly next: (mark: number) => number }
  | { readonly is: 'choose'; readonly choices: (packet: Packet, facts: HostFacts) => readonly Choice[] }
  /** Something that the tracer cannot judge: the rule counts as one that does not match, and the report says so. */
  | { readonly is: 'unknown'; readonly what: string };

/** Thrown by steps, and by what reads them, for a rule that cannot be judged; the message names what is not known. */
export class UnknownRule extends Error {}

export interface Rule {
  /** As its tool prints it, without the chain and the comment. */
  readonly text: string;
  readonly comment: string;
  readonly steps: readonly Step[];
}

export interface BaseChain {
  readonly hook: Hook;
  readonly priority: number;
  readonly type: 'filter' | 'nat' | 'route';
  readonly policy: 'accept' | 'drop';
}

export interface Chain {
  readonly name: string;
  readonly rules: readonly Rule[];
  /** Undefined for a chain that is only jumped to. */
  readonly base: BaseChain | undefined;
}

export interface Table {
  /** `nat`, or with its family for a table of nftables: `ip kube-proxy`. */
  readonly name: string;
  readonly tool: 'iptables' | 'nftables';
  readonly chains: ReadonlyMap<string, Chain>;
  /** Entries of nftables' maps of verdicts by name of the map. */
  readonly maps: ReadonlyMap<string, readonly MapEntry[]>;
}

export interface MapEntry {
  /** `10.96.0.50 . tcp . 80` */
  readonly key: string;
  /** `goto service-…`, `drop`. */
  readonly verdict: string;
  readonly comment: string;
}

export type Ruleset = readonly Table[];

/** Where the kernel calls table `table` of iptables: netfilter's own priorities. */
export const IPTABLES_PRIORITIES: Readonly<Record<string, number>> = {
  raw: -300,
  mangle: -150,
  nat: -100, // 100 on input and postrouting
  filter: 0,
  security: 50,
};
