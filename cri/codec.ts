// Encodes and decodes the messages of cri/proto from the field tables in gen/schema.ts. A codec of our own because of
// what it costs: see docs/decisions/0003-cri-codec.md.
import { WireError, WireReader, WireWriter } from '../api/protobuf-wire.ts';
import type * as gen from './gen/messages.ts';
import { ENUMS, MESSAGES } from './gen/schema.ts';
import type { Init } from './runtime-service.ts';

/** Message name → its type. */
type Messages = { [K in keyof typeof gen as K]: (typeof gen)[K] };
export type MessageName = keyof typeof MESSAGES & string;
export type { Messages };

type Kind =
  | 'string'
  | 'bool'
  | 'int32'
  | 'uint32'
  | 'int64'
  | 'uint64'
  | 'nanos'
  | 'double'
  | 'bytes'
  | 'enum'
  | 'message';

type Fields = Record<string, unknown>;

interface Field {
  readonly number: number;
  readonly name: string;
  readonly kind: Kind;
  readonly repeated: boolean;
  readonly map: boolean;
  /** Name of the enum or message. */
  readonly type: string;
  /** Names by number. */
  readonly values: readonly string[] | undefined;
}

interface Message {
  readonly fields: readonly Field[];
  /** All members with their zero values; copied for each message, so that all of a kind share one shape. */
  readonly empty: Fields;
  /** The fields of `fields` whose zero value must be an object of its own. */
  readonly containers: readonly Field[];
  /** By field number. */
  readonly byNumber: readonly (Field | undefined)[];
}

const SCALARS = new Set<string>(['string', 'bool', 'int32', 'uint32', 'int64', 'uint64', 'nanos', 'double', 'bytes']);
/** Sub-messages nest this deep at most: hostile bytes must not exhaust the stack. */
const MAX_DEPTH = 32;

const NO_BYTES = new Uint8Array(0);
const known = new Map<string, Message>();
const enumValues = new Map<string, readonly string[]>();

/** Tables are made when a message is first used: a node uses a third of them. */
function messageOf(name: string): Message {
  let message = known.get(name);
  if (message === undefined) {
    const text = MESSAGES[name];
    if (text === undefined) throw new TypeError(`unknown message ${name}`);
    const fields = text === '' ? [] : text.split(',').map(parseField);
    const byNumber: (Field | undefined)[] = [];
    for (const field of fields) byNumber[field.number] = field;
    const containers = fields.filter((f) => f.map || f.repeated);
    const empty = Object.fromEntries(fields.map((f) => [f.name, containers.includes(f) ? undefined : zeroOf(f)]));
    message = { fields, byNumber, empty, containers };
    known.set(name, message);
  }
  return message;
}

function parseField(text: string): Field {
  const [number, name, spec] = text.split(' ') as [string, string, string];
  const type = spec.replace(/(\[\]|\{\})$/, '');
  const values = valuesOf(type);
  return {
    number: Number(number),
    name,
    kind: SCALARS.has(type) ? (type as Kind) : values === undefined ? 'message' : 'enum',
    repeated: spec.endsWith('[]'),
    map: spec.endsWith('{}'),
    type,
    values,
  };
}

function valuesOf(name: string): readonly string[] | undefined {
  if (ENUMS[name] === undefined) return undefined;
  let values = enumValues.get(name);
  if (values === undefined) {
    values = ENUMS[name].split(' ');
    enumValues.set(name, values);
  }
  return values;
}

/** Bytes of a message. Absent and zero fields are not sent, as proto3 has it. */
export function encodeMessage(name: string, value: Init<object>): Buffer {
  const writer = new WireWriter();
  writeMessage(writer, messageOf(name), value as Fields);
  return writer.finish();
}

function writeMessage(writer: WireWriter, message: Message, value: Fields): void {
  for (const field of message.fields) {
    const v = value[field.name];
    if (v === undefined || v === null) continue;
    if (field.map) writeMap(writer, field, v as Fields);
    else if (field.repeated) writeList(writer, field, v as readonly unknown[]);
    else if (field.kind === 'message' || !isZero(field, v)) writeField(writer, field, v);
  }
}

function writeMap(writer: WireWriter, field: Field, map: Fields): void {
  for (const [key, v] of Object.entries(map)) {
    const entry = new WireWriter();
    entry.tag(1, 2);
    entry.string(key);
    writeField(entry, { ...field, number: 2 }, v);
    writer.tag(field.number, 2);
    writer.bytes(entry.finish());
  }
}

/** Lists of numbers are packed, as proto3 does by default. */
function writeList(writer: WireWriter, field: Field, list: readonly unknown[]): void {
  if (list.length === 0) return;
  if (field.kind === 'string' || field.kind === 'bytes' || field.kind === 'message') {
    for (const v of list) writeField(writer, field, v);
    return;
  }
  const packed = new WireWriter();
  for (const v of list) writeScalar(packed, field, v);
  writer.tag(field.number, 2);
  writer.bytes(packed.finish());
}

