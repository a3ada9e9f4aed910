// Rules of nftables, read as JSON, in the words in which people write and list them. Long anonymous maps are counted, not
// listed; what has no words here is shown as JSON.
import { isObject, type JsonObject } from './json.ts';
import { textOfValue } from './nft-containers.ts';

/** Entries of an anonymous set or map that are still listed. */
const LISTED = 4;

export function textOfRule(statements: readonly JsonObject[]): string {
  return statements.map(statementText).join(' ');
}

function statementText(statement: JsonObject): string {
  const [[kind, value] = ['', null]] = Object.entries(statement);
  if (value === null) return kind;
  if (!isObject(value)) return JSON.stringify(statement);
  switch (kind) {
    case 'match':
      return matchText(value);
    case 'mangle':
      return `${expressionText(value.key)} set ${expressionText(value.value)}`;
    case 'vmap':
      return `${expressionText(value.key)} vmap ${mapText(value.data)}`;
    case 'dnat':
    case 'snat':
      return `${kind} to ${expressionText(value.addr)}${value.port === undefined ? '' : `:${String(value.port)}`}`;
    case 'jump':
    case 'goto':
      return `${kind} ${String(value.target)}`;
    case 'set':
      return `${String(value.op)} ${String(value.set)} { ${expressionText(value.elem)} }`;
    case 'masquerade':
      return `masquerade${value.flags === undefined ? '' : ` ${flagsText(value.flags)}`}`;
    case 'reject':
    case 'counter':
    case 'log':
    case 'limit':
      return kind;
    default:
      return JSON.stringify(statement);
  }
}

function matchText({ op, left, right }: JsonObject): string {
  const operator = op === '==' || op === 'in' ? '' : `${String(op)} `;
  return `${expressionText(left)} ${operator}${expressionText(right)}`;
}

function expressionText(expression: unknown): string {
  if (Array.isArray(expression)) return expression.map(expressionText).join(',');
  if (!isObject(expression)) return String(expression);
  const [[kind, value] = ['', null]] = Object.entries(expression);
  if (Array.isArray(value)) {
    if (kind === 'concat') return value.map(expressionText).join(' . ');
    if (kind === 'set') return mapText(expression);
    if ('&|^'.includes(kind)) return value.map(bitsText).join(` ${kind} `);
  }
  if (isObject(value)) {
    if (kind === 'payload') return `${String(value.protocol)} ${String(value.field)}`;
    if (kind === 'meta') return `meta ${String(value.key)}`;
    if (kind === 'ct') return `ct ${String(value.key)}`;
    if (kind === 'fib') return `fib ${flagsText(value.flags)} ${String(value.result)}`;
    if (kind === 'numgen') return `numgen ${String(value.mode)} mod ${String(value.mod)}`;
    if (kind === 'map') return `${expressionText(value.key)} map ${mapText(value.data)}`;
  }
  return textOfValue(expression);
}

function bitsText(operand: unknown): string {
  return typeof operand === 'number' ? `0x${operand.toString(16)}` : expressionText(operand);
}

function flagsText(flags: unknown): string {
  return Array.isArray(flags) ? flags.join(' . ') : String(flags);
}

/** `@name`, `{ 0 : a , 1 : b }`, `{ 20 entries }`. */
function mapText(data: unknown): string {
  if (!isObject(data) || !Array.isArray(data.set)) return String(data);
  if (data.set.length > LISTED) return `{ ${data.set.length} entries }`;
  const entries = data.set.map((e: unknown) =>
    Array.isArray(e)
      ? `${textOfValue(e[0])} : ${isObject(e[1]) && !e[1].concat ? statementText(e[1]) : textOfValue(e[1])}`
      : textOfValue(e),
  );
  return `{ ${entries.join(' , ')} }`;
}
