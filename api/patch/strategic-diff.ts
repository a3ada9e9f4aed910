// The strategic merge patch that turns one object into another: what the node sends for pod and node status, so that
// only what changed travels and other writers' fields stay. After strategicpatch.CreateTwoWayMergePatch. No $retainKeys
// is written: members that vanished are nulled one by one, which has the same effect.
import { isObject, type JsonObject, jsonEqual, ownValue, presentKeys, setOwn } from './json-value.ts';
import { type PatchSchema, patchSchemaOf } from './merge-keys.ts';
import { DELETE_PREFIX, PATCH_DIRECTIVE, SET_ORDER_PREFIX } from './strategic-merge.ts';

/** `{}` when the objects are equal. Applying it to `original` gives `modified`. */
export function createStrategicMerge(kind: string, original: unknown, modified: unknown): JsonObject {
  const [before, after] = [isObject(original) ? original : {}, isObject(modified) ? modified : {}];
  return diffMaps(before, after, patchSchemaOf(kind));
}

function diffMaps(original: JsonObject, modified: JsonObject, schema: PatchSchema): JsonObject {
  const patch: Record<string, unknown> = {};
  for (const name of presentKeys(original)) if (ownValue(modified, name) === undefined) setOwn(patch, name, null);
  for (const name of presentKeys(modified)) {
    const [before, after] = [ownValue(original, name), modified[name]];
    if (!jsonEqual(before, after)) diffField(patch, name, before, after, schema);
  }
  return patch;
}

function diffField(patch: Record<string, unknown>, name: string, before: unknown, after: unknown, schema: PatchSchema) {
  const field = schema.field(name);
  const below = schema.below(name);
  if (isObject(before) && isObject(after)) {
    setOwn(patch, name, field.replace ? { ...after, [PATCH_DIRECTIVE]: 'replace' } : diffMaps(before, after, below));
  } else if (Array.isArray(before) && Array.isArray(after) && field.mergeKey !== undefined) {
    diffKeyedLists(patch, name, before, after, field.mergeKey, below);
  } else if (Array.isArray(before) && Array.isArray(after) && field.union) {
    diffSets(patch, name, before, after);
  } else setOwn(patch, name, after);
}

function diffKeyedLists(
  patch: Record<string, unknown>,
  name: string,
  before: readonly unknown[],
  after: readonly unknown[],
  mergeKey: string,
  items: PatchSchema,
): void {
  if (!hasDistinctKeys(before, mergeKey) || !hasDistinctKeys(after, mergeKey)) {
    setOwn(patch, name, replacement(after));
    return;
  }
  const idOf = (item: JsonObject) => ownValue(item, mergeKey);
  const old = new Map(before.map((item) => [idOf(item), item]));
  const kept = new Set(after.map(idOf));
  const changes: JsonObject[] = [];
  for (const item of after) {
    const was = old.get(idOf(item));
    if (was === undefined) changes.push(item);
    else if (!jsonEqual(was, item)) changes.push({ ...diffMaps(was, item, items), [mergeKey]: idOf(item) });
  }
  for (const id of old.keys()) if (!kept.has(id)) changes.push({ [PATCH_DIRECTIVE]: 'delete', [mergeKey]: id });
  if (changes.length > 0) setOwn(patch, name, changes);
  setOwn(
    patch,
    SET_ORDER_PREFIX + name,
    after.map((item) => ({ [mergeKey]: idOf(item) })),
  );
}

/** Lists that break the rule of one item per key (two addresses of one type) can only be replaced as a whole. */
function replacement(list: readonly unknown[]): readonly unknown[] {
  return [{ [PATCH_DIRECTIVE]: 'replace' }, ...list];
}

function hasDistinctKeys(list: readonly unknown[], mergeKey: string): list is readonly JsonObject[] {
  const ids = list.map((item) => (isObject(item) ? ownValue(item, mergeKey) : undefined));
  return ids.every((id) => id !== undefined && typeof id !== 'object') && new Set(ids).size === ids.length;
}

function diffSets(patch: Record<string, unknown>, name: string, before: readonly unknown[], after: readonly unknown[]) {
  const added = after.filter((value) => !before.includes(value));
  const removed = before.filter((value) => !after.includes(value));
  if (added.length > 0) setOwn(patch, name, added);
  if (removed.length > 0) setOwn(patch, DELETE_PREFIX + name, removed);
  setOwn(patch, SET_ORDER_PREFIX + name, after);
}
