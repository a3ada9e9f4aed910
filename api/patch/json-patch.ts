// JSON Patch (RFC 6902) on immutable values: untouched parts are shared with the input, which is never changed.
import { isObject, type JsonObject, jsonEqual, ownValue, PatchError, setOwn } from './json-value.ts';

/** The API server's bound on operations per patch. */
export const MAX_OPERATIONS = 10_000;

/**
 * The value after all operations, or an error and no change at all.
 * @throws {PatchError} BadPatch for malformed operations, NotApplicable for a missing path or failed test, TooLarge.
 */
export function applyJsonPatch(value: unknown, operations: unknown): unknown {
  if (!Array.isArray(operations)) throw new PatchError('BadPatch', 'a JSON patch is a list of operations');
  if (operations.length > MAX_OPERATIONS) {
    throw new PatchError(
      'TooLarge',
      `The allowed maximum operations in a JSON patch is ${MAX_OPERATIONS}, got ${operations.length}`,
    );
  }
  return operations.reduce(applyOperation, value);
}

function applyOperation(root: unknown, operation: unknown): unknown {
  if (!isObject(operation)) throw new PatchError('BadPatch', 'an operation of a JSON patch is an object');
  const path = pointerOf(operation, 'path');
  switch (operation.op) {
    case 'add':
      return addAt(root, path, operandOf(operation));
    case 'remove':
      return removeAt(root, path);
    case 'replace':
      return replaceAt(root, path, operandOf(operation));
    case 'move': {
      const from = pointerOf(operation, 'from');
      if (path.length > from.length && from.every((part, i) => part === path[i])) {
        throw new PatchError('NotApplicable', `cannot move ${text(from)} into itself`);
      }
      return addAt(removeAt(root, from), path, valueAt(root, from));
    }
    case 'copy':
      return addAt(root, path, valueAt(root, pointerOf(operation, 'from')));
    case 'test':
      if (jsonEqual(valueAt(root, path), operandOf(operation))) return root;
      throw new PatchError('NotApplicable', `testing value ${text(path)} failed`);
    default:
      throw new PatchError('BadPatch', `unknown operation ${JSON.stringify(operation.op)} in a JSON patch`);
  }
}

function operandOf(operation: JsonObject): unknown {
  if (!Object.hasOwn(operation, 'value')) throw new PatchError('BadPatch', `${String(operation.op)} needs a value`);
  return operation.value;
}

/** Reads a JSON pointer (RFC 6901) into its parts; [] is the whole document. */
function pointerOf(operation: JsonObject, member: 'path' | 'from'): readonly string[] {
  const pointer = operation[member];
  if (typeof pointer !== 'string' || (pointer !== '' && !pointer.startsWith('/'))) {
    throw new PatchError('BadPatch', `${member} must be a JSON pointer that starts with /`);
  }
  if (pointer === '') return [];
  // ~1 first would turn ~01 into / instead of ~1.
  return pointer
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function text(path: readonly string[]): string {
  return path.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

function missing(path: readonly string[]): PatchError {
  return new PatchError('NotApplicable', `${text(path)} does not exist`);
}

/** Index of an existing item, or undefined. */
function indexIn(list: readonly unknown[], part: string): number | undefined {
  return /^(0|[1-9]\d{0,15})$/.test(part) && Number(part) < list.length ? Number(part) : undefined;
}

function child(parent: unknown, part: string): unknown {
  if (Array.isArray(parent)) {
    const index = indexIn(parent, part);
    return index === undefined ? undefined : parent[index];
  }
  return isObject(parent) ? ownValue(parent, part) : undefined;
}

function valueAt(root: unknown, path: readonly string[]): unknown {
  let at = root;
  for (const part of path) {
    at = child(at, part);
    if (at === undefined) throw missing(path);
  }
  return at;
}

/** Copies the spine from the root to the parent of `path` and lets `edit` change the copy of the parent. */
function editParent(
  root: unknown,
  path: readonly string[],
  edit: (parent: unknown[] | Record<string, unknown>, last: string) => void,
  depth = 0,
): unknown {
  const copy = Array.isArray(root) ? [...root] : isObject(root) ? { ...root } : undefined;
  if (copy === undefined) throw missing(path.slice(0, depth + 1));
  const part = path[depth]!;
  if (depth === path.length - 1) {
    edit(copy, part);
    return copy;
  }
  const next = child(root, part);
  if (next === undefined) throw missing(path.slice(0, depth + 1));
  const edited = editParent(next, path, edit, depth + 1);
  if (Array.isArray(copy)) copy[Number(part)] = edited;
  else setOwn(copy, part, edited);
  return copy;
}

function addAt(root: unknown, path: readonly string[], value: unknown): unknown {
  if (path.length === 0) return value;
  return editParent(root, path, (parent, last) => {
    if (!Array.isArray(parent)) return setOwn(parent, last, value);
    const index = last === '-' || last === String(parent.length) ? parent.length : indexIn(parent, last);
    if (index === undefined) throw missing(path);
    parent.splice(index, 0, value);
  });
}

function removeAt(root: unknown, path: readonly string[]): unknown {
  if (path.length === 0) return null;
  return editParent(root, path, (parent, last) => {
    if (child(parent, last) === undefined) throw missing(path);
    if (Array.isArray(parent)) parent.splice(Number(last), 1);
    else delete parent[last];
  });
}

function replaceAt(root: unknown, path: readonly string[], value: unknown): unknown {
  if (path.length === 0) return value;
  return editParent(root, path, (parent, last) => {
    if (child(parent, last) === undefined) throw missing(path);
    if (Array.isArray(parent)) parent[Number(last)] = value;
    else setOwn(parent, last, value);
  });
}
