// What leaves the pod network gets the node's address; what is forwarded inside it is accepted. Chains as flannel's.
import type { Exec } from '../host/exec.ts';
import { applyRestore, hasJump, renderRestore, type SavedTable, saveRules } from '../host/iptables-restore.ts';

const MASQ = '-m comment --comment "flanneld masq"';
const FORWARD = '-m comment --comment "flanneld forward"';

export interface MasqueradeOptions {
  /** The whole pod network. */
  readonly network: string;
  /** This node's part of it. */
  readonly subnet: string;
}

/** Pure: the document that puts both chains in place; jumps only where `saved` has none. */
export function renderMasquerade(opts: MasqueradeOptions, saved: ReadonlyMap<string, SavedTable>): string {
  const { network, subnet } = opts;
  const nat = (rule: string) => `-A FLANNEL-POSTRTG ${rule}`;
  return renderRestore([
    {
      table: 'filter',
      chains: ['FLANNEL-FWD'],
      rules: [
        ...(hasJump(saved.get('filter'), 'FORWARD', 'FLANNEL-FWD') ? [] : [`-A FORWARD ${FORWARD} -j FLANNEL-FWD`]),
        `-A FLANNEL-FWD -s ${network} ${FORWARD} -j ACCEPT`,
        `-A FLANNEL-FWD -d ${network} ${FORWARD} -j ACCEPT`,
      ],
    },
    {
      table: 'nat',
      chains: ['FLANNEL-POSTRTG'],
      rules: [
        ...(hasJump(saved.get('nat'), 'POSTROUTING', 'FLANNEL-POSTRTG')
          ? []
          : [`-A POSTROUTING ${MASQ} -j FLANNEL-POSTRTG`]),
        nat(`-m mark --mark 0x4000/0x4000 ${MASQ} -j RETURN`), // KUBE-POSTROUTING's business
        nat(`-s ${subnet} -d ${network} ${MASQ} -j RETURN`),
        nat(`-s ${network} -d ${subnet} ${MASQ} -j RETURN`),
        nat(`! -s ${network} -d ${subnet} ${MASQ} -j RETURN`), // node ports with preserved client addresses
        nat(`-s ${network} ! -d 224.0.0.0/4 ${MASQ} -j MASQUERADE --random-fully`),
        nat(`! -s ${network} -d ${network} ${MASQ} -j MASQUERADE --random-fully`),
      ],
    },
  ]);
}

const OWN = { filter: ['FORWARD', 'FLANNEL-FWD'], nat: ['POSTROUTING', 'FLANNEL-POSTRTG'] } as const;

/** True when both jumps and all rules for these networks are there. */
export function isMasqueradeInPlace(saved: ReadonlyMap<string, SavedTable>, opts: MasqueradeOptions): boolean {
  const count = { filter: 2, nat: 6 } as const;
  const ownSubnet = saved
    .get('nat')
    ?.rules.some((r) => r.startsWith(`-A FLANNEL-POSTRTG -s ${opts.subnet} -d ${opts.network} `));
  const complete = (['filter', 'nat'] as const).every((t) => {
    const [hook, chain] = OWN[t];
    const rules = saved.get(t)?.rules.filter((r) => r.startsWith(`-A ${chain} `)).length ?? 0;
    return hasJump(saved.get(t), hook, chain) && rules === count[t];
  });
  return complete && ownSubnet === true;
}

/** Puts the rules in place, whatever `saved` shows. */
export async function applyMasquerade(
  exec: Exec,
  opts: MasqueradeOptions,
  saved: ReadonlyMap<string, SavedTable>,
  signal: AbortSignal,
): Promise<void> {
  await applyRestore(exec, renderMasquerade(opts, saved), { signal });
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
