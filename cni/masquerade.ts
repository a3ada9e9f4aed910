// What leaves the pod network gets the node's address; what is forwarded inside it is accepted. flannel's chains, in
// iptables' form; masquerade-nft.ts has the other.
import { parseCidr } from '../api/cidr.ts';
import type { Exec } from '../host/exec.ts';
import {
  applyRestore,
  areRulesInPlace,
  type IptablesFamily,
  renderRestore,
  type SavedTable,
  saveRules,
} from '../host/iptables-restore.ts';

const MASQ = '-m comment --comment "flanneld masq"';
const FORWARD = '-m comment --comment "flanneld forward"';

/** Rules of one family. */
export interface MasqueradeOptions {
  /** The whole pod network. */
  readonly network: string;
  /** This node's part of it. */
  readonly subnet: string;
  /** --ip-masq: what leaves the pod network gets the node's address. */
  readonly masquerade: boolean;
  /** --iptables-forward-rules: what is forwarded from or to pods is accepted. */
  readonly forward: boolean;
  /** Source ports are chosen at random. */
  readonly randomFully: boolean;
}

const OWN = { filter: ['FORWARD', 'FLANNEL-FWD'], nat: ['POSTROUTING', 'FLANNEL-POSTRTG'] } as const;
const JUMP = {
  filter: `-A FORWARD ${FORWARD} -j FLANNEL-FWD`,
  nat: `-A POSTROUTING ${MASQ} -j FLANNEL-POSTRTG`,
} as const;

const OWN_JUMPS = (['filter', 'nat'] as const).map((table) => ({ table, rule: JUMP[table] }));

type Table = 'filter' | 'nat';

function ownRules(opts: MasqueradeOptions): Readonly<Record<Table, readonly string[]>> {
  const { network, subnet } = opts;
  const nat = (rule: string) => `-A FLANNEL-POSTRTG ${rule}`;
  const multicast = parseCidr(network).version === 4 ? '224.0.0.0/4' : 'ff00::/8';
  const masquerade = `MASQUERADE${opts.randomFully ? ' --random-fully' : ''}`;
  return {
    filter: [`-A FLANNEL-FWD -s ${network} ${FORWARD} -j ACCEPT`, `-A FLANNEL-FWD -d ${network} ${FORWARD} -j ACCEPT`],
    nat: [
      nat(`-m mark --mark 0x4000/0x4000 ${MASQ} -j RETURN`), // KUBE-POSTROUTING's business
      nat(`-s ${subnet} -d ${network} ${MASQ} -j RETURN`),
      nat(`-s ${network} -d ${subnet} ${MASQ} -j RETURN`),
      nat(`! -s ${network} -d ${subnet} ${MASQ} -j RETURN`), // node ports with preserved client addresses
      nat(`-s ${network} ! -d ${multicast} ${MASQ} -j ${masquerade}`),
      nat(`! -s ${network} -d ${network} ${MASQ} -j ${masquerade}`),
    ],
  };
}

/** The tables that are wanted. */
function tablesOf({ masquerade, forward }: MasqueradeOptions): readonly Table[] {
  return [...(forward ? ['filter' as const] : []), ...(masquerade ? ['nat' as const] : [])];
}

function familyOf({ network }: MasqueradeOptions): IptablesFamily {
  return parseCidr(network).version;
}

/** Pure: the document that puts both chains in place; jumps only where `saved` has none. */
export function renderMasquerade(opts: MasqueradeOptions, saved: ReadonlyMap<string, SavedTable>): string {
  const rules = ownRules(opts);
  return renderRestore(
    tablesOf(opts).map((table) => {
      const jump = saved.get(table)?.rules.includes(JUMP[table]) ? [] : [JUMP[table]];
      return { table, chains: [OWN[table][1]], rules: [...jump, ...rules[table]] };
    }),
  );
}

/** True when both jumps and all rules for these networks are there. Cheap: it looks at four chains only. */
export async function isMasqueradeInPlace(exec: Exec, opts: MasqueradeOptions, signal: AbortSignal): Promise<boolean> {
  const rules = ownRules(opts);
  const tables = tablesOf(opts).map((table) => ({ table, rules: [JUMP[table], ...rules[table]] }));
  if (tables.length === 0) return true;
  return await areRulesInPlace(exec, tables, { family: familyOf(opts), signal });
}

/** Puts the rules in place, whatever is there. */
export async function applyMasquerade(exec: Exec, opts: MasqueradeOptions, signal: AbortSignal): Promise<void> {
  const family = { family: familyOf(opts), signal };
  await applyRestore(exec, renderMasquerade(opts, await saveRules(exec, { ...family, jumps: OWN_JUMPS })), family);
}

/** Removes both chains of a family and the jumps to them. Idempotent. */
export async function removeMasquerade(exec: Exec, family: IptablesFamily, signal: AbortSignal): Promise<void> {
  const saved = await saveRules(exec, { family, signal, jumps: OWN_JUMPS });
  const tables = (['filter', 'nat'] as const).map((table) => {
    const [hook, chain] = OWN[table];
    if (!saved.get(table)?.chains.has(chain)) return { table, chains: [], rules: [] };
    const jumps = saved.get(table)!.rules.filter((r) => r.startsWith(`-A ${hook} `) && r.endsWith(` -j ${chain}`));
    return { table, chains: [chain], rules: [...jumps.map((r) => r.replace('-A', '-D')), `-X ${chain}`] };
  });
  await applyRestore(exec, renderRestore(tables), { family, signal });
}
