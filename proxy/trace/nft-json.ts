// Reads what `nft -j list table …` prints (libnftables-json(5)). Pure. Expressions that it does not know make their rule
// unknown, never an error: see iptables-save.ts.
import { asArray, asObject, asText, isObject } from './json.ts';
import { Containers, textOfValue } from './nft-containers.ts';
import { readStatement } from './nft-statements.ts';
import { textOfRule } from './nft-text.ts';
import {
  type BaseChain,
  type Chain,
  type Hook,
  type MapEntry,
  type Rule,
  type Step,
  type Table,
  UnknownRule,
} from './ruleset.ts';

/** One document may hold several tables; `family`: tables of the other one are left out, those of both are read. */
export function parseNftJson(text: string, family: 4 | 6): Table[] {
  const objects = asArray(asObject(JSON.parse(text)).nftables).map((entry) => Object.entries(asObject(entry))[0]);
  const families = ['inet', family === 4 ? 'ip' : 'ip6'];
  const builders = new Map<string, TableBuilder>();
  for (const [kind, value] of objects.filter((o) => o !== undefined)) {
    if (kind === 'metainfo') continue;
    const object = asObject(value);
    const tableFamily = asText(object.family);
    if (!families.includes(tableFamily)) continue;
    const name = `${tableFamily} ${asText(kind === 'table' ? object.name : object.table)}`;
    const builder = builders.get(name) ?? new TableBuilder(name);
    builders.set(name, builder);
    builder.add(kind, object);
  }
  return [...builders.values()].map((b) => b.build());
}

class TableBuilder {
  readonly #name: string;
  readonly #chains = new Map<string, { name: string; rules: Rule[]; base: BaseChain | undefined }>();
  readonly #containers = new Containers();
  readonly #maps = new Map<string, readonly MapEntry[]>();
  /** Read at the end: a rule may be listed before the set that it names. */
  readonly #rules: Record<string, unknown>[] = [];

  constructor(name: string) {
    this.#name = name;
  }

  add(kind: string, object: Record<string, unknown>): void {
    if (kind === 'chain') {
      const name = asText(object.name);
      this.#chains.set(name, { name, rules: [], base: baseOf(object) });
    } else if (kind === 'set' || kind === 'map') {
      const elements = asArray(object.elem ?? []);
      this.#containers.add(asText(object.name), kind, elements);
      if (object.map === 'verdict') this.#maps.set(asText(object.name), elements.map(mapEntry));
    } else if (kind === 'rule') this.#rules.push(object);
  }

  build(): Table {
    for (const object of this.#rules) {
      const expressions = asArray(object.expr ?? []).map(asObject);
      const comment = typeof object.comment === 'string' ? object.comment : '';
      const rule: Rule = { text: textOfRule(expressions), comment, steps: this.#steps(expressions) };
      this.#chains.get(asText(object.chain))?.rules.push(rule);
    }
    const chains = this.#chains as ReadonlyMap<string, Chain>;
    return { name: this.#name, tool: 'nftables', chains, maps: this.#maps };
  }

  #steps(expressions: readonly Record<string, unknown>[]): Step[] {
    try {
      return expressions.flatMap((e) => readStatement(e, this.#containers));
    } catch (err) {
      if (err instanceof UnknownRule) return [{ is: 'unknown', what: err.message }];
      throw err;
    }
  }
}

function mapEntry(element: unknown): MapEntry {
  const [key, verdict] = asArray(element);
  const comment = isObject(key) && isObject(key.elem) ? key.elem.comment : undefined;
  return {
    key: textOfValue(key),
    verdict: textOfRule([asObject(verdict)]),
    comment: typeof comment === 'string' ? comment : '',
  };
}

const HOOKS = new Set<string>(['prerouting', 'input', 'forward', 'output', 'postrouting']);

function baseOf({ hook, prio, type, policy }: Record<string, unknown>): BaseChain | undefined {
  if (typeof hook !== 'string' || !HOOKS.has(hook)) return undefined; // ingress and egress see frames, not connections
  return {
    hook: hook as Hook,
    priority: Number(prio ?? 0),
    type: type === 'nat' || type === 'route' ? type : 'filter',
    policy: policy === 'drop' ? 'drop' : 'accept',
  };
}
