// The types of the API as OpenAPI v3 schemas, made from the table that bodies are held against: what `kubectl explain`
// shows. Descriptions are not told, nor which members are required: the table knows neither.

import { schemaKeyOf, type TypeTable } from './schema-check.ts';
import type { GroupVersionKind } from './subresource.ts';

export type OpenApiSchema = Readonly<Record<string, unknown>>;

const META = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const QUANTITY = 'io.k8s.apimachinery.pkg.api.resource.Quantity';
const INT_OR_STRING = 'io.k8s.apimachinery.pkg.util.intstr.IntOrString';
const text: OpenApiSchema = { type: 'string' };

/** Scalars that have a name of their own, by which `kubectl explain` calls them. */
const NAMED_SCALARS: Readonly<Record<string, readonly [string, OpenApiSchema]>> = {
  q: [QUANTITY, { oneOf: [text, { type: 'number' }] }],
  p: [INT_OR_STRING, { format: 'int-or-string', oneOf: [{ type: 'integer' }, text] }],
  t: [`${META}.Time`, { ...text, format: 'date-time' }],
  u: [`${META}.MicroTime`, { ...text, format: 'date-time' }],
};

const SCALARS: Readonly<Record<string, OpenApiSchema>> = {
  s: text,
  i: { type: 'integer' },
  n: { type: 'number' },
  b: { type: 'boolean' },
  y: { ...text, format: 'byte' },
  '*': { type: 'object' },
};

/** The schemas of `kinds` and of all that they are made of, by name. */
export function openApiSchemas(types: TypeTable, kinds: readonly GroupVersionKind[]): Record<string, OpenApiSchema> {
  const schemas: Record<string, OpenApiSchema> = {};
  const add = (key: string): string => {
    const name = nameOf(key);
    if (schemas[name] !== undefined) return name;
    const properties: Record<string, OpenApiSchema> = {};
    schemas[name] = { type: 'object', properties }; // before its members: types may hold themselves
    for (const [member, type] of Object.entries(types[key]!)) properties[member] = schemaOf(type);
    return name;
  };
  const reference = (name: string): OpenApiSchema => ({ $ref: `#/components/schemas/${name}` });
  const schemaOf = (type: string): OpenApiSchema => {
    if (type.startsWith('[]')) return { type: 'array', items: schemaOf(type.slice(2)) };
    if (type.startsWith('{}')) return { type: 'object', additionalProperties: schemaOf(type.slice(2)) };
    const scalar = NAMED_SCALARS[type];
    if (scalar === undefined) return SCALARS[type] ?? reference(add(type));
    schemas[scalar[0]] = scalar[1];
    return reference(scalar[0]);
  };
  for (const { group, version, kind } of kinds) {
    const key = schemaKeyOf({ group, version, kind });
    if (types[key] === undefined) continue;
    const name = add(key);
    schemas[name] = { ...schemas[name], 'x-kubernetes-group-version-kind': [{ group, kind, version }] };
  }
  return schemas;
}

/** `core/v1.Pod` is `io.k8s.api.core.v1.Pod`. */
function nameOf(key: string): string {
  const name = key.replaceAll('/', '.');
  return key.startsWith('meta/') ? `io.k8s.apimachinery.pkg.apis.${name}` : `io.k8s.api.${name}`;
}
