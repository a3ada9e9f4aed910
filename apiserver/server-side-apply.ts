// Server-side apply, in its small form: which fields a manager applied is kept in metadata.managedFields, appliers
// conflict with each other, and what a manager no longer applies goes away. Changes by update and by other patches are
// not tracked. Lists are merged by the keys of strategic merge. After apimachinery pkg/util/managedfields.
import { isDeepStrictEqual } from 'node:util';
import { formatTime } from '../api/meta.ts';
import { isObject, type JsonObject } from '../api/patch/json-value.ts';
import { type PatchSchema, patchSchemaOf } from '../api/patch/merge-keys.ts';
import { apiVersionOf, type ResourceType } from '../api/resources.ts';
import type { WriteParameters } from './query-options.ts';
import type { AnyObject } from './registry/definition.ts';
import { invalidObject, required } from './registry/field-errors.ts';
import { badRequest, StatusError } from './status-error.ts';

/** FieldsV1: `f:name` members, `k:{…}` list items by key, `v:…` set items; `.` for the item itself. */
export interface FieldSet {
  readonly [path: string]: FieldSet;
}

interface ManagedFields {
  manager?: string;
  operation?: string;
  apiVersion?: string;
  time?: string;
  fieldsType?: string;
  fieldsV1?: FieldSet;
  subresource?: string;
}

export interface ApplyRequest {
  /** Undefined: the object is to be created. */
  readonly current: AnyObject | undefined;
  readonly applied: AnyObject;
  readonly type: ResourceType;
  readonly subresource: string;
  readonly parameters: WriteParameters;
  readonly nowMs: number;
}

/** The object as it is wanted. @throws {StatusError} 400, 409 or 422 */
export function serverSideApply(request: ApplyRequest): AnyObject {
  const { current, applied, type, parameters, subresource, nowMs } = request;
  checkRequest(request);
  const schema = patchSchemaOf(type.kind);
  const fields = topLevelFields(applied, schema);
  const entries = (current?.metadata?.managedFields ?? []) as ManagedFields[];
  const isOwn = (e: ManagedFields) =>
    e.operation === 'Apply' && e.manager === parameters.fieldManager && (e.subresource ?? '') === subresource;
  const others = entries.filter((e) => !isOwn(e));
  const taken = current === undefined ? [] : conflictsOf(others, fields, applied, current, schema);
  if (taken.length > 0 && parameters.force !== true) throw conflictError(taken);
  const previous = entries.find(isOwn)?.fieldsV1 ?? {};
  const merged = mergeValue(current ?? {}, applied as JsonObject, schema) as AnyObject;
  const kept = others.map((e) => ({
    ...e,
    fieldsV1: subtract(
      e.fieldsV1 ?? {},
      taken.filter((t) => t.entry === e),
    ),
  }));
  const pruned = removeAbandoned(
    merged,
    previous,
    fields,
    kept.map((e) => e.fieldsV1),
    schema,
  ) as AnyObject;
  const entry: ManagedFields = {
    manager: parameters.fieldManager,
    operation: 'Apply',
    apiVersion: apiVersionOf(type),
    time: sameFields(entries.find(isOwn), fields) ?? formatTime(nowMs),
    fieldsType: 'FieldsV1',
    fieldsV1: fields,
    ...(subresource === '' ? {} : { subresource }),
  };
  const managedFields = [...kept, entry] as NonNullable<AnyObject['metadata']>['managedFields'] & object;
  const { resourceVersion: _, ...metadata } = pruned.metadata ?? {};
  const version = applied.metadata?.resourceVersion;
  return { ...pruned, metadata: { ...metadata, managedFields, ...(version ? { resourceVersion: version } : {}) } };
}

/** An unchanged apply keeps its time, so that it is no write at all. */
function sameFields(entry: ManagedFields | undefined, fields: FieldSet): string | undefined {
  return entry !== undefined && isDeepStrictEqual(entry.fieldsV1, fields) ? entry.time : undefined;
}

