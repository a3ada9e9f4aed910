// Sets and maps of nftables: which entry has a value in it. Single values are found by their text, so that a map of
// 60,000 Service addresses costs as little as one of ten; prefixes and ranges are tried one by one.
import { isIp } from '../../api/cidr.ts';
import { addressRangeTest, addressTest } from './address-test.ts';
import { asArray, isObject } from './json.ts';

/** An address, a port, a protocol, a device; several of them for a concatenation. */
export type Value = string | number | readonly Value[];

export interface Entry {
  /** As in a listing: `10.96.0.50 . tcp . 80`. */
  readonly key: string;
  /** What a map has there, as JSON; undefined in sets. */
  readonly data: unknown;
}

export interface Container {
  find(value: Value): Entry | undefined;
  readonly size: number;
}

export class Containers {
  readonly #byName = new Map<string, Container>();

  add(name: string, kind: 'set' | 'map', elements: readonly unknown[]): void {
    this.#byName.set(name, readElements(kind, elements));
  }

  get(name: string): Container | undefined {
    return this.#byName.get(name);
  }
}

/** `elem` of a set or map, or the list in an anonymous one. */
export function readElements(kind: 'set' | 'map', elements: readonly unknown[]): Container {
  const exact = new Map<string, Entry>();
  const ranges: { readonly matches: (value: Value) => boolean; readonly entry: Entry }[] = [];
  for (const element of elements) {
    const [wrapped, data] = kind === 'map' ? asArray(element) : [element, undefined];
    // With a comment, a timeout or a counter the value is wrapped.
    const key = isObject(wrapped) && isObject(wrapped.elem) ? wrapped.elem.val : wrapped;
    const entry = { key: textOfValue(key), data };
    if (isExact(key)) exact.set(entry.key, entry);
    else ranges.push({ matches: (value) => valueMatches(value, key), entry });
  }
  return {
    size: exact.size + ranges.length,
    find: (value) => exact.get(textOfValue(value)) ?? ranges.find((r) => r.matches(value))?.entry,
  };
}

/** `value` is `wanted`, or lies in it. */
export function valueMatches(value: Value, wanted: unknown): boolean {
  if (isObject(wanted)) {
    if (Array.isArray(wanted.concat)) {
      const parts = wanted.concat as unknown[];
      return Array.isArray(value) && parts.length === value.length && parts.every((w, i) => valueMatches(value[i]!, w));
    }
    if (isObject(wanted.prefix)) {
      return addressTest(`${String(wanted.prefix.addr)}/${String(wanted.prefix.len)}`)?.(String(value)) ?? false;
    }
    if (Array.isArray(wanted.range)) return inRange(value, wanted.range as unknown[]);
    if (isObject(wanted.elem)) return valueMatches(value, wanted.elem.val);
    return false;
  }
  if (wanted === '*') return true;
  return textOfValue(value) === textOfValue(wanted);
}

/** How a listing shows it. */
export function textOfValue(value: unknown): string {
  if (Array.isArray(value)) return value.map(textOfValue).join(' . ');
  if (!isObject(value)) return String(value);
  if (Array.isArray(value.concat)) return textOfValue(value.concat);
  if (isObject(value.prefix)) return `${textOfValue(value.prefix.addr)}/${textOfValue(value.prefix.len)}`;
  if (Array.isArray(value.range)) return value.range.map(textOfValue).join('-');
  if (isObject(value.elem)) return textOfValue(value.elem.val);
  return JSON.stringify(value);
}

function isExact(key: unknown): boolean {
  if (!isObject(key)) return key !== '*';
  return Array.isArray(key.concat) && key.concat.every((part) => !isObject(part));
}

function inRange(value: Value, [first, last]: readonly unknown[]): boolean {
  if (typeof value === 'number') return value >= Number(first) && value <= Number(last);
  return isIp(String(value)) && (addressRangeTest(String(first), String(last))?.(String(value)) ?? false);
}
