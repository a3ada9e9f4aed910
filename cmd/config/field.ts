// One setting of a configuration kind: its type, its default and what it does here. The tables made of these drive the
// reading of files and flags, the defaults, the warnings and docs/configuration.md.
import { entriesOf, readEntries, type ValueType } from './values.ts';

/**
 * used: acted on. An object of `none` is accepted and changes nothing, one of `refused` may only have its default; both
 * say why, in words that end a sentence. There is nothing between: no setting is taken and then forgotten.
 */
export type Effect = 'used' | { readonly none: string } | { readonly refused: string };

/** Accepted, and nothing to do: `why` completes "no effect: …". */
export function none(why: string): Effect {
  return { none: why };
}

/** Any other value than the default is an error: `why` completes "cannot be set: …". */
export function refused(why: string): Effect {
  return { refused: why };
}

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

/** A field of `doc` that has another value than its default. */
export interface ChangedField {
  readonly path: string;
  readonly effect: Effect;
}

export function changedFields(fields: Fields, doc: Readonly<Record<string, unknown>>, prefix = ''): ChangedField[] {
  return Object.entries(doc).flatMap(([name, value]) => {
    const f = fields[name]!;
    const path = `${prefix}${name}`;
    if (f.fields !== undefined) return changedFields(f.fields, (value ?? {}) as Record<string, unknown>, `${path}.`);
    return isUnset(f, value) || isDefault(f.initial, value) ? [] : [{ path, effect: f.effect }];
  });
}

/** Why a refused field cannot be set; undefined for any other. */
export function refusalOf(effect: Effect): string | undefined {
  return typeof effect === 'object' && 'refused' in effect ? effect.refused : undefined;
}

/** A settled document in the form of a file: durations as Go writes them, without what is empty. */
export function printed<F extends Fields>(fields: F, settled: Settled<F>): Record<string, unknown> {
  const entries = Object.entries(fields).map(([name, f]): [string, unknown] => {
    const value = settled[name as keyof F] as unknown;
    if (f.fields !== undefined) return [name, printed(f.fields, value as Settled<Fields>)];
    return [name, value === undefined || f.type.print === undefined ? value : f.type.print(value)];
  });
  return Object.fromEntries(entries.filter(([, value]) => !isEmptyValue(value)));
}

/** What upstream's JSON leaves out; a group stays, even when nothing is left in it. */
function isEmptyValue(value: unknown): boolean {
  return value === undefined || value === '' || (Array.isArray(value) && value.length === 0);
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
