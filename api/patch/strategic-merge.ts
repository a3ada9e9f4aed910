// Applies a strategic merge patch: a merge patch whose lists are merged by key where the kind says so, with directives
// ($patch, $retainKeys, $setElementOrder, $deleteFromPrimitiveList). After apimachinery pkg/util/strategicpatch.
import { isObject, type JsonObject, jsonEqual, ownValue, PatchError, setOwn } from './json-value.ts';
import { type FieldPatch, type PatchSchema, patchSchemaOf } from './merge-keys.ts';

export const PATCH_DIRECTIVE = '$patch';
const RETAIN_KEYS = '$retainKeys';
export const SET_ORDER_PREFIX = '$setElementOrder/';
export const DELETE_PREFIX = '$deleteFromPrimitiveList/';

/**
 * The patched object, without directives. Neither argument is changed; untouched parts are shared with `object`.
 * @param kind Of the object, e.g. `Pod`: decides how lists are merged.
 * @throws {PatchError} BadPatch when directives are malformed or a list item lacks its merge key.
 */
export function applyStrategicMerge<T>(kind: string, object: T, patch: unknown): T {
  if (!isObject(patch)) throw new PatchError('BadPatch', 'a strategic merge patch is an object');
  return mergeMap(object, patch, patchSchemaOf(kind)) as T;
}

function mergeMap(original: unknown, patch: JsonObject, schema: PatchSchema): JsonObject {
  const directive = directiveOf(patch);
  // A replacing map is merged into nothing: that drops nulls and nested directives alike.
  const base = directive === undefined || directive === 'merge' ? original : undefined;
  if (directive === 'delete') return {};
  const result: Record<string, unknown> = isObject(base) ? { ...base } : {};
  retainKeys(result, patch);
  for (const name of fieldNames(patch)) {
    const change = ownValue(patch, name);
    if (change === null) delete result[name];
    else mergeField(result, name, patch, schema);
  }
  return result;
}

/** `$patch` of a map or list item. @throws {PatchError} for an unknown one. */
function directiveOf(patch: JsonObject): 'merge' | 'replace' | 'delete' | undefined {
  const directive = ownValue(patch, PATCH_DIRECTIVE);
  if (directive === undefined || directive === 'merge' || directive === 'replace' || directive === 'delete')
    return directive;
  throw new PatchError('BadPatch', `unknown $patch directive ${JSON.stringify(directive)}`);
}

/** Fields the patch speaks of, be it only through a directive. */
function fieldNames(patch: JsonObject): ReadonlySet<string> {
  const names = new Set<string>();
  for (const [key, value] of Object.entries(patch)) {
    if (value === undefined || key === PATCH_DIRECTIVE || key === RETAIN_KEYS) continue;
    if (key.startsWith(SET_ORDER_PREFIX)) names.add(key.slice(SET_ORDER_PREFIX.length));
    else if (key.startsWith(DELETE_PREFIX)) names.add(key.slice(DELETE_PREFIX.length));
    else names.add(key);
  }
  return names;
}

function retainKeys(result: Record<string, unknown>, patch: JsonObject): void {
  const keep = listDirective(patch, RETAIN_KEYS);
  if (keep === undefined) return;
  for (const name of fieldNames(patch)) {
    if (ownValue(patch, name) !== null && !keep.includes(name)) {
      throw new PatchError('BadPatch', `$retainKeys does not contain ${JSON.stringify(name)}, which the patch sets`);
    }
  }
  for (const key of Object.keys(result)) if (!keep.includes(key)) delete result[key];
}

function listDirective(patch: JsonObject, key: string): readonly unknown[] | undefined {
  const value = ownValue(patch, key);
  if (value === undefined || Array.isArray(value)) return value;
  throw new PatchError('BadPatch', `${key} must be a list`);
}

function mergeField(result: Record<string, unknown>, name: string, patch: JsonObject, schema: PatchSchema): void {
  const before = ownValue(result, name);
  const change = ownValue(patch, name);
  const field = schema.field(name);
  if (isObject(change)) {
    setOwn(result, name, mergeMap(field.replace ? undefined : before, change, schema.below(name)));
    return;
  }
  if (change !== undefined && !Array.isArray(change)) {
    setOwn(result, name, change);
    return;
  }
  const order = listDirective(patch, SET_ORDER_PREFIX + name);
  const removed = listDirective(patch, DELETE_PREFIX + name);
  const list = Array.isArray(before) ? (before as readonly unknown[]) : undefined;
  if (change === undefined && list === undefined) return; // order or removals for a list that is not there
  const merged = mergeList(list, change, order, field, schema.below(name));
  setOwn(result, name, removed === undefined ? merged : merged.filter((v) => !removed.some((r) => jsonEqual(r, v))));
}

