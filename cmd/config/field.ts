// One setting of a configuration kind: its type, its default and what it does here. The tables made of these drive the
// reading of files and flags, the defaults, the warnings and docs/configuration.md.
import { entriesOf, readEntries, type ValueType } from './values.ts';

/**
 * used: acted on. later: valid, but does nothing in this version, which is said once. none: does nothing in upstream
 * either, or on Linux, or with a CRI runtime, so nothing is said.
 */
export type Effect = 'used' | 'later' | 'none';

/** `S` is the type once defaults are filled in. */
export interface Field<T, S> {
  readonly type: ValueType<T>;
  readonly effect: Effect;
  readonly initial: S;
  /** Zero and the empty text are values of their own, not "take the default" (upstream: a pointer field). */
  readonly keepZero: boolean;
  readonly fields?: Fields;
}

export type Fields = Readonly<Record<string, Field<unknown, unknown>>>;

/** A document of these fields with every default filled in. */
export type Settled<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<unknown, infer S> ? S : never };

/** A field with a default. Zero means "take the default" unless `keepZero` is given. */
export function field<T>(effect: Effect, type: ValueType<T>, initial: NoInfer<T>, keepZero?: 'keepZero'): Field<T, T> {
  return { type, effect, initial, keepZero: keepZero !== undefined };
}

/** A field that stays undefined when nobody sets it. */
export function optional<T>(effect: Effect, type: ValueType<T>, keepZero?: 'keepZero'): Field<T, T | undefined> {
  return { type, effect, initial: undefined, keepZero: keepZero !== undefined };
}

/** Fields in a group of their own. */
export function group<F extends Fields>(fields: F): Field<unknown, Settled<F>> {
  const type: ValueType<unknown> = {
    expected: 'an object',
    read: (value, path, report) => {
      const entries = entriesOf(value, path, report);
      if (entries === undefined) return undefined;
      return readEntries(
        entries,
        path,
        (key) => (Object.hasOwn(fields, key) ? fields[key]!.type : undefined),
        report,
        fields,
      );
    },
    fromFlag: (texts) => texts.at(-1),
  };
  return { type, effect: 'used', initial: undefined as unknown as Settled<F>, keepZero: true, fields };
}

/** Fills in the defaults. `doc` holds values that the fields' types have read. */
export function settle<F extends Fields>(fields: F, doc: Readonly<Record<string, unknown>>): Settled<F> {
  const settled = Object.entries(fields).map(([name, f]) => {
    const value = Object.hasOwn(doc, name) ? doc[name] : undefined;
    if (f.fields !== undefined) return [name, settle(f.fields, (value ?? {}) as Record<string, unknown>)];
    return [name, isUnset(f, value) ? f.initial : value];
  });
  return Object.fromEntries(settled) as Settled<F>;
}

function isUnset(f: Field<unknown, unknown>, value: unknown): boolean {
  return value === undefined || value === null || (!f.keepZero && (value === 0 || value === ''));
}

/** The paths in `doc` of fields that mean something upstream, were given another value than the default, and do nothing here. */
export function withoutEffect(fields: Fields, doc: Readonly<Record<string, unknown>>, prefix = ''): string[] {
  return Object.entries(doc).flatMap(([name, value]) => {
    const f = fields[name]!;
    const path = `${prefix}${name}`;
    if (f.fields !== undefined) return withoutEffect(f.fields, value as Record<string, unknown>, `${path}.`);
    return f.effect !== 'later' || isUnset(f, value) || isDefault(f.initial, value) ? [] : [path];
  });
}

function isDefault(initial: unknown, value: unknown): boolean {
  if (initial !== undefined) return JSON.stringify(value) === JSON.stringify(initial);
  return (
    value === false || value === '' || value === 0 || JSON.stringify(value) === '{}' || JSON.stringify(value) === '[]'
  );
}

/** The field at `authentication.x509.clientCAFile`. */
export function fieldAt(fields: Fields, path: string): Field<unknown, unknown> {
  const [head, ...rest] = path.split('.');
  const f = fields[head!];
  if (f === undefined) throw new Error(`no field ${path} in the table`);
  return rest.length === 0 ? f : fieldAt(f.fields ?? {}, rest.join('.'));
}
