// The pod network's rules in nftables' form: tables `ip flannel-ipv4` and `ip6 flannel-ipv6`, as flannel makes them with
// EnableNFTables. Chosen where the service proxy writes nftables rules.
import { parseCidr } from '../api/cidr.ts';
import type { Exec } from '../host/exec.ts';
import { applyNft, listNft } from '../host/nft.ts';
import type { MasqueradeOptions } from './masquerade.ts';

const MASQ_COMMENT = 'chain to manage traffic masquerading by flannel';
const FORWARD_COMMENT = 'chain to accept flannel traffic';

interface Family {
  readonly name: 'ip' | 'ip6';
  readonly table: string;
  readonly multicast: string;
}

function familyOf(version: 4 | 6): Family {
  return version === 4
    ? { name: 'ip', table: 'ip flannel-ipv4', multicast: '224.0.0.0/4' }
    : { name: 'ip6', table: 'ip6 flannel-ipv6', multicast: 'ff00::/8' };
}

/** Rules by chain. */
function chainRules(opts: MasqueradeOptions): Readonly<Record<'postrtg' | 'forward', readonly string[]>> {
  const { network: c, subnet: s } = opts;
  const { name: ip, multicast } = familyOf(parseCidr(c).version);
  const masquerade = `masquerade${opts.randomFully ? ' fully-random' : ''}`;
  return {
    postrtg: opts.masquerade
      ? [
          'meta mark 0x4000 return', // the proxy masquerades these itself
          `${ip} saddr ${s} ${ip} daddr ${c} return`,
          `${ip} saddr ${c} ${ip} daddr ${s} return`,
          // flannel's nftables form says "!= own subnet", which keeps node-to-pod traffic from being masqueraded too.
          `${ip} saddr != ${s} ${ip} daddr ${c} return`,
          `${ip} saddr ${c} ${ip} daddr != ${multicast} ${masquerade}`,
          `${ip} saddr != ${c} ${ip} daddr ${c} ${masquerade}`,
        ]
      : [],
    forward: opts.forward ? [`${ip} saddr ${c} accept`, `${ip} daddr ${c} accept`] : [],
  };
}

/** Pure: the document that makes both chains hold these rules and no others. */
function renderMasqueradeNft(opts: MasqueradeOptions): string {
  const { table } = familyOf(parseCidr(opts.network).version);
  const rules = chainRules(opts);
  const lines = [
    `add table ${table} { comment "rules for ${table.split(' ')[1]}"; }`,
    `add chain ${table} postrtg { type nat hook postrouting priority srcnat; comment "${MASQ_COMMENT}"; }`,
    `add chain ${table} forward { type filter hook forward priority filter; comment "${FORWARD_COMMENT}"; }`,
  ];
  for (const chain of ['postrtg', 'forward'] as const) {
    lines.push(`flush chain ${table} ${chain}`);
    for (const rule of rules[chain]) lines.push(`add rule ${table} ${chain} ${rule}`);
  }
  return `${lines.join('\n')}\n`;
}

/** The table as the kernel holds it; undefined when it is not there. One process, which lists this one table. */
export function listMasqueradeNft(exec: Exec, version: 4 | 6, signal: AbortSignal): Promise<string | undefined> {
  return listNft(exec, ['list', 'table', ...familyOf(version).table.split(' ')], { signal });
}

/** Puts the rules in place, whatever is there. */
export async function applyMasqueradeNft(exec: Exec, opts: MasqueradeOptions, signal: AbortSignal): Promise<void> {
  await applyNft(exec, renderMasqueradeNft(opts), { signal });
}

/** Removes the table of a family. Idempotent. */
export async function removeMasqueradeNft(exec: Exec, version: 4 | 6, signal: AbortSignal): Promise<void> {
  const { table } = familyOf(version);
  await applyNft(exec, `add table ${table}\ndelete table ${table}\n`, { signal }); // "add" so that it is there
}
