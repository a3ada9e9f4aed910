// Packets that the proxy's rules drop or accept, counted by the kernel's own counters (nfacct), which stay when rules are
// written anew. A host without them, or without their tool, has neither the counters nor their metrics, as with upstream.
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { Counter, type Registry } from '../../core/metrics.ts';
import type { Exec } from '../../host/exec.ts';
import { ensureCounter, readCounters, removeCounter } from '../../host/nfacct.ts';
import { INVALID_DROPPED, LOCALHOST_NODE_PORTS } from './counter-match.ts';

const METRICS: Readonly<Record<string, { readonly name: string; readonly help: string }>> = {
  [INVALID_DROPPED]: {
    name: 'kubeproxy_iptables_ct_state_invalid_dropped_packets_total',
    help: 'Forwarded packets dropped because connection tracking calls them INVALID',
  },
  [LOCALHOST_NODE_PORTS]: {
    name: 'kubeproxy_iptables_localhost_nodeports_accepted_packets_total',
    help: 'Connections to node ports on 127.0.0.0/8',
  },
};

export interface PacketCountersDeps {
  readonly exec: Exec;
  readonly registry: Registry;
  readonly log: Logger;
}

/** One for both IP families, whose rules share the counters. */
export class PacketCounters {
  readonly #deps: PacketCountersDeps;
  readonly #served = new Set<string>();
  /** Undefined until it is known whether iptables has the match. */
  #canMatch: boolean | undefined;

  constructor(deps: PacketCountersDeps) {
    this.#deps = deps;
  }

  /** Makes the counters that are missing. Returns the names of those that rules may feed. */
  async ensure(signal: AbortSignal): Promise<ReadonlySet<string>> {
    const there = new Set<string>();
    this.#canMatch ??= await hasMatch(this.#deps.exec, signal);
    for (const name of this.#canMatch ? Object.keys(METRICS) : []) {
      try {
        await ensureCounter(this.#deps.exec, name, signal);
        there.add(name);
        this.#serve(name);
      } catch (err) {
        if (signal.aborted) throw err;
        this.#deps.log.debug({ counter: name, cause: errorMessage(err) }, 'packets are not counted');
      }
    }
    return there;
  }

  /** A rule with one was refused: rules are written without from now on. */
  refuse(): void {
    this.#canMatch = false;
    this.#deps.log.warn('the kernel takes no rule that feeds a counter: packets are not counted');
  }

  #serve(name: string): void {
    if (this.#served.has(name)) return;
    this.#served.add(name);
    const { exec, registry } = this.#deps;
    const counter: Counter = new Counter({
      ...METRICS[name]!,
      registers: [registry],
      collect: async () => {
        const packets = (await readCounters(exec).catch(() => undefined))?.get(name);
        if (packets === undefined) return; // what it said last still holds
        counter.reset();
        counter.inc(packets);
      },
    });
  }
}

/** After the rules that feed them. A host without the program has none. */
export async function cleanupPacketCounters(exec: Exec, signal: AbortSignal): Promise<void> {
  for (const name of Object.keys(METRICS)) {
    await removeCounter(exec, name, signal).catch((err: unknown) => {
      if (signal.aborted) throw err;
    });
  }
}

/** A rule whose match iptables does not know would hold up all others. */
async function hasMatch(exec: Exec, signal: AbortSignal): Promise<boolean> {
  return (await exec('iptables', ['-m', 'nfacct', '-h'], { signal })).code === 0;
}
