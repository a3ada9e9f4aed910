// The tables of messages.ts as maps by field number. A message is compiled when first met: a server that is sent JSON
// only pays for none.
import { MESSAGES } from './messages.ts';

export interface Field {
  readonly name: string;
  /** s, i, b, y, d, `!` (not served), or the name of a message. */
  readonly type: string;
  readonly shape: 'single' | 'list' | 'map';
  /** Written only when set: zero is a value. */
  readonly pointer: boolean;
  /** Its members belong to the parent object. */
  readonly inline: boolean;
  /** Table of `type` when it is a message with a table. */
  readonly message: MessageType | undefined;
}

export interface MessageType {
  readonly name: string;
  readonly fields: ReadonlyMap<number, Field>;
}

const SCALARS = new Set(['s', 'i', 'b', 'y', 'd', '!']);
/** Of meta/v1, sent under the version of any group. */
const META_KINDS = new Set(['DeleteOptions', 'Status']);

const compiled = new Map<string, MessageType>();
const texts = new Map<string, Map<string, string>>();

/** @returns undefined for a kind without a table. */
export function messageType(apiVersion: string, kind: string): MessageType | undefined {
  const group = META_KINDS.has(kind) ? 'meta.v1' : apiVersion;
  return textsOf(group).has(kind) ? find(group, kind) : undefined;
}

function find(group: string, name: string): MessageType | undefined {
  // Messages of meta/v1 are named without their group.
  const home = [group, 'meta.v1'].find((g) => textsOf(g).has(name));
  if (home === undefined) return undefined;
  const key = `${home} ${name}`;
  const known = compiled.get(key);
  if (known !== undefined) return known;
  const fields = new Map<number, Field>();
  const type: MessageType = { name, fields };
  compiled.set(key, type);
  for (const text of textsOf(home).get(name)!.split('; ')) addField(fields, home, text);
  return type;
}

function addField(fields: Map<number, Field>, group: string, text: string): void {
  const match = /^(\d+) (\w+)(\??)(\^?)(?::(.+))?$/.exec(text);
  if (match === null) throw new Error(`protobuf table: cannot read "${text}"`);
  const [, number, name, pointer, inline, spec = 's'] = match;
  const shape = spec.startsWith('[') ? 'list' : spec.startsWith('{') ? 'map' : 'single';
  const type = shape === 'single' ? spec : spec.slice(1, -1);
  const [home, typeName] = splitType(type, group);
  const message = SCALARS.has(type) ? undefined : find(home, typeName);
  fields.set(Number(number), {
    name: name!,
    type: typeName,
    shape,
    pointer: pointer === '?',
    inline: inline === '^',
    message,
  });
}

function splitType(type: string, group: string): [string, string] {
  const slash = type.lastIndexOf('/');
  return slash === -1 ? [group, type] : [type.slice(0, slash), type.slice(slash + 1)];
}

function textsOf(group: string): Map<string, string> {
  let messages = texts.get(group);
  if (messages === undefined) {
    messages = new Map();
    for (const line of (MESSAGES[group] ?? '').split('\n')) {
      const colon = line.indexOf(': ');
      if (colon > 0) messages.set(line.slice(0, colon), line.slice(colon + 2));
    }
    texts.set(group, messages);
  }
  return messages;
}
