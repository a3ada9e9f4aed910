// Field selectors: `spec.nodeName=node-1,status.phase!=Failed`. After apimachinery pkg/fields/selector.go. Which fields a
// kind offers is the API server's business; here are the grammar and the match.
import { ParseError } from './parse-error.ts';

export interface FieldRequirement {
  readonly field: string;
  readonly operator: '=' | '!=';
  readonly value: string;
}

/** Reads a field selector; the empty text selects everything. `\,`, `\=` and `\\` stand for themselves. @throws {ParseError} */
export function parseFieldSelector(text: string): readonly FieldRequirement[] {
  return splitTerms(text)
    .filter((term) => term !== '')
    .map((term) => parseTerm(term, text));
}

function splitTerms(text: string): string[] {
  const terms: string[] = [];
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === ',') {
      terms.push(text.slice(start, i));
      start = i + 1;
    }
  }
  terms.push(text.slice(start));
  return terms;
}

function parseTerm(term: string, text: string): FieldRequirement {
  const match = /^([^=!\\,]+?)(!=|==|=)(.*)$/s.exec(term);
  if (match === null) throw new ParseError('field selector', text, `${JSON.stringify(term)} is not field=value`);
  const [, field, operator, escaped] = match;
  return { field: field!.trim(), operator: operator === '!=' ? '!=' : '=', value: unescapeValue(escaped!, text) };
}

function unescapeValue(escaped: string, text: string): string {
  if (/(?<!\\)(?:\\\\)*=/.test(escaped))
    throw new ParseError('field selector', text, '= in a value must be written \\=');
  if (/(?:^|[^\\])(?:\\\\)*\\(?:[^\\,=]|$)/s.test(escaped)) {
    throw new ParseError('field selector', text, 'only \\\\, \\, and \\= may follow a backslash');
  }
  return escaped.replaceAll(/\\([\\,=])/g, '$1');
}

/** The text that `parseFieldSelector` reads back. */
export function formatFieldSelector(requirements: readonly FieldRequirement[]): string {
  return requirements.map((r) => `${r.field}${r.operator}${r.value.replaceAll(/[\\,=]/g, '\\$&')}`).join(',');
}

/** `textOf` gives the text of a field, '' when it is not set. */
export function matchesFields(requirements: readonly FieldRequirement[], textOf: (field: string) => string): boolean {
  return requirements.every((r) => (textOf(r.field) === r.value) === (r.operator === '='));
}

/** The text of a scalar at a dotted path of an object: '' when absent or not a scalar. */
export function fieldText(object: unknown, path: string): string {
  let at: unknown = object;
  for (const part of path.split('.')) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return '';
    at = (at as Record<string, unknown>)[part];
  }
  return typeof at === 'string' || typeof at === 'number' || typeof at === 'boolean' ? String(at) : '';
}
