// An nft that lives in memory, for tests: takes transactions on the proxy's table, refuses what the kernel would, and
// lists the table in the tool's own form.
import type { Exec, ExecResult } from '../../host/exec.ts';

interface Named {
  readonly kind: 'set' | 'map';
  readonly timeout: string | undefined;
  /** Key → verdict, empty in sets. */
  readonly elements: Map<string, { readonly value: string; readonly comment: string }>;
}

interface Table {
  readonly chains: Map<string, string[]>;
  readonly sets: Map<string, Named>;
}

class Refused extends Error {}

export class FakeNft {
  readonly #name: string;
  #table: Table | undefined;

  constructor(family: 4 | 6 = 4) {
    this.#name = `${family === 4 ? 'ip' : 'ip6'} kube-proxy`;
  }

  readonly exec: Exec = async (_program, args, { input = '' } = {}) => {
    if (args.includes('list')) return this.#list(args);
    const before = copyOf(this.#table);
    const errors: string[] = [];
    for (const [i, line] of String(input).trimEnd().split('\n').entries()) {
      try {
        this.#apply(line);
      } catch (err) {
        if (!(err instanceof Refused)) throw err;
        errors.push(`/dev/stdin:${i + 1}:1-1: Error: Could not process rule: ${err.message}`);
      }
    }
    if (args.includes('--check') || errors.length > 0) this.#table = before;
    return answer(errors.length > 0 ? 1 : 0, '', errors.join('\n'));
  };

  chains(): readonly string[] {
    return [...(this.#table?.chains.keys() ?? [])];
  }

  /** All that is there; chains that are empty and that nothing leads to are as good as deleted. */
  state(): unknown {
    const { chains, sets } = this.#table!;
    const used = [...chains].filter(([name, rules]) => rules.length > 0 || !name.includes('/'));
    return {
      chains: Object.fromEntries(used.sort(byName)),
      sets: Object.fromEntries(
        [...sets].sort(byName).map(([name, { timeout, elements }]) => [name, [timeout, [...elements].sort(byName)]]),
      ),
    };
  }

  #apply(line: string): void {
    const [, verb = '', kind = '', table = '', name = '', rest = ''] =
      /^(\w+) (\w+) (ip6? kube-proxy) ?(\S*) ?(.*)$/.exec(line) ?? unknown(line);
    if (table !== this.#name) unknown(line);
    if (kind === 'table') {
      this.#table = verb === 'delete' ? undefined : (this.#table ?? { chains: new Map(), sets: new Map() });
      return;
    }
    const there = this.#table ?? refuse('No such file or directory');
    if (kind === 'chain') changeChain(there, verb, name);
    else if (kind === 'rule') addRule(there, name, rest);
    else if (kind === 'element') changeElements(there, verb, name, rest);
    else changeSet(there, verb, kind as Named['kind'], name, rest);
  }

  #list(args: readonly string[]): ExecResult {
    const [what, name = ''] = [args[args.indexOf('list') + 1]!, args.at(-1)];
    if (this.#table === undefined) return answer(1, '', 'Error: No such file or directory');
    if (what !== 'table') {
      const { elements } = this.#table.sets.get(name) ?? refuse('No such file or directory');
      const texts = [...elements].map(([key, e]) => elementText(key, e));
      return answer(0, `table ${this.#name} {\n\t${what} ${name} {\n\t\telements = { ${texts.join(', ')} }\n\t}\n}\n`);
    }
    const { chains, sets } = this.#table;
    const lines = [
      ...[...sets].flatMap(([set, { kind, timeout }]) => [
        `\t${kind} ${set} {`,
        ...(timeout === undefined ? [] : [`\t\ttimeout ${timeout}`]),
        '\t}',
      ]),
      ...[...chains].flatMap(([chain, rules]) => [`\tchain ${chain} {`, ...rules.map((r) => `\t\t${r}`), '\t}']),
    ];
    return answer(0, `table ${this.#name} {\n${lines.join('\n')}\n}\n`);
  }
}

function changeChain({ chains, sets }: Table, verb: string, name: string): void {
  if (verb === 'add') {
    if (!chains.has(name)) chains.set(name, []);
    return;
  }
  if (!chains.has(name)) refuse('No such file or directory');
  if (verb === 'flush') {
    chains.set(name, []);
    return;
  }
  const leadsHere = (text: string) => new RegExp(`\\b(goto|jump) ${escaped(name)}(?= |$)`).test(text);
  const verdicts = [...sets.values()].flatMap(({ elements }) => [...elements.values()].map((e) => e.value));
  if ([...chains.values()].flat().some(leadsHere) || verdicts.some(leadsHere)) refuse('Device or resource busy');
  chains.delete(name);
}

function changeSet({ chains, sets }: Table, verb: string, kind: Named['kind'], name: string, spec: string): void {
  if (verb === 'add') {
    const timeout = /\btimeout (\w+)/.exec(spec.replace('dynamic,timeout', ''))?.[1];
    const known = sets.get(name);
    if (known !== undefined && known.timeout !== timeout) refuse('File exists');
    if (known === undefined) sets.set(name, { kind, timeout, elements: new Map() });
    return;
  }
  if (!sets.has(name)) refuse('No such file or directory');
  if (verb === 'flush') sets.get(name)!.elements.clear();
  else if ([...chains.values()].flat().some((rule) => uses(rule, name))) refuse('Device or resource busy');
  else sets.delete(name);
}

function uses(rule: string, set: string): boolean {
  return rule.split(' ').includes(`@${set}`);
}

function changeElements({ chains, sets }: Table, verb: string, name: string, text: string): void {
  const { elements } = sets.get(name) ?? refuse('No such file or directory');
  for (const part of text.replace(/^\{ (.*) \}$/, '$1').split(' , ')) {
    const [, key = '', comment = '', value = ''] = /^([^"]*?)(?: comment "([^"]*)")?(?: : (.+))?$/.exec(part)!;
    const known = elements.get(key);
    if (comment.length > 128) refuse('comment too long, 128 characters maximum allowed');
    if (verb === 'delete') {
      if (known === undefined || known.value !== value) refuse('No such file or directory');
      elements.delete(key);
      continue;
    }
    if (known !== undefined && known.value !== value) refuse('File exists');
    const target = /^goto (\S+)$/.exec(value)?.[1];
    if (target !== undefined && !chains.has(target)) refuse('No such file or directory');
    elements.set(key, known ?? { value, comment });
  }
}

function addRule({ chains, sets }: Table, name: string, rule: string): void {
  const rules = chains.get(name) ?? refuse('No such file or directory');
  for (const [, set] of rule.matchAll(/ @(\S+)/g)) if (!sets.has(set!)) refuse('No such file or directory');
  for (const [, chain] of rule.matchAll(/\b(?:goto|jump) (\S+)/g)) {
    if (!chains.has(chain!)) refuse('No such file or directory');
  }
  rules.push(rule);
}

function elementText(key: string, { value, comment }: { readonly value: string; readonly comment: string }): string {
  return `${key}${comment === '' ? '' : ` comment "${comment}"`}${value === '' ? '' : ` : ${value}`}`;
}

function copyOf(table: Table | undefined): Table | undefined {
  if (table === undefined) return undefined;
  return {
    chains: new Map([...table.chains].map(([name, rules]) => [name, [...rules]])),
    sets: new Map([...table.sets].map(([name, set]) => [name, { ...set, elements: new Map(set.elements) }])),
  };
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]) => (a < b ? -1 : 1);

function escaped(name: string): string {
  return name.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&');
}

function unknown(line: string): never {
  throw new Error(`not faked: ${line}`);
}

function refuse(why: string): never {
  throw new Refused(why);
}

function answer(code: number, stdout: string, stderr = ''): ExecResult {
  return { code, signal: undefined, stdout, stderr };
}