function checkRequest({ current, applied, type, parameters }: ApplyRequest): void {
  if (parameters.fieldManager === '') {
    throw invalidObject('meta.k8s.io', 'PatchOptions', '', [required('fieldManager', 'is required for apply patch')]);
  }
  if (applied.kind !== type.kind || applied.apiVersion !== apiVersionOf(type)) {
    throw badRequest(`the apply patch must have kind ${type.kind} and apiVersion ${apiVersionOf(type)}`);
  }
  if ((applied.metadata?.managedFields?.length ?? 0) > 0) throw badRequest('metadata.managedFields must be nil');
  if (current === undefined && (applied.metadata?.uid || applied.metadata?.resourceVersion)) {
    throw new StatusError(409, 'Conflict', 'uid or resourceVersion given for an object that does not exist');
  }
}

/** Names, versions and server-set metadata are nobody's. */
const UNOWNED_METADATA = new Set([
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'selfLink',
  'managedFields',
]);

function topLevelFields(applied: AnyObject, schema: PatchSchema): FieldSet {
  const { kind: _k, apiVersion: _a, metadata, ...rest } = applied;
  const owned = Object.fromEntries(Object.entries(metadata ?? {}).filter(([key]) => !UNOWNED_METADATA.has(key)));
  const whole = Object.keys(owned).length === 0 ? rest : { ...rest, metadata: owned };
  return ownedFields(whole, schema);
}

function ownedFields(value: JsonObject, schema: PatchSchema): FieldSet {
  const fields: Record<string, FieldSet> = {};
  for (const [key, member] of Object.entries(value)) {
    const rule = schema.field(key);
    const below = schema.below(key);
    if (isObject(member) && rule.replace !== true) fields[`f:${key}`] = ownedFields(member, below);
    else if (Array.isArray(member) && rule.mergeKey !== undefined)
      fields[`f:${key}`] = ownedItems(member, rule.mergeKey, below);
    else if (Array.isArray(member) && rule.union) {
      fields[`f:${key}`] = Object.fromEntries(member.map((item) => [`v:${JSON.stringify(item)}`, {}]));
    } else fields[`f:${key}`] = {};
  }
  return fields;
}

function ownedItems(items: readonly unknown[], mergeKey: string, schema: PatchSchema): FieldSet {
  return Object.fromEntries(
    items.filter(isObject).map((item) => [itemPath(item, mergeKey), { '.': {}, ...ownedFields(item, schema) }]),
  );
}

function itemPath(item: JsonObject, mergeKey: string): string {
  return `k:${JSON.stringify({ [mergeKey]: item[mergeKey] })}`;
}

function mergeValue(live: unknown, applied: JsonObject, schema: PatchSchema): JsonObject {
  const result: Record<string, unknown> = isObject(live) ? { ...live } : {};
  for (const [key, member] of Object.entries(applied)) {
    const rule = schema.field(key);
    const known = result[key];
    if (isObject(member) && rule.replace !== true) result[key] = mergeValue(known, member, schema.below(key));
    else if (Array.isArray(member) && rule.mergeKey !== undefined && Array.isArray(known)) {
      result[key] = mergeItems(known, member, rule.mergeKey, schema.below(key));
    } else if (Array.isArray(member) && rule.union && Array.isArray(known))
      result[key] = [...new Set([...known, ...member])];
    else result[key] = member;
  }
  return result;
}

function mergeItems(
  live: readonly unknown[],
  applied: readonly unknown[],
  mergeKey: string,
  schema: PatchSchema,
): unknown[] {
  const result = [...live];
  for (const item of applied) {
    if (!isObject(item)) continue;
    const at = result.findIndex((known) => isObject(known) && known[mergeKey] === item[mergeKey]);
    if (at < 0) result.push(item);
    else result[at] = mergeValue(result[at], item, schema);
  }
  return result;
}

/** Takes away what this manager applied before, does not apply now, and nobody else applied. */
function removeAbandoned(
  value: unknown,
  previous: FieldSet,
  next: FieldSet,
  others: readonly FieldSet[],
  schema: PatchSchema,
): unknown {
  if (!isObject(value)) return value;
  const result: Record<string, unknown> = { ...value };
  for (const path of Object.keys(previous)) {
    if (!path.startsWith('f:')) continue;
    const key = path.slice(2);
    const claims = others.map((o) => o[path]).filter((o) => o !== undefined);
    if (next[path] === undefined && claims.length === 0) {
      delete result[key];
      continue;
    }
    const [before, now] = [previous[path]!, next[path] ?? {}];
    const { mergeKey } = schema.field(key);
    result[key] =
      mergeKey !== undefined && Array.isArray(result[key])
        ? abandonItems(result[key], mergeKey, before, now, claims, schema.below(key))
        : removeAbandoned(result[key], before, now, claims, schema.below(key));
  }
  return result;
}

