// Configuration files: YAML or JSON with one document per kind, and directories of drop-ins that are merged over it
// (RFC 7386). What is not understood is a fault with its file and path; nothing is skipped.
import path from 'node:path';
import { parseAllDocuments } from 'yaml';
import { errnoOf, errorMessage } from '../../core/errors.ts';
import type { Fields } from './field.ts';
import { type ConfigKind, KINDS } from './fields.ts';
import { entriesOf, readEntries, shown, suggestion, type ValueType } from './values.ts';

export interface FileAccess {
  /** Rejects with the system's error. */
  readonly readFile: (file: string) => Promise<string>;
  /** Paths of all files below `dir`, relative to it. */
  readonly listFiles: (dir: string) => Promise<readonly string[]>;
}

/** One document, its values read by the types of its kind; nulls remove what an earlier document set. */
export interface ConfigDocument {
  readonly kind: ConfigKind;
  readonly file: string;
  readonly values: Readonly<Record<string, unknown>>;
}

type Fault = (problem: string) => void;

/** A person writes kilobytes; more is a wrong file. */
const MAX_BYTES = 1 << 20;

/** The documents of --config. Relative paths in it are taken from its directory. */
export async function readConfigFile(file: string, access: FileAccess, fault: Fault): Promise<ConfigDocument[]> {
  const documents = await readDocuments(file, `--config=${file}`, access, fault);
  const dir = path.resolve(path.dirname(file));
  return documents.map((doc) => ({ ...doc, values: resolvePaths(KINDS[doc.kind].fields, doc.values, dir) }));
}

/** The documents of the *.conf files below --config-dir, in the order in which they are merged. */
export async function readDropIns(dir: string, access: FileAccess, fault: Fault): Promise<ConfigDocument[]> {
  let names: readonly string[];
  try {
    names = await access.listFiles(dir);
  } catch (err) {
    fault(`--config-dir=${dir}: ${unreadable(err)}`);
    return [];
  }
  const documents: ConfigDocument[] = [];
  for (const name of names.filter((n) => n.endsWith('.conf')).sort(byPath)) {
    const file = path.join(dir, name);
    documents.push(...(await readDocuments(file, file, access, fault)));
  }
  return documents;
}

/** A walk's order: directory by directory, each sorted by its names' bytes. */
function byPath(a: string, b: string): number {
  const [left, right] = [a.split('/'), b.split('/')];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    if (left[i] !== right[i]) return left[i]! < right[i]! ? -1 : 1;
  }
  return left.length - right.length;
}

async function readDocuments(file: string, where: string, access: FileAccess, fault: Fault): Promise<ConfigDocument[]> {
  let source: string;
  try {
    source = await access.readFile(file);
  } catch (err) {
    fault(`${where}: ${unreadable(err)}`);
    return [];
  }
  if (source.length > MAX_BYTES) {
    fault(`${where}: expected a configuration of at most 1 MiB, got ${source.length} characters`);
    return [];
  }
  return parseDocuments(source, where, file, fault);
}

function parseDocuments(source: string, where: string, file: string, fault: Fault): ConfigDocument[] {
  const result: ConfigDocument[] = [];
  let isEmpty = true;
  for (const document of parseAllDocuments(source)) {
    const [error] = document.errors;
    if (error !== undefined) {
      isEmpty = false;
      fault(`${where}: ${error.message.split('\n')[0]!.replace(/:$/, '')}`);
      continue;
    }
    let content: unknown;
    try {
      content = document.toJS();
    } catch (err) {
      isEmpty = false;
      fault(`${where}: ${errorMessage(err)}`); // an alias that points nowhere, or too many of them
      continue;
    }
    if (content === null) continue; // nothing between two separators, or comments
    isEmpty = false;
    const read = readDocument(content, where, file, fault);
    if (read === undefined) continue;
    if (result.some((other) => other.kind === read.kind)) fault(`${where}: holds ${read.kind} twice`);
    else result.push(read);
  }
  if (isEmpty) fault(`${where}: is empty; expected a document of kind KubeletConfiguration`);
  return result;
}

function readDocument(content: unknown, where: string, file: string, fault: Fault): ConfigDocument | undefined {
  const kinds = Object.keys(KINDS);
  const entries = entriesOf(content, 'the document', (at, problem) => fault(`${where}: ${at}: ${problem}`));
  if (entries === undefined) return undefined;
  const { apiVersion, kind, ...fields } = entries;
  if (typeof kind !== 'string' || !Object.hasOwn(KINDS, kind)) {
    const near = typeof kind === 'string' ? suggestion(kind, kinds) : '';
    fault(`${where}: kind: expected ${kinds.join(', ')}, got ${shown(kind)}${near}`);
    return undefined;
  }
  const table = KINDS[kind as ConfigKind];
  if (apiVersion !== table.apiVersion) {
    fault(`${where}: apiVersion: expected ${table.apiVersion} for ${kind}, got ${shown(apiVersion)}`);
    return undefined;
  }
  const typeOf = (key: string): ValueType<unknown> | undefined =>
    Object.hasOwn(table.fields, key) ? table.fields[key]!.type : undefined;
  const report = (at: string, problem: string): void => fault(`${where}: ${at}: ${problem}`);
  return { kind: kind as ConfigKind, file, values: readEntries(fields, '', typeOf, report, table.fields) };
}

function resolvePaths(fields: Fields, values: Readonly<Record<string, unknown>>, dir: string): Record<string, unknown> {
  const resolved = Object.entries(values).map(([name, value]) => {
    const f = fields[name]!;
    if (value === null) return [name, value];
    if (f.fields !== undefined) return [name, resolvePaths(f.fields, value as Record<string, unknown>, dir)];
    const isRelative = f.type.isFilePath && value !== '' && !path.isAbsolute(value as string);
    return [name, isRelative ? path.resolve(dir, value as string) : value];
  });
  return Object.fromEntries(resolved) as Record<string, unknown>;
}

/** Why a file cannot be read, in words. */
export function unreadable(err: unknown): string {
  switch (errnoOf(err)) {
    case 'ENOENT':
      return 'no such file or directory';
    case 'EACCES':
      return 'may not be read by this user';
    case 'EISDIR':
      return 'is a directory, expected a file';
    case 'ENOTDIR':
      return 'is not a directory';
    default:
      return `cannot be read: ${errorMessage(err)}`;
  }
}
