// What stands in the proxy's nftables table, to compare two of them.
import type { Exec } from '../../host/exec.ts';

interface NftObject {
  readonly name?: string;
  readonly chain?: string;
  readonly handle?: number;
  readonly elem?: readonly unknown[];
}

type Listing = readonly Record<string, NftObject>[];

async function listTable(exec: Exec, family: 4 | 6): Promise<Listing> {
  const args = ['--json', 'list', 'table', family === 6 ? 'ip6' : 'ip', 'kube-proxy'];
  const { stdout } = await exec('nft', args, { maxOutputBytes: 64 << 20 });
  return (JSON.parse(stdout) as { nftables: Listing }).nftables;
}

/** All that is in the table, in an order of its own; chains that were emptied to be deleted are as good as deleted. */
export async function tableState(exec: Exec, family: 4 | 6 = 4): Promise<unknown> {
  const state: Record<string, unknown> = {};
  const rules: Record<string, unknown[]> = {};
  for (const entry of await listTable(exec, family)) {
    const [[kind, object]] = Object.entries(entry) as [[string, NftObject]];
    const plain = JSON.parse(JSON.stringify(object, (key, value) => (key === 'handle' ? undefined : value)));
    if (kind === 'rule') rules[object.chain!] = [...(rules[object.chain!] ?? []), plain];
    else if (kind === 'set' || kind === 'map') {
      state[object.name!] = { ...plain, elem: (object.elem ?? []).map((e) => JSON.stringify(e)).sort() };
    }
  }
  return { ...state, rules };
}

/** The kernel's number of each rule in chains of Services: another one means that the rule was written anew. */
export async function serviceRuleHandles(exec: Exec, family: 4 | 6): Promise<Map<number, string>> {
  const rules = (await listTable(exec, family)).flatMap((entry) => entry.rule ?? []);
  return new Map(rules.filter((r) => r.chain!.includes('/')).map((r) => [r.handle!, r.chain!]));
}