function mergeList(
  existing: readonly unknown[] | undefined,
  change: readonly unknown[] | undefined,
  order: readonly unknown[] | undefined,
  field: FieldPatch,
  items: PatchSchema,
): readonly unknown[] {
  const { mergeKey } = field;
  const original = existing ?? [];
  if (mergeKey === undefined && !field.union) return change ?? original;
  const identify = mergeKey === undefined ? (item: unknown) => item : (item: unknown) => mergeKeyOf(item, mergeKey);
  const ids = change?.filter((item) => mergeKey === undefined || !hasDirective(item)).map(identify);
  if (order !== undefined && change !== undefined) requireOrdered(change, order.map(identify), identify);
  // A list that is not there yet is taken as it comes, double keys included, as upstream does.
  const isNew = existing === undefined && mergeKey !== undefined;
  if (change !== undefined && (isNew || change.some((item) => isObject(item) && directiveOf(item) === 'replace'))) {
    return change.filter((item) => !hasDirective(item)).map((item) => mergeItem(undefined, item, items));
  }
  const merged =
    mergeKey === undefined
      ? distinct([...original, ...(change ?? [])])
      : mergeMapsByKey(original, change ?? [], mergeKey, items);
  const wanted = order?.map(identify) ?? ids ?? [];
  return arrange(merged, wanted, original.map(identify), identify);
}

function hasDirective(item: unknown): boolean {
  return isObject(item) && directiveOf(item) !== undefined && directiveOf(item) !== 'merge';
}

function mergeKeyOf(item: unknown, mergeKey: string): unknown {
  const id = isObject(item) ? ownValue(item, mergeKey) : undefined;
  if (id !== undefined && !isObject(id) && !Array.isArray(id)) return id;
  throw new PatchError('BadPatch', `${JSON.stringify(item)} does not contain declared merge key: ${mergeKey}`);
}

/** What the patch sets stands in the order list, and in that order. */
function requireOrdered(change: readonly unknown[], order: readonly unknown[], identify: (item: unknown) => unknown) {
  let at = 0;
  for (const id of change.filter((item) => !hasDirective(item)).map(identify)) {
    const found = order.indexOf(id, at);
    if (found < 0) {
      const fault = order.includes(id) ? 'has in another order' : 'does not list';
      const what = `${JSON.stringify(id)}, which the patch sets`;
      throw new PatchError('BadPatch', `$setElementOrder ${fault} ${what}`);
    }
    at = found + 1;
  }
}

function distinct(list: readonly unknown[]): readonly unknown[] {
  return [...new Set(list)];
}

function mergeItem(before: unknown, item: unknown, items: PatchSchema): unknown {
  return isObject(item) ? mergeMap(before, item, items) : item;
}

/** Items of `change` merged into those of the same key, deletions applied, the rest appended. */
function mergeMapsByKey(
  original: readonly unknown[],
  change: readonly unknown[],
  mergeKey: string,
  items: PatchSchema,
): readonly unknown[] {
  const result = [...original];
  for (const item of change) {
    const id = mergeKeyOf(item, mergeKey);
    const patch = item as JsonObject;
    const at = result.findIndex((existing) => mergeKeyOf(existing, mergeKey) === id);
    if (directiveOf(patch) === 'delete') {
      for (let i = result.length - 1; i >= 0; i--) if (mergeKeyOf(result[i], mergeKey) === id) result.splice(i, 1);
    } else if (at < 0) result.push(mergeItem(undefined, patch, items));
    else result[at] = mergeMap(result[at], patch, items);
  }
  return result;
}

/**
 * Items that `wanted` names, in its order; the others keep their order among themselves and their place before the
 * wanted items that followed them in `server`. Wanted items new to the server come before the others, as upstream
 * has it: a container added by `kubectl patch` is the first.
 */
function arrange(
  merged: readonly unknown[],
  wanted: readonly unknown[],
  server: readonly unknown[],
  identify: (item: unknown) => unknown,
): readonly unknown[] {
  const wantedAt = positions(wanted);
  const serverAt = positions(server);
  const place = (at: ReadonlyMap<unknown, number>) => (item: unknown) =>
    at.get(identify(item)) ?? Number.MAX_SAFE_INTEGER;
  const sortBy = (list: unknown[], of: (item: unknown) => number) => list.sort((a, b) => of(a) - of(b));
  const ordered = sortBy(
    merged.filter((item) => wantedAt.has(identify(item))),
    place(wantedAt),
  );
  const others = sortBy(
    merged.filter((item) => !wantedAt.has(identify(item))),
    place(serverAt),
  );
  const result: unknown[] = [];
  let i = 0;
  for (const item of ordered) {
    const limit = serverAt.get(identify(item)) ?? -1;
    while (i < others.length && (serverAt.get(identify(others[i])) ?? Number.MAX_SAFE_INTEGER) < limit)
      result.push(others[i++]);
    result.push(item);
  }
  return [...result, ...others.slice(i)];
}

function positions(ids: readonly unknown[]): ReadonlyMap<unknown, number> {
  const at = new Map<unknown, number>();
  for (const [i, id] of ids.entries()) if (!at.has(id)) at.set(id, i);
  return at;
}
