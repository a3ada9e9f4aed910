// Writes gen/schema.json: the members of every API type, from the declarations of kubernetes-types, with what v1.36
// adds. Run after updating that package: `node apiserver/gen-schema.ts`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { additions } from './gen-schema-additions.ts';

const root = path.resolve(import.meta.dirname, '../node_modules/kubernetes-types');

/** Types that are not structs in JSON. */
const SCALARS: Readonly<Record<string, string>> = {
  'api/resource.Quantity': 'q',
  'meta/v1.Time': 't',
  'meta/v1.MicroTime': 'u',
  'meta/v1.FieldsV1': '*',
  'meta/v1.Patch': '*',
  'runtime.RawExtension': '*',
  'util/intstr.IntOrString': 'p',
  IntOrString: 'p',
  JSONSchemaPropsOrStringArray: '*',
  JSONSchemaPropsOrBool: '*',
  JSONSchemaPropsOrArray: '*',
  JSON: '*',
};

const PRIMITIVES: Readonly<Record<string, string>> = { string: 's', number: 'i', boolean: 'b', any: '*', unknown: '*' };

type Table = Record<string, Record<string, string>>;

/** Modules as `core/v1`, with their text. */
function modules(): Map<string, string> {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((f) => f.endsWith('.d.ts'));
  return new Map(files.map((f) => [f.replace(/\.d\.ts$/, ''), readFileSync(path.join(root, f), 'utf8')]));
}

function parseModule(name: string, text: string, table: Table): void {
  const source = text
    .replaceAll(/\/\*[\s\S]*?\*\//g, '')
    // Map types are written over three lines.
    .replaceAll(/\{\s*\[(\w+): string\]: ([^;\n]*);\s*\}/g, '{ [$1: string]: $2 }');
  const imported = importsOf(name, source);
  for (const [, typeName, body] of source.matchAll(/export interface (\w+) \{\n([\s\S]*?)^\}/gm)) {
    const members: Record<string, string> = {};
    for (const [, key, type] of body!.matchAll(/^\s+(?:readonly )?"?([$\w-]+)"?\??: (.*);$/gm)) {
      members[key!] = typeCode(type!, name, imported);
    }
    table[`${name}.${typeName}`] = members;
  }
}

function importsOf(name: string, source: string): Map<string, string> {
  const imported = new Map<string, string>();
  for (const [, names, from] of source.matchAll(/import \{([^}]*)\} from "([^"]+)"/g)) {
    const target = path.posix.join(path.posix.dirname(name), from!);
    for (const imports of names!.split(',')) {
      const [original, alias] = imports.trim().split(/\s+as\s+/);
      imported.set(alias ?? original!, `${target}.${original}`);
    }
  }
  return imported;
}

function typeCode(type: string, module: string, imported: ReadonlyMap<string, string>): string {
  const text = type.trim();
  const list = /^(?:Array<(.*)>|(.*)\[\])$/.exec(text);
  if (list !== null) return `[]${typeCode(list[1] ?? list[2]!, module, imported)}`;
  const map = /^\{\s*\[\w+: string\]: (.*?);?\s*\}$/.exec(text);
  if (map !== null) return `{}${typeCode(map[1]!, module, imported)}`;
  if (text.startsWith('"')) return 's';
  if (text === 'string | number' || text === 'number | string') return 'p';
  if (PRIMITIVES[text] !== undefined) return PRIMITIVES[text];
  const name = imported.get(text) ?? `${module}.${text}`;
  return SCALARS[name] ?? SCALARS[text] ?? name;
}

function mergeAdditions(table: Table): void {
  for (const [type, members] of Object.entries(additions)) table[type] = { ...table[type], ...members };
}

/** A name that leads nowhere would let anything through unseen. */
function checkReferences(table: Table): void {
  for (const [type, members] of Object.entries(table)) {
    for (const [key, code] of Object.entries(members)) {
      const name = code.replace(/^(\[\]|\{\})+/, '');
      if (name.length > 1 && table[name] === undefined) throw new Error(`${type}.${key}: no type ${name}`);
    }
  }
}

const table: Table = {};
for (const [name, text] of modules()) parseModule(name, text, table);
mergeAdditions(table);
checkReferences(table);
const lines = Object.keys(table)
  .sort()
  .map((type) => `${JSON.stringify(type)}:${JSON.stringify(table[type])}`);
writeFileSync(path.join(import.meta.dirname, 'gen/schema.json'), `{\n${lines.join(',\n')}\n}\n`);
