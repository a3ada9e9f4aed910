// The kubelet's own part of the node's iptables (pkg/kubelet/kubelet_network_linux.go), whoever writes the rules of
// Services: a hint for CNI plugins which of the two iptables this node uses, a guard of 127.0.0.0/8, and canaries, by which
// it is seen that somebody flushed the tables.
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Exec } from '../../host/exec.ts';
import {
  applyRestore,
  areRulesInPlace,
  type IptablesFamily,
  isIptablesUsable,
  renderRestore,
  saveRules,
  type TablePayload,
} from '../../host/iptables-restore.ts';

const HINT = 'KUBE-IPTABLES-HINT';
const CANARY = 'KUBE-KUBELET-CANARY';
const FIREWALL = 'KUBE-FIREWALL';
const TABLES = ['mangle', 'nat', 'filter'] as const;

/** The first sync of the proxy shares FIREWALL with us; two at once would both insert the jumps to it. */
const START_DELAY_MS = 5_000;
/** Upstream's time between looks at the canaries. */
const LOOK_INTERVAL_MS = 60_000;

const GUARD = `-A ${FIREWALL} -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP`;
const JUMPS = [`-A OUTPUT -j ${FIREWALL}`, `-A INPUT -j ${FIREWALL}`] as const;

export interface UtilChainsDeps {
  readonly exec: Exec;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Keeps the chains in place until `signal` aborts. They stay then. A family without working iptables has none. */
export async function keepUtilChains({ exec, clock, log }: UtilChainsDeps, signal: AbortSignal): Promise<void> {
  await clock.sleep(START_DELAY_MS, signal);
  const families: IptablesFamily[] = [];
  for (const family of [4, 6] as const) if (await isIptablesUsable(exec, family, signal)) families.push(family);
  const broken = new Set<IptablesFamily>(families);
  while (!signal.aborted) {
    for (const family of families) {
      const to = { family, signal };
      try {
        if (!broken.has(family)) {
          if (await areCanariesThere(exec, to)) continue;
          log.warn({ ipFamily: `IPv${family}` }, 'somebody removed chains of the kubelet, they are made anew');
        }
        broken.add(family);
        await ensureUtilChains(exec, to);
        broken.delete(family);
      } catch (err) {
        if (!signal.aborted) log.warn({ reason: errorMessage(err) }, 'cannot make the iptables chains of the kubelet');
      }
    }
    await clock.sleep(LOOK_INTERVAL_MS, signal);
  }
}

interface Where {
  readonly family: IptablesFamily;
  readonly signal: AbortSignal;
}

/** Idempotent. @throws {AgentError} RULES_REJECTED, RULES_UNREADABLE. */
export async function ensureUtilChains(exec: Exec, to: Where): Promise<void> {
  const filter: TablePayload = { table: 'filter', chains: [CANARY], rules: [] };
  const tables: TablePayload[] = [
    to.family === 4 ? await withGuard(exec, filter, to) : filter,
    { table: 'nat', chains: [CANARY], rules: [] },
    { table: 'mangle', chains: [HINT, CANARY], rules: [] },
  ];
  await applyRestore(exec, renderRestore(tables), to);
}

/** Adds what is missing of the guard. What stands there already may be the proxy's, or an earlier kubelet's. */
async function withGuard(exec: Exec, filter: TablePayload, to: Where): Promise<TablePayload> {
  const isThere = (...rules: readonly string[]) => areRulesInPlace(exec, [{ table: 'filter', rules }], to);
  if (await isThere(GUARD, ...JUMPS)) return filter;
  const rules: string[] = [];
  const chains = [...filter.chains];
  if (!(await isThere(GUARD))) {
    chains.push(FIREWALL); // which empties it as well: nobody but kubelets and proxies has rules there
    rules.push(GUARD);
  }
  for (const jump of JUMPS) if (!(await isThere(jump))) rules.push(jump.replace('-A', '-I'));
  return { table: 'filter', chains, rules };
}

async function areCanariesThere(exec: Exec, { family, signal }: Where): Promise<boolean> {
  const program = family === 6 ? 'ip6tables' : 'iptables';
  for (const table of TABLES) {
    const { code } = await exec(program, ['-w', '5', '-t', table, '-S', CANARY], { signal });
    if (code === 1) return false; // 4 would be a lock that somebody holds
  }
  return true;
}

/** Removes the hint and the canaries. The guard is shared with the proxy, which removes it. */
export async function removeUtilChains(exec: Exec, signal: AbortSignal): Promise<void> {
  for (const family of [4, 6] as const) {
    if (!(await isIptablesUsable(exec, family, signal))) continue;
    const to = { family, signal };
    const saved = await saveRules(exec, to);
    const tables = TABLES.map((table) => {
      const chains = [HINT, CANARY].filter((chain) => saved.get(table)?.chains.has(chain));
      return { table, chains, rules: chains.map((chain) => `-X ${chain}`) };
    });
    await applyRestore(exec, renderRestore(tables), to);
  }
}