function abandonItems(
  items: readonly unknown[],
  mergeKey: string,
  previous: FieldSet,
  next: FieldSet,
  others: readonly FieldSet[],
  schema: PatchSchema,
): unknown[] {
  return items.flatMap((item) => {
    if (!isObject(item)) return [item];
    const path = itemPath(item, mergeKey);
    const before = previous[path];
    if (before === undefined) return [item];
    const claims = others.map((o) => o[path]).filter((o) => o !== undefined);
    if (next[path] === undefined && claims.length === 0) return [];
    return [removeAbandoned(item, before, next[path] ?? {}, claims, schema)];
  });
}

interface Taken {
  readonly entry: ManagedFields;
  readonly path: readonly string[];
}

/** Fields another applier owns and that this one would change. */
function conflictsOf(
  others: readonly ManagedFields[],
  fields: FieldSet,
  applied: unknown,
  live: unknown,
  schema: PatchSchema,
): Taken[] {
  return others
    .filter((e) => e.operation === 'Apply')
    .flatMap((entry) =>
      contested(entry.fieldsV1 ?? {}, fields, applied, live, schema, []).map((path) => ({ entry, path })),
    );
}

function contested(
  theirs: FieldSet,
  ours: FieldSet,
  applied: unknown,
  live: unknown,
  schema: PatchSchema,
  at: readonly string[],
): string[][] {
  return Object.keys(ours).flatMap((path) => {
    const their = theirs[path];
    if (their === undefined || path === '.') return [];
    const key = path.slice(2);
    const [a, b] = [step(applied, path), step(live, path)];
    const isItem = path.startsWith('k:');
    const rule = isItem ? {} : schema.field(key);
    // A map that is merged is nobody's: only what is in it can be contested.
    if ((isObject(a) && rule.replace !== true) || (Array.isArray(a) && rule.mergeKey !== undefined)) {
      return contested(their, ours[path]!, a, b, isItem ? schema : schema.below(key), [...at, path]);
    }
    return isDeepStrictEqual(a, b) ? [] : [[...at, path]];
  });
}

function step(value: unknown, path: string): unknown {
  const rest = path.slice(2);
  if (path.startsWith('f:')) return isObject(value) ? value[rest] : undefined;
  if (!Array.isArray(value)) return undefined;
  const wanted = JSON.parse(rest) as unknown;
  if (!isObject(wanted)) return value.includes(wanted) ? wanted : undefined;
  return value.find((item) => isObject(item) && Object.entries(wanted).every(([k, v]) => item[k] === v));
}

/** Fields taken by force belong to their former manager no more. */
function subtract(fields: FieldSet, taken: readonly Taken[]): FieldSet {
  let result = fields;
  for (const { path } of taken) result = without(result, path);
  return result;
}

function without(fields: FieldSet, [first, ...rest]: readonly string[]): FieldSet {
  if (first === undefined || fields[first] === undefined) return fields;
  const { [first]: member, ...others } = fields;
  return rest.length === 0 ? others : { ...others, [first]: without(member!, rest) };
}

function conflictError(taken: readonly Taken[]): StatusError {
  // The version is told of updaters alone: an applier is the same one in each.
  const managerText = ({ entry }: Taken) =>
    `"${entry.manager}"${entry.subresource ? ` with subresource "${entry.subresource}"` : ''}`;
  const fieldText = ({ path }: Taken) =>
    path
      .map((p) => (p.startsWith('f:') ? `.${p.slice(2)}` : `[${p.slice(2).replace(/^\{"(.*)":(.*)\}$/, '$1=$2')}]`))
      .join('');
  const causes = taken.map((t) => ({
    reason: 'FieldManagerConflict',
    field: fieldText(t),
    message: `conflict with ${managerText(t)}`,
  }));
  const [only] = taken;
  const message =
    taken.length === 1
      ? `Apply failed with 1 conflict: conflict with ${managerText(only!)}: ${fieldText(only!)}`
      : `Apply failed with ${taken.length} conflicts: ${[...Map.groupBy(taken, managerText)]
          .map(([manager, list]) => `conflicts with ${manager}:\n${list.map((t) => `- ${fieldText(t)}`).join('\n')}`)
          .join('\n')}`;
  return new StatusError(409, 'Conflict', message, { causes });
}
