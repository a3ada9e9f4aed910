// What a trace says: the ways that a connection can take, and what decided on each.
import type { Hook, Protocol } from './ruleset.ts';

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
