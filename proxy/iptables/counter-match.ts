// Counters of the kernel in the words of iptables.
import type { RuleOptions } from '../options.ts';

/** Forwarded packets that connection tracking calls INVALID. */
export const INVALID_DROPPED = 'ct_state_invalid_dropped_pkts';
/** New connections to node ports on 127.0.0.0/8. */
export const LOCALHOST_NODE_PORTS = 'localhost_nps_accepted_pkts';

/** The words that have a rule feed the counter, with a space behind them; undefined where there is none. */
export function counterMatch(name: string, { packetCounters }: RuleOptions): string | undefined {
  return packetCounters?.has(name) ? `-m nfacct --nfacct-name ${name} ` : undefined;
}
