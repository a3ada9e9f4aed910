// What leaves the pod network gets the node's address; what is forwarded inside it is accepted. Chains as flannel's.
import type { Exec } from '../host/exec.ts';
import { applyRestore, areRulesInPlace, renderRestore, type SavedTable, saveRules } from '../host/iptables-restore.ts';

const MASQ = '-m comment --comment "flanneld masq"';
const FORWARD = '-m comment --comment "flanneld forward"';

export interface MasqueradeOptions {
  /** The whole pod network. */
  readonly network: string;
  /** This node's part of it. */
  readonly subnet: string;
}

const OWN = { filter: ['FORWARD', 'FLANNEL-FWD'], nat: ['POSTROUTING', 'FLANNEL-POSTRTG'] } as const;
const JUMP = {
  filter: `-A FORWARD ${FORWARD} -j FLANNEL-FWD`,
  nat: `-A POSTROUTING ${MASQ} -j FLANNEL-POSTRTG`,
} as const;

function ownRules({ network, subnet }: MasqueradeOptions): Readonly<Record<'filter' | 'nat', readonly string[]>> {
  const nat = (rule: string) => `-A FLANNEL-POSTRTG ${rule}`;
  return {
    filter: [`-A FLANNEL-FWD -s ${network} ${FORWARD} -j ACCEPT`, `-A FLANNEL-FWD -d ${network} ${FORWARD} -j ACCEPT`],
    nat: [
      nat(`-m mark --mark 0x4000/0x4000 ${MASQ} -j RETURN`), // KUBE-POSTROUTING's business
      nat(`-s ${subnet} -d ${network} ${MASQ} -j RETURN`),
      nat(`-s ${network} -d ${subnet} ${MASQ} -j RETURN`),
      nat(`! -s ${network} -d ${subnet} ${MASQ} -j RETURN`), // node ports with preserved client addresses
      nat(`-s ${network} ! -d 224.0.0.0/4 ${MASQ} -j MASQUERADE --random-fully`),
      nat(`! -s ${network} -d ${network} ${MASQ} -j MASQUERADE --random-fully`),
    ],
  };
}

/** Pure: the document that puts both chains in place; jumps only where `saved` has none. */
export function renderMasquerade(opts: MasqueradeOptions, saved: ReadonlyMap<string, SavedTable>): string {
  const rules = ownRules(opts);
  return renderRestore(
    (['filter', 'nat'] as const).map((table) => {
      const jump = saved.get(table)?.rules.includes(JUMP[table]) ? [] : [JUMP[table]];
      return { table, chains: [OWN[table][1]], rules: [...jump, ...rules[table]] };
    }),
  );
}

/** True when both jumps and all rules for these networks are there. Cheap: it looks at four chains only. */
export async function isMasqueradeInPlace(exec: Exec, opts: MasqueradeOptions, signal: AbortSignal): Promise<boolean> {
  const rules = ownRules(opts);
  const tables = (['filter', 'nat'] as const).map((table) => ({ table, rules: [JUMP[table], ...rules[table]] }));
  return await areRulesInPlace(exec, tables, { signal });
}

/** Puts the rules in place, whatever is there. */
export async function applyMasquerade(exec: Exec, opts: MasqueradeOptions, signal: AbortSignal): Promise<void> {
  await applyRestore(exec, renderMasquerade(opts, await saveRules(exec, { signal })), { signal });
}

/** Removes both chains and the jumps to them. Idempotent. */
export async function removeMasquerade(exec: Exec, signal: AbortSignal): Promise<void> {
  const saved = await saveRules(exec, { signal });
  const tables = (['filter', 'nat'] as const).map((table) => {
    const [hook, chain] = OWN[table];
    if (!saved.get(table)?.chains.has(chain)) return { table, chains: [], rules: [] };
    const jumps = saved.get(table)!.rules.filter((r) => r.startsWith(`-A ${hook} `) && r.endsWith(` -j ${chain}`));
    return { table, chains: [chain], rules: [...jumps.map((r) => r.replace('-A', '-D')), `-X ${chain}`] };
  });
  await applyRestore(exec, renderRestore(tables), { signal });
}
