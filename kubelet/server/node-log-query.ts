// The query of /logs/?query=…: which services or which file of the node, and what of them. Pure.
// After pkg/kubelet/kubelet_server_journal.go.
import { parseTime } from '../../api/meta.ts';
import { aggregateMessage, errorMessage } from '../../core/errors.ts';
import { HttpError } from './http-error.ts';

export interface NodeLogQuery {
  readonly services: readonly string[];
  readonly files: readonly string[];
  /** Wall ms. */
  readonly sinceMs?: number;
  readonly untilMs?: number;
  readonly tailLines?: number;
  /** A regular expression of PCRE, as journalctl has them. */
  readonly pattern?: string;
  /** 0: the present one, -1 the one before. */
  readonly boot?: number;
}

const MAX_SERVICES = 4;
const MAX_SERVICE_BYTES = 256;
const MAX_TAIL_LINES = 100_000;
/** journalctl matches it against every line: what is compiled for long would be matched for long. */
const MAX_PATTERN_BYTES = 1024;
const UNSAFE_IN_SERVICE = /[^a-zA-Z\-_.:0-9@]/;

/** Undefined when nothing is asked for but a path. @throws {HttpError} 400 with every fault, 406 with every fault. */
export function parseNodeLogQuery(query: URLSearchParams): NodeLogQuery | undefined {
  const faults: string[] = [];
  const asked = query.getAll('query');
  const files = asked.filter((q) => /[/\\]/.test(q)).map((q) => q.replaceAll('\\', '/'));
  const services = asked.filter((q) => !/[/\\]/.test(q) && q.trim() !== '');
  if (asked.length > 0 && files.length + services.length === 0) {
    faults.push(invalid('query', list(asked), 'query cannot be empty'));
  }
  const sinceMs = time(query, 'sinceTime', faults);
  const untilMs = time(query, 'untilTime', faults);
  const boot = integer(query, 'boot', faults);
  const tailLines = integer(query, 'tailLines', faults);
  const pattern = query.get('pattern') || undefined;
  if (faults.length > 0) throw new HttpError(400, `${aggregateMessage(faults)}\n`);
  const options = { sinceMs, untilMs, boot, tailLines, pattern };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  if (files.length + services.length + given.length === 0) return undefined;
  const parsed: NodeLogQuery = { services, files, ...Object.fromEntries(given) };
  const wrong = validate(parsed);
  if (wrong.length > 0) throw new HttpError(406, `${aggregateMessage(wrong)}\n`);
  return parsed;
}

/** Anything beside what is to be read. */
export function hasOptions({ services: _s, files: _f, ...options }: NodeLogQuery): boolean {
  return Object.keys(options).length > 0;
}

function validate(query: NodeLogQuery): string[] {
  const { services, files, sinceMs, untilMs, boot, tailLines, pattern } = query;
  const faults = services.map(serviceFault).filter((f) => f !== undefined);
  if (services.length > MAX_SERVICES) {
    faults.push(invalid('query', list(services), `cannot specify more than ${MAX_SERVICES} services`));
  }
  if (services.length + files.length === 0) faults.push('query: Required value: cannot be empty with options');
  else if (services.length > 0 && files.length > 0) {
    faults.push(
      invalid('query', `"[${files.join(' ')}], [${services.join(' ')}]"`, 'cannot specify a file and service'),
    );
  } else if (files.length > 1) faults.push(invalid('query', list(files), 'cannot specify more than one file'));
  else if (files.length === 1 && hasOptions(query)) {
    faults.push(invalid('query', list(files), 'cannot specify file with options'));
  }
  if (sinceMs !== undefined && untilMs !== undefined && sinceMs > untilMs) {
    faults.push(invalid('untilTime', `"${new Date(untilMs).toISOString()}"`, 'must be after `sinceTime`'));
  }
  if (boot !== undefined && boot > 0) faults.push(invalid('boot', boot, 'must be less than 1'));
  if (tailLines !== undefined && (tailLines < 0 || tailLines > MAX_TAIL_LINES)) {
    faults.push(invalid('tailLines', tailLines, `must be between 0 and ${MAX_TAIL_LINES}, inclusive`));
  }
  const patternFault = pattern === undefined ? undefined : faultOfPattern(pattern);
  if (patternFault !== undefined) faults.push(invalid('pattern', JSON.stringify(pattern), patternFault));
  return faults;
}

function serviceFault(service: string): string | undefined {
  // A name that begins with a dash would be an option of journalctl, were it not behind `--unit=`.
  if (service.length > MAX_SERVICE_BYTES)
    return invalid('query', JSON.stringify(service), 'length must be less than 256');
  if (!UNSAFE_IN_SERVICE.test(service)) return undefined;
  return invalid('query', JSON.stringify(service), 'input contains unsupported characters');
}

function faultOfPattern(pattern: string): string | undefined {
  if (pattern.length > MAX_PATTERN_BYTES) return `must have at most ${MAX_PATTERN_BYTES} bytes`;
  if (/[\0\n]/.test(pattern)) return 'must be one line';
  try {
    new RegExp(pattern);
    return undefined;
  } catch (err) {
    return `error parsing regexp: ${errorMessage(err)}`;
  }
}

function time(query: URLSearchParams, name: string, faults: string[]): number | undefined {
  const text = query.get(name) ?? '';
  if (text === '') return undefined;
  const ms = parseTime(text);
  if (!Number.isNaN(ms)) return ms;
  faults.push(invalid(name, JSON.stringify(text), 'invalid time format'));
  return undefined;
}

function integer(query: URLSearchParams, name: string, faults: string[]): number | undefined {
  const text = query.get(name) ?? '';
  if (text === '') return undefined;
  const value = Number(text);
  if (/^[+-]?\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  const detail = `strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`;
  faults.push(invalid(name, JSON.stringify(text), detail));
  return undefined;
}

const invalid = (field: string, value: string | number, detail: string) =>
  `${field}: Invalid value: ${value}: ${detail}`;
const list = (texts: readonly string[]) => `[]string{${texts.map((t) => JSON.stringify(t)).join(', ')}}`;

/** Pure: what journalctl is started with. */
export function journalArguments(units: readonly string[], query: NodeLogQuery): string[] {
  const { sinceMs, untilMs, tailLines, pattern, boot } = query;
  const stamp = (ms: number) => new Date(ms).toISOString().slice(0, 19).replace('T', ' ');
  return [
    '--utc',
    '--no-pager',
    '--output=short-precise',
    ...(sinceMs === undefined ? [] : [`--since=${stamp(sinceMs)}`]),
    ...(untilMs === undefined ? [] : [`--until=${stamp(untilMs)}`]),
    ...(tailLines === undefined ? [] : ['--pager-end', `--lines=${tailLines}`]),
    ...units.map((unit) => `--unit=${unit}`),
    ...(pattern === undefined ? [] : [`--grep=${pattern}`, '--case-sensitive=false']),
    ...(boot === undefined ? [] : ['--boot', String(boot)]),
  ];
}
