// Texts that cells share. Sources: pkg/printers/internalversion/printers.go, apimachinery pkg/util/duration.
import type { LabelSelector } from '../../../api/meta.ts';
import type { AnyObject, Cell, TableColumn, TableLayout } from '../definition.ts';

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;
const YEAR = 365 * DAY;

/** `Name`, `Desired#` (integer), `Suspend?` (boolean), a trailing `*` for wide output only. */
export function table(
  columns: readonly string[],
  cells: (object: never, nowMs: number) => (Cell | undefined)[],
): TableLayout {
  return {
    columns: columns.map(parseColumn),
    cells: (object, nowMs) => cells(object as never, nowMs).map((cell) => cell ?? ''),
  };
}

function parseColumn(text: string): TableColumn {
  const [, name, type, wide] = /^(.*?)([#?]?)(\*?)$/.exec(text)!;
  return { name: name!, type: type === '#' ? 'integer' : type === '?' ? 'boolean' : 'string', wide: wide === '*' };
}

/** Elapsed seconds as kubectl shows ages; divisions truncate. */
export function humanDuration(seconds: number): string {
  if (seconds < -1) return '<invalid>';
  const s = Math.max(0, Math.trunc(seconds));
  const pair = (big: number, small: number, bigUnit: string, smallUnit: string) => {
    const rest = Math.trunc((s % big) / small);
    return `${Math.trunc(s / big)}${bigUnit}${rest === 0 ? '' : `${rest}${smallUnit}`}`;
  };
  if (s < 2 * MINUTE) return `${s}s`;
  if (s < 10 * MINUTE) return pair(MINUTE, 1, 'm', 's');
  if (s < 3 * HOUR) return `${Math.trunc(s / MINUTE)}m`;
  if (s < 8 * HOUR) return pair(HOUR, MINUTE, 'h', 'm');
  if (s < 48 * HOUR) return `${Math.trunc(s / HOUR)}h`;
  if (s < 8 * DAY) return pair(DAY, HOUR, 'd', 'h');
  if (s < 2 * YEAR) return `${Math.trunc(s / DAY)}d`;
  if (s < 8 * YEAR) return pair(YEAR, DAY, 'y', 'd');
  return `${Math.trunc(s / YEAR)}y`;
}

/** Age of an RFC 3339 time; `<unknown>` without one. */
export function since(time: string | null | undefined, nowMs: number): string {
  return time ? humanDuration((nowMs - Date.parse(time)) / 1000) : '<unknown>';
}

export function age(object: AnyObject, nowMs: number): string {
  return since(object.metadata?.creationTimestamp, nowMs);
}

export function nameOf(object: AnyObject): string {
  return object.metadata?.name ?? '';
}

export function labelsText(labels: Readonly<Record<string, string>> | undefined): string {
  const keys = Object.keys(labels ?? {}).sort();
  return keys.length === 0 ? '<none>' : keys.map((key) => `${key}=${labels![key]}`).join(',');
}

export function selectorText(selector: LabelSelector | undefined): string {
  const terms = Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => ({ key, text: `${key}=${value}` }));
  for (const { key, operator, values = [] } of selector?.matchExpressions ?? []) {
    const list = `(${[...values].sort().join(',')})`;
    const text =
      operator === 'Exists'
        ? key
        : operator === 'DoesNotExist'
          ? `!${key}`
          : `${key} ${operator.toLowerCase()} ${list}`;
    terms.push({ key, text });
  }
  if (terms.length === 0) return '<none>';
  return terms
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map((t) => t.text)
    .join(',');
}

interface WithContainers {
  readonly template?: { readonly spec?: { readonly containers?: readonly { name: string; image?: string }[] } };
}

/** Names and images of a template's containers. */
export function containersAndImages(spec: WithContainers | undefined): [string, string] {
  const containers = spec?.template?.spec?.containers ?? [];
  return [containers.map((c) => c.name).join(','), containers.map((c) => c.image ?? '').join(',')];
}

/** The first three, and how many more. */
export function firstThree(values: readonly string[], none: string): string {
  if (values.length === 0) return none;
  const more = values.length > 3 ? ` + ${values.length - 3} more...` : '';
  return `${values.slice(0, 3).join(',')}${more}`;
}

const ACCESS_MODES: Readonly<Record<string, string>> = {
  ReadWriteOnce: 'RWO',
  ReadOnlyMany: 'ROX',
  ReadWriteMany: 'RWX',
  ReadWriteOncePod: 'RWOP',
};

export function accessModes(modes: readonly string[] | undefined): string {
  return Object.keys(ACCESS_MODES)
    .filter((mode) => modes?.includes(mode))
    .map((mode) => ACCESS_MODES[mode])
    .join(',');
}
