// Holds objects against the types of their kind: unknown members are dropped and reported, nulls that stand for
// "absent" are dropped, quantities and times get their canonical text, and a value of the wrong type is refused.
import type { KubeObject } from '../api/meta.ts';
import { isObject } from '../api/patch/json-value.ts';
import { canonicalQuantity } from '../api/quantity.ts';
import type { ResourceType } from '../api/resources.ts';
import { badRequest } from './status-error.ts';
import type { GroupVersionKind } from './subresource.ts';

/**
 * Member → type. Types: `s` string, `i` integer, `n` number, `b` boolean, `q` quantity, `t` time, `u` microtime, `p`
 * integer or string, `y` base64 bytes, `*` anything; `[]T` a list, `{}T` a map of T, otherwise the name of a type.
 */
export type TypeTable = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** Key of a kind in the table, e.g. `rbac/v1.Role`. */
export function schemaKeyOf({ group, version, kind }: GroupVersionKind): string {
  return `${group === '' ? 'core' : group.split('.')[0]!}/${version}.${kind}`;
}

export interface FieldReport {
  readonly unknown: readonly string[];
  readonly duplicates: readonly string[];
}

export class SchemaChecker {
  readonly #types: TypeTable;

  constructor(types: TypeTable) {
    this.#types = types;
  }

  /**
   * Changes `object` in place. @returns paths of the members that were dropped because the kind has no such member.
   * @throws {StatusError} 400 for a value of the wrong type.
   */
  normalise(object: KubeObject, schema: string | undefined, type: ResourceType): string[] {
    const members = schema === undefined ? undefined : this.#types[schema];
    if (members === undefined) return [];
    const unknown: string[] = [];
    this.#members(object as Record<string, unknown>, members, '', { unknown, type });
    return unknown;
  }

  #members(value: Record<string, unknown>, members: Readonly<Record<string, string>>, path: string, run: Run): void {
    for (const key of Object.keys(value)) {
      const at = path === '' ? key : `${path}.${key}`;
      const type = Object.hasOwn(members, key) ? members[key]! : undefined;
      if (type === undefined) {
        run.unknown.push(at);
        delete value[key];
      } else if (value[key] === null) delete value[key];
      else value[key] = this.#value(value[key], type, at, run);
    }
  }

  #value(value: unknown, type: string, path: string, run: Run): unknown {
    if (type.startsWith('[]')) {
      if (!Array.isArray(value)) throw wrongType(value, 'array', path, run);
      return value.map((item, i) => (item === null ? item : this.#value(item, type.slice(2), `${path}[${i}]`, run)));
    }
    if (type.startsWith('{}')) {
      if (!isObject(value)) throw wrongType(value, 'object', path, run);
      return Object.fromEntries(
        Object.entries(value)
          .filter(([, member]) => member !== null)
          .map(([key, member]) => [key, this.#value(member, type.slice(2), `${path}.${key}`, run)]),
      );
    }
    const members = this.#types[type];
    if (members === undefined) return scalar(value, type, path, run);
    if (!isObject(value)) throw wrongType(value, 'object', path, run);
    this.#members(value as Record<string, unknown>, members, path, run);
    return value;
  }
}

interface Run {
  readonly unknown: string[];
  readonly type: ResourceType;
}

const MAX_INT64 = 2 ** 63;

function scalar(value: unknown, type: string, path: string, run: Run): unknown {
  switch (type) {
    case 's':
    case 'y':
      if (typeof value !== 'string') throw wrongType(value, 'string', path, run);
      return value;
    case 'b':
      if (typeof value !== 'boolean') throw wrongType(value, 'bool', path, run);
      return value;
    case 'i':
      if (!Number.isInteger(value) || Math.abs(value as number) > MAX_INT64) throw wrongType(value, 'int64', path, run);
      return value;
    case 'n':
      if (typeof value !== 'number') throw wrongType(value, 'float64', path, run);
      return value;
    case 'p':
      if (typeof value === 'string' || Number.isInteger(value)) return value;
      throw wrongType(value, 'intstr.IntOrString', path, run);
    case 'q':
      return quantity(value, path, run);
    case 't':
    case 'u':
      return time(value, type, path, run);
    default:
      return value;
  }
}

function quantity(value: unknown, path: string, run: Run): string {
  if (typeof value !== 'string' && typeof value !== 'number') throw wrongType(value, 'resource.Quantity', path, run);
  try {
    return canonicalQuantity(value);
  } catch {
    const pattern = "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    throw refused(run, `quantities must match the regular expression ${pattern}`);
  }
}

function time(value: unknown, type: 't' | 'u', path: string, run: Run): string {
  if (typeof value !== 'string') throw wrongType(value, 'Time', path, run);
  const ms = Date.parse(value);
  if (!/^\d{4}-\d{2}-\d{2}[Tt]/.test(value) || Number.isNaN(ms)) {
    throw refused(run, `parsing time ${JSON.stringify(value)} as "2006-01-02T15:04:05Z07:00": cannot parse`);
  }
  // Microseconds are finer than Date: text that is canonical already is kept.
  if (type === 'u') return /\.\d{6}Z$/.test(value) ? value : `${new Date(ms).toISOString().slice(0, 23)}000Z`;
  return /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/.test(value) ? value : `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function wrongType(value: unknown, goType: string, path: string, run: Run): Error {
  const found = Array.isArray(value)
    ? 'array'
    : value === null
      ? 'null'
      : typeof value === 'boolean'
        ? 'bool'
        : typeof value;
  return refused(
    run,
    `json: cannot unmarshal ${found} into Go struct field ${run.type.kind}.${path} of type ${goType}`,
  );
}

function refused({ type }: Run, why: string): Error {
  return badRequest(`${type.kind} in version "${type.version}" cannot be handled as a ${type.kind}: ${why}`);
}
