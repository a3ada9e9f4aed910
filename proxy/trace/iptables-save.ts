// Reads what `iptables-save` prints, in the form of either back end and in the one in which documents for
// iptables-restore are written. Pure. Options that it does not know make a rule unknown, never an error: the report names
// them, and a trace through everything else is still worth having.
import { parseRule } from './iptables-rule.ts';
import { type BaseChain, type Chain, type Hook, IPTABLES_PRIORITIES, type Rule, type Table } from './ruleset.ts';

const HOOKS: Readonly<Record<string, Hook>> = {
  PREROUTING: 'prerouting',
  INPUT: 'input',
  FORWARD: 'forward',
  OUTPUT: 'output',
  POSTROUTING: 'postrouting',
};

export function parseIptablesSave(text: string): Table[] {
  const tables: Table[] = [];
  let chains = new Map<string, { name: string; rules: Rule[]; base: BaseChain | undefined }>();
  let table = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      table = line.slice(1).trim();
      chains = new Map();
      tables.push({ name: table, tool: 'iptables', chains: chains as ReadonlyMap<string, Chain>, maps: new Map() });
    } else if (line.startsWith(':')) {
      const [name = '', policy] = line.slice(1).split(' ');
      chains.set(name, { name, rules: [], base: baseOf(table, name, policy) });
    } else {
      // Counters may stand first: `[12:720] -A …`.
      const [, name, rule] = /^(?:\[\d+:\d+\] )?-A (\S+) ?(.*)$/.exec(line) ?? [];
      if (name !== undefined) chains.get(name)?.rules.push(parseRule(rule ?? ''));
    }
  }
  return tables;
}

function baseOf(table: string, chain: string, policy: string | undefined): BaseChain | undefined {
  const hook = HOOKS[chain];
  if (hook === undefined) return undefined;
  const isNat = table === 'nat';
  const priority = isNat && (hook === 'input' || hook === 'postrouting') ? 100 : (IPTABLES_PRIORITIES[table] ?? 0);
  return { hook, priority, type: isNat ? 'nat' : 'filter', policy: policy === 'DROP' ? 'drop' : 'accept' };
}
