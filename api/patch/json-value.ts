// What the patch formats share: JSON values, equality, and the error for a patch that cannot be applied.

export type JsonObject = Readonly<Record<string, unknown>>;

export type PatchFault =
  /** The patch itself is malformed: 400. */
  | 'BadPatch'
  /** The patch is sound but does not fit the object (missing path, failed test): 422. */
  | 'NotApplicable'
  /** More operations than allowed: 413. */
  | 'TooLarge';

export class PatchError extends Error {
  override readonly name = 'PatchError';
  readonly fault: PatchFault;

  constructor(fault: PatchFault, message: string) {
    super(message);
    this.fault = fault;
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Deep equality of JSON values; a member that is `undefined` counts as absent, as in JSON text. */
export function jsonEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, i) => jsonEqual(item, b[i]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const keys = presentKeys(a);
  return (
    keys.length === presentKeys(b).length && keys.every((k) => ownValue(b, k) !== undefined && jsonEqual(a[k], b[k]))
  );
}

/** Keys whose value is not `undefined`. */
export function presentKeys(object: JsonObject): string[] {
  return Object.keys(object).filter((key) => object[key] !== undefined);
}

/** An own member, never one of Object.prototype: patches name members like `constructor` too. */
export function ownValue(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Sets an own member even when it is called `__proto__`. */
export function setOwn(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  } else object[key] = value;
}
