// The types of settings: how a value is read from a file (JSON values) and from the text of a flag, and what is said
// when it is wrong. Reading never throws; it reports, so that all faults are told at once.
import { isIp, parseCidr } from '../../api/cidr.ts';
import { isQuantity } from '../../api/quantity.ts';
import { formatGoDuration } from '../../core/go-duration.ts';
import { nearest } from '../../core/nearest.ts';
import { parseGoDuration } from '../../core/parse-duration.ts';

/** Told every fault: the field (`evictionHard.memory.available`) and what is wrong with it. */
export type Report = (path: string, problem: string) => void;

export interface ValueType<T> {
  /** What may be written, as it follows the word "expected". */
  readonly expected: string;
  /** undefined: faulty, and reported. */
  readonly read: (value: unknown, path: string, report: Report) => T | undefined;
  /** From all occurrences of a flag to a value for `read`. Scalars: the last one counts. */
  readonly fromFlag: (texts: readonly string[]) => unknown;
  /** What was read, back in the form of a file; absent where that is the same. */
  readonly print?: (value: unknown) => unknown;
  /** What is wrong with the text of a flag, where "expected …" would not tell. */
  readonly flagFault?: (texts: readonly string[]) => string | undefined;
  /** A flag of this type may stand without a value. */
  readonly isSwitch?: true;
  /** A path that is relative to the file it is written in. */
  readonly isFilePath?: true;
}

function last(texts: readonly string[]): string {
  return texts.at(-1) ?? '';
}

/** The value as it is shown in a fault, cut short. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** `accept` answers undefined for what it does not take. */
export function scalar<T>(
  expected: string,
  accept: (value: unknown) => T | undefined,
  fromText: (text: string) => unknown = (text) => text,
): ValueType<T> {
  return {
    expected,
    read: (value, path, report) => {
      const accepted = accept(value);
      if (accepted === undefined) report(path, `expected ${expected}, got ${shown(value)}`);
      return accepted;
    },
    fromFlag: (texts) => fromText(last(texts)),
  };
}

const TRUE = new Set(['1', 't', 'T', 'true', 'TRUE', 'True']);
const FALSE = new Set(['0', 'f', 'F', 'false', 'FALSE', 'False']);

/** Booleans as Go's ParseBool reads them; undefined for anything else. */
export function parseBool(text: string): boolean | undefined {
  if (TRUE.has(text)) return true;
  return FALSE.has(text) ? false : undefined;
}

/** What YAML 1.1, which upstream reads, takes for booleans, and 1.2 for texts. */
const OLD_WORDS: ReadonlyMap<unknown, boolean> = new Map(
  [
    ['yes', 'no'],
    ['Yes', 'No'],
    ['YES', 'NO'],
    ['on', 'off'],
    ['On', 'Off'],
    ['ON', 'OFF'],
  ].flatMap(([on, off]) => [[on, true] as const, [off, false] as const]),
);

export const bool: ValueType<boolean> = {
  ...scalar(
    'true or false',
    (v) => (typeof v === 'boolean' ? v : OLD_WORDS.get(v)),
    (text) => parseBool(text) ?? [text], // no boolean in any form: flags do not take the old words
  ),
  isSwitch: true,
};

export const text = stringType('a text', () => true);

/** A file or directory; in a config file relative to that file. */
export const filePath: ValueType<string> = { ...stringType('a path', () => true), isFilePath: true };

/** Where files are made: /proc never has what was made, and making directories there never ends (nodejs/node mkdir -p). */
export const directory: ValueType<string> = {
  ...stringType('a directory outside of /proc', (v) => !/^\/+proc(\/|$)/.test(v)),
  isFilePath: true,
};

/** As upstream takes them on Linux: a URL, or a path alone. */
export const socketAddress = stringType(
  'unix:///path/of/the/socket',
  (v) => v === '' || /^(unix:(\/\/)?)?\/[^/]/.test(v),
);

export const absolutePath: ValueType<string> = {
  ...stringType(
    'an absolute path in plain form',
    (v) => v === '' || /^(\/(?!\.{1,2}(\/|$))[\x21-\x2e\x30-\x7e]+)+$|^\/$/.test(v),
  ),
  isFilePath: true,
};

export const ip = stringType('an IP address', (v) => v === '' || isIp(v));

export const quantity: ValueType<string> = scalar('a quantity such as 500m or 1Gi', (v) =>
  (typeof v === 'string' || typeof v === 'number') && isQuantity(v) && !String(v).startsWith('-')
    ? String(v)
    : undefined,
);

export function stringType(expected: string, accept: (value: string) => boolean): ValueType<string> {
  return scalar(expected, (v) => (typeof v === 'string' && accept(v) ? v : undefined));
}

/** One of these words; the empty one (the default) besides. */
export function oneOf<const T extends string>(...words: readonly T[]): ValueType<T | ''> {
  const listed = words.length === 1 ? words[0] : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
  return scalar(listed!, (v) => (v === '' ? '' : words.find((word) => word === v)));
}

export function int(min = -(2 ** 31), max = 2 ** 31 - 1): ValueType<number> {
  const upper = max >= 2 ** 31 - 1 ? undefined : max;
  const range = min <= -(2 ** 31) ? '' : upper === undefined ? ` of at least ${min}` : ` from ${min} to ${upper}`;
  return scalar(
    `a whole number${range}`,
    (v) => (typeof v === 'number' && Number.isSafeInteger(v) && v >= min && v <= max ? v : undefined),
    numberFromText,
  );
}

