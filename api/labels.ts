// Label selectors: the object form of specs and the string form of queries, both as a list of requirements that must
// all hold. After apimachinery pkg/labels/selector.go.
import type { LabelSelector } from './meta.ts';
import { ParseError } from './parse-error.ts';

export type LabelOperator = 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'Gt' | 'Lt';

export interface LabelRequirement {
  readonly key: string;
  readonly operator: LabelOperator;
  /** Sorted; empty for Exists and DoesNotExist, one integer for Gt and Lt. */
  readonly values: readonly string[];
}

export type Labels = Readonly<Record<string, string>>;

/** Requirements that must all hold: an empty list selects everything, `undefined` selects nothing. */
export type Selector = readonly LabelRequirement[] | undefined;

const NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const INTEGER = /^[+-]?\d{1,19}$/;

/** True for `name` or `dns.prefix/name`, the keys of labels and annotations. */
export function isQualifiedName(key: string): boolean {
  const slash = key.indexOf('/');
  if (slash < 0) return NAME.test(key);
  const prefix = key.slice(0, slash);
  return prefix.length <= 253 && DNS_SUBDOMAIN.test(prefix) && NAME.test(key.slice(slash + 1));
}

/** True for the value of a label: empty, or up to 63 characters of a name. */
export function isLabelValue(value: string): boolean {
  return value === '' || NAME.test(value);
}

export function matchesLabels(selector: Selector, labels: Labels | undefined): boolean {
  return selector?.every((r) => matchesRequirement(r, labels ?? {})) ?? false;
}

function matchesRequirement(r: LabelRequirement, labels: Labels): boolean {
  const value = Object.hasOwn(labels, r.key) ? labels[r.key] : undefined;
  switch (r.operator) {
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'In':
      return value !== undefined && r.values.includes(value);
    case 'NotIn':
      return value === undefined || !r.values.includes(value);
    case 'Gt':
    case 'Lt': {
      if (value === undefined || !INTEGER.test(value)) return false;
      const [left, right] = [BigInt(value.replace('+', '')), BigInt(r.values[0]!.replace('+', ''))];
      return r.operator === 'Gt' ? left > right : left < right;
    }
  }
}

/**
 * The selector of a spec. Absent selects nothing, `{}` everything.
 * @throws {ParseError} for an operator that is not one of In, NotIn, Exists, DoesNotExist, or a bad key or value.
 */
export function selectorOf(selector: LabelSelector | undefined): Selector {
  if (selector === undefined) return undefined;
  const equal = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => requirement(key, 'In', [value]));
  const expressions = (selector.matchExpressions ?? []).map((e) => {
    if (e.operator === 'In' || e.operator === 'NotIn' || e.operator === 'Exists' || e.operator === 'DoesNotExist') {
      return requirement(e.key, e.operator, e.values ?? []);
    }
    throw new ParseError('label selector operator', String(e.operator), 'expected In, NotIn, Exists or DoesNotExist');
  });
  return [...equal, ...expressions];
}

/** The selector of Service.spec.selector and ReplicationController: plain equality. Values are taken as they are. */
export function selectorOfMap(map: Labels): readonly LabelRequirement[] {
  return Object.entries(map).map(([key, value]) => ({ key, operator: 'In' as const, values: [value] }));
}

/** @throws {ParseError} */
function requirement(key: string, operator: LabelOperator, values: readonly string[]): LabelRequirement {
  if (!isQualifiedName(key))
    throw new ParseError('label key', key, 'expected a name, optionally with a DNS prefix and /');
  const needsValues = operator === 'In' || operator === 'NotIn';
  if (needsValues && values.length === 0) throw new ParseError('label selector', key, `${operator} needs values`);
  if ((operator === 'Exists' || operator === 'DoesNotExist') && values.length > 0) {
    throw new ParseError('label selector', key, `${operator} takes no values`);
  }
  if ((operator === 'Gt' || operator === 'Lt') && !(values.length === 1 && INTEGER.test(values[0]!))) {
    throw new ParseError('label selector', key, `${operator} needs one integer`);
  }
  const bad = values.find((v) => !(operator === 'Gt' || operator === 'Lt') && !isLabelValue(v));
  if (bad !== undefined) throw new ParseError('label value', bad, 'at most 63 letters, digits, -, _ and .');
  return { key, operator, values: [...new Set(values)].sort() };
}