function writeField(writer: WireWriter, field: Field, v: unknown): void {
  switch (field.kind) {
    case 'message': {
      const inner = new WireWriter();
      writeMessage(inner, messageOf(field.type), v as Fields);
      writer.tag(field.number, 2);
      writer.bytes(inner.finish());
      return;
    }
    case 'string':
    case 'bytes':
      writer.tag(field.number, 2);
      break;
    case 'double':
      writer.tag(field.number, 1);
      break;
    default:
      writer.tag(field.number, 0);
  }
  writeScalar(writer, field, v);
}

function writeScalar(writer: WireWriter, field: Field, v: unknown): void {
  switch (field.kind) {
    case 'string':
      writer.string(v as string);
      return;
    case 'bytes':
      writer.bytes(v as Uint8Array);
      return;
    case 'bool':
      writer.uint32(v ? 1 : 0);
      return;
    case 'double':
      writer.double(v as number);
      return;
    case 'enum': {
      const number = field.values!.indexOf(v as string);
      if (number < 0) throw new TypeError(`${field.name}: ${String(v)} is not a ${field.type}`);
      writer.uint32(number);
      return;
    }
    default:
      writer.integer(typeof v === 'bigint' ? v : Math.trunc(v as number));
  }
}

function isZero(field: Field, v: unknown): boolean {
  if (field.kind === 'enum') return v === field.values![0];
  if (field.kind === 'bytes') return (v as Uint8Array).length === 0;
  return v === 0 || v === '' || v === false || v === 0n;
}

/** A message from its bytes. Unknown fields are stepped over. @throws {WireError} for malformed bytes. */
export function decodeMessage<T>(name: string, bytes: Uint8Array): T {
  return readMessage(new WireReader(bytes), messageOf(name), 0) as T;
}

function readMessage(reader: WireReader, message: Message, depth: number): Fields {
  if (depth > MAX_DEPTH) throw new WireError('nested too deep');
  const value: Fields = { ...message.empty };
  for (const field of message.containers) value[field.name] = field.map ? {} : [];
  while (!reader.done) {
    const tag = reader.tag();
    const field = message.byNumber[tag >>> 3];
    if (field === undefined || !fits(field, tag & 7)) reader.skip(tag & 7);
    else readField(reader, field, tag & 7, value, depth);
  }
  return value;
}

/** A field that another release of the runtime sends as something else is unknown to us, like any other. */
function fits(field: Field, wireType: number): boolean {
  switch (field.kind) {
    case 'string':
    case 'bytes':
    case 'message':
      return wireType === 2;
    case 'double':
      return wireType === 1 || (wireType === 2 && field.repeated);
    default:
      return wireType === 0 || (wireType === 2 && field.repeated);
  }
}

function zeroOf(field: Field): unknown {
  switch (field.kind) {
    case 'string':
      return '';
    case 'bool':
      return false;
    case 'nanos':
      return 0n;
    case 'bytes':
      return NO_BYTES;
    case 'enum':
      return field.values![0];
    case 'message':
      return undefined;
    default:
      return 0;
  }
}

function readField(reader: WireReader, field: Field, wireType: number, value: Fields, depth: number): void {
  if (field.map) {
    readMapEntry(reader.message(), field, value[field.name] as Fields, depth);
  } else if (field.repeated) {
    const list = value[field.name] as unknown[];
    const packed = wireType === 2 && field.kind !== 'string' && field.kind !== 'bytes' && field.kind !== 'message';
    if (!packed) list.push(readValue(reader, field, depth));
    else for (const inner = reader.message(); !inner.done; ) list.push(readValue(inner, field, depth));
  } else {
    value[field.name] = readValue(reader, field, depth);
  }
}

/** Field 1, length-delimited: keys of maps are strings in all of CRI. */
const KEY_TAG = (1 << 3) | 2;

function readMapEntry(entry: WireReader, field: Field, map: Fields, depth: number): void {
  let key = '';
  let v = zeroOf(field);
  while (!entry.done) {
    const tag = entry.tag();
    if (tag === KEY_TAG) key = entry.string();
    else if (tag >>> 3 === 2 && fits(field, tag & 7)) v = readValue(entry, field, depth);
    else entry.skip(tag & 7);
  }
  if (key !== '__proto__') map[key] = v;
  // A label of that name must become a member like any other.
  else Object.defineProperty(map, key, { value: v, enumerable: true, configurable: true, writable: true });
}

function readValue(reader: WireReader, field: Field, depth: number): unknown {
  switch (field.kind) {
    case 'string':
      return reader.string();
    case 'bool':
      return reader.bool();
    case 'int32':
      return reader.int32();
    case 'uint32':
      return reader.uint32();
    case 'int64':
      return reader.int64();
    case 'uint64':
      return reader.uint64();
    case 'nanos':
      return reader.bigint64();
    case 'double':
      return reader.double();
    case 'bytes':
      return reader.bytes();
    case 'enum': {
      // A value of a newer release reads as the last one known: for states and events that is the "unknown" one.
      const number = reader.int32();
      return field.values![number] ?? field.values!.at(-1);
    }
    case 'message':
      return readMessage(reader.message(), messageOf(field.type), depth + 1);
  }
}
