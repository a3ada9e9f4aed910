// Options that may be absent may not be undefined (exactOptionalPropertyTypes): what is absent at one's own caller has to
// be left out when it is handed on.

/** A copy of `object` without its fields that are undefined. */
export function withoutUndefined<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
