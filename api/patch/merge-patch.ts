// JSON Merge Patch (RFC 7386): null removes, objects merge, everything else replaces.
import { isObject, jsonEqual, ownValue, presentKeys, setOwn } from './json-value.ts';

/** The merged value. Neither argument is changed; untouched parts are shared with `value`. */
export function applyMergePatch(value: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const result: Record<string, unknown> = isObject(value) ? { ...value } : {};
  for (const [key, change] of Object.entries(patch)) {
    if (change === undefined) continue;
    if (change === null) delete result[key];
    else setOwn(result, key, applyMergePatch(ownValue(result, key), change));
  }
  return result;
}

/** The smallest merge patch from `original` to `modified`: `{}` when they are equal. Nulls inside cannot be expressed. */
export function createMergePatch(original: unknown, modified: unknown): unknown {
  if (!isObject(original) || !isObject(modified)) return modified;
  const patch: Record<string, unknown> = {};
  for (const key of presentKeys(original)) if (ownValue(modified, key) === undefined) setOwn(patch, key, null);
  for (const key of presentKeys(modified)) {
    const [before, after] = [ownValue(original, key), modified[key]];
    if (!jsonEqual(before, after)) setOwn(patch, key, createMergePatch(before, after));
  }
  return patch;
}