/** The string form, which `parseLabelSelector` reads back. */
export function formatLabelSelector(requirements: readonly LabelRequirement[]): string {
  return requirements.map(formatRequirement).join(',');
}

function formatRequirement(r: LabelRequirement): string {
  switch (r.operator) {
    case 'Exists':
      return r.key;
    case 'DoesNotExist':
      return `!${r.key}`;
    case 'Gt':
      return `${r.key}>${r.values[0]!}`;
    case 'Lt':
      return `${r.key}<${r.values[0]!}`;
    case 'In':
      return r.values.length === 1 ? `${r.key}=${r.values[0]!}` : `${r.key} in (${r.values.join(',')})`;
    case 'NotIn':
      return r.values.length === 1 ? `${r.key}!=${r.values[0]!}` : `${r.key} notin (${r.values.join(',')})`;
  }
}

/** Reads `a=b,c in (d,e),!f,g>5`. The empty text selects everything. @throws {ParseError} */
export function parseLabelSelector(text: string): readonly LabelRequirement[] {
  return new SelectorParser(text).parse();
}

const TOKEN = /\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)/y;

class SelectorParser {
  readonly #text: string;
  readonly #tokens: readonly string[];
  #at = 0;

  constructor(text: string) {
    this.#text = text;
    const trimmed = text.trimEnd();
    const tokens: string[] = [];
    TOKEN.lastIndex = 0;
    while (TOKEN.lastIndex < trimmed.length) tokens.push(TOKEN.exec(trimmed)![1]!); // every character starts a token
    this.#tokens = tokens;
  }

  parse(): readonly LabelRequirement[] {
    const requirements: LabelRequirement[] = [];
    if (this.#tokens.length === 0) return requirements;
    for (;;) {
      requirements.push(this.#requirement());
      if (this.#at === this.#tokens.length) return requirements;
      this.#expect(',');
    }
  }

  #requirement(): LabelRequirement {
    if (this.#accept('!')) return requirement(this.#word(), 'DoesNotExist', []);
    const key = this.#word();
    const operator = this.#tokens[this.#at];
    if (operator === undefined || operator === ',') return requirement(key, 'Exists', []);
    this.#at++;
    switch (operator) {
      case '=':
      case '==':
        return requirement(key, 'In', [this.#value()]);
      case '!=':
        return requirement(key, 'NotIn', [this.#value()]);
      case '>':
        return requirement(key, 'Gt', [this.#value()]);
      case '<':
        return requirement(key, 'Lt', [this.#value()]);
      case 'in':
        return requirement(key, 'In', this.#values());
      case 'notin':
        return requirement(key, 'NotIn', this.#values());
      default:
        throw this.#error(`found ${operator}, expected an operator such as =, !=, in or notin`);
    }
  }

  /** `(a,b)`; an empty place between commas is the empty value, as upstream reads it. */
  #values(): string[] {
    this.#expect('(');
    const values = [this.#value()];
    while (this.#accept(',')) values.push(this.#value());
    this.#expect(')');
    return values;
  }

  #value(): string {
    return isWord(this.#tokens[this.#at]) ? this.#tokens[this.#at++]! : '';
  }

  #word(): string {
    const token = this.#tokens[this.#at];
    if (!isWord(token)) throw this.#error(`found ${token ?? 'the end'}, expected a key`);
    this.#at++;
    return token!;
  }

  #accept(token: string): boolean {
    if (this.#tokens[this.#at] !== token) return false;
    this.#at++;
    return true;
  }

  #expect(token: string): void {
    if (!this.#accept(token)) throw this.#error(`found ${this.#tokens[this.#at] ?? 'the end'}, expected ${token}`);
  }

  #error(why: string): ParseError {
    return new ParseError('label selector', this.#text, why);
  }
}

function isWord(token: string | undefined): boolean {
  return token !== undefined && !/^[=!(),<>]/.test(token);
}