export function float(expected: string, accept: (value: number) => boolean): ValueType<number> {
  return scalar(expected, (v) => (typeof v === 'number' && accept(v) ? v : undefined), numberFromText);
}

function numberFromText(written: string): unknown {
  return /^[+-]?\d+(\.\d+)?$/.test(written) ? Number(written) : written;
}

/** Go durations, read into milliseconds. */
export function duration(minMs = 0, maxMs = Number.POSITIVE_INFINITY, range = ''): ValueType<number> {
  const type = scalar(`a duration${range} such as 10s or 1m30s`, (v) => {
    const ms = typeof v === 'string' ? parseGoDuration(v) : undefined;
    return ms !== undefined && (ms === 0 || (ms >= minMs && ms <= maxMs)) ? ms : undefined;
  });
  return { ...type, print: printDuration };
}

export function printDuration(ms: unknown): string {
  return formatGoDuration(ms as number);
}

export function isCidr(value: string): boolean {
  try {
    parseCidr(value);
    return true;
  } catch {
    return false; // parseCidr throws ParseError and nothing else
  }
}

/** A list; in a flag separated by commas, and the flag may be repeated. */
export function list<T>(item: ValueType<T>): ValueType<readonly T[]> {
  return {
    expected: `a list, each ${item.expected}`,
    read: (value, path, report) => {
      if (!Array.isArray(value)) {
        report(path, `expected a list, got ${shown(value)}`);
        return undefined;
      }
      return value
        .map((entry, i) => item.read(entry, `${path}[${i}]`, report))
        .filter((entry): entry is Awaited<T> & NonNullable<T> => entry !== undefined);
    },
    fromFlag: (texts) => splitCommas(texts).map((entry) => item.fromFlag([entry])),
  };
}

/** A map from text; in a flag `key=value` separated by commas. A null value removes the key when files are merged. */
export function map<T>(item: ValueType<T>, separator: '=' | '<' = '='): ValueType<Readonly<Record<string, T>>> {
  const { print } = item;
  return {
    ...(print === undefined ? {} : { print: (value: unknown) => mapValues(value as Record<string, unknown>, print) }),
    expected: `key${separator}value pairs, each value ${item.expected}`,
    read: (value, path, report) => {
      const entries = entriesOf(value, path, report);
      return entries && readEntries(entries, path, () => item, report);
    },
    fromFlag: (texts) => {
      const pairs = splitCommas(texts).map((pair): [string, unknown] | undefined => {
        const at = pair.indexOf(separator);
        return at > 0 ? [pair.slice(0, at).trim(), item.fromFlag([pair.slice(at + 1).trim()])] : undefined;
      });
      const wrong = pairs.indexOf(undefined);
      return wrong < 0 ? Object.fromEntries(pairs as [string, unknown][]) : last(texts); // not a map: `read` says so
    },
  };
}

function mapValues(values: Readonly<Record<string, unknown>>, to: (value: unknown) => unknown): object {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, to(value)]));
}

export function splitCommas(texts: readonly string[]): string[] {
  return texts
    .flatMap((one) => one.split(','))
    .map((one) => one.trim())
    .filter((one) => one !== '');
}

/** An object with exactly these keys, none of which must be there. */
export function record<T extends Readonly<Record<string, ValueType<unknown>>>>(
  types: T,
  required: readonly (keyof T & string)[] = [],
): ValueType<{ readonly [K in keyof T]?: T[K] extends ValueType<infer V> ? V : never }> {
  return {
    expected: `an object of ${Object.keys(types).join(', ')}`,
    read: (value, path, report) => {
      const entries = entriesOf(value, path, report);
      if (entries === undefined) return undefined;
      for (const key of required) if (!(key in entries)) report(join(path, key), 'is missing');
      return readEntries(
        entries,
        path,
        (key) => (Object.hasOwn(types, key) ? types[key] : undefined),
        report,
        types,
      ) as never;
    },
    fromFlag: last,
  };
}

/** Entries of an object from a file; null entries stay, for merging. */
export function readEntries<T>(
  entries: Readonly<Record<string, unknown>>,
  path: string,
  typeOf: (key: string) => ValueType<T> | undefined,
  report: Report,
  known: object = {},
): Record<string, T> {
  const result: [string, T | null][] = [];
  for (const [key, value] of Object.entries(entries)) {
    const type = typeOf(key);
    if (type === undefined) {
      report(join(path, key), `unknown field${suggestion(key, Object.keys(known))}`);
      continue;
    }
    const read = value === null ? null : type.read(value, join(path, key), report);
    if (read !== undefined) result.push([key, read]);
  }
  return Object.fromEntries(result) as Record<string, T>;
}

/** The object's own entries; anything else is reported. */
export function entriesOf(value: unknown, path: string, report: Report): Record<string, unknown> | undefined {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  report(path, `expected an object, got ${shown(value)}`);
  return undefined;
}

export function suggestion(name: string, known: Iterable<string>): string {
  const near = nearest(name, known);
  return near === undefined ? '' : `; did you mean ${near}?`;
}

export function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}
